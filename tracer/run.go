package tracer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/gen"
)

// Handler is told what the kernel says, from one goroutine.
type Handler interface {
	// Event: e is valid until the method returns.
	Event(e *events.Event) error
	// Lost: these records found the ring full.
	Lost(l events.Loss) error
	// Quiet: all that was there has been read. now is CLOCK_BOOTTIME.
	Quiet(now uint64) error
}

const (
	// pollInterval is Options.Poll's default.
	pollInterval = 25 * time.Millisecond
	// commitBytes: the kernel gets its space back in batches of this size.
	commitBytes = 64 << 10
)

// Stats are running totals.
type Stats struct {
	Events uint64 // read from the ring
	Lost   uint64 // found the ring full
	// Unreadable segments had their TCP header outside the linear part of their skb.
	Unreadable uint64
	// Undecodable records were not of the size and kind that is known.
	Undecodable uint64
	// Missed runs of a program: it was already running on that CPU.
	Missed uint64
	// Unfollowed processes were children whose parents are followed, for which there was no more room.
	Unfollowed uint64
}

// Run reads until ctx is done; Finish then takes what is left.
// It returns nil then, or the first error of the handler.
func (t *Tracer) Run(ctx context.Context, h Handler) (err error) {
	stop := context.AfterFunc(ctx, t.reader.wake)
	defer stop()
	guard, err := startGuard(t.collection.Maps[gen.BPFMapRing].FD())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guard.stop()) }()

	for ctx.Err() == nil {
		if _, err := t.reader.wait(t.poll); err != nil {
			return err
		}
		if err := t.drain(h); err != nil {
			return err
		}
		guard.emptied()
	}
	return nil
}

// Finish detaches, adds the counters of what is still open, and reads all that is left.
func (t *Tracer) Finish(h Handler) error {
	if err := t.Detach(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	if err := t.drain(h); err != nil {
		return err
	}
	return t.drainDuring(t.Sample, h)
}

// drain hands to h what is in the ring, but nothing that comes meanwhile: there may be no end of it.
func (t *Tracer) drain(h Handler) error {
	ring := t.ring.ring
	defer ring.Commit()
	// Before what is due by the events' time is written: it may lack what was missed.
	if err := t.misses(h, Now()); err != nil {
		return err
	}
	// Whose they were is told by records that are in the ring by now.
	losses := t.losses()
	read := 0
	for until := ring.Written(); ring.Read() < until; {
		mem := ring.Next()
		if mem == nil {
			break
		}
		if e := events.View(mem); e == nil {
			t.ring.undecodable++
		} else {
			t.ring.events++
			if err := h.Event(e); err != nil {
				return err
			}
		}
		if read += len(mem); read >= commitBytes {
			ring.Commit()
			read = 0
		}
	}
	ring.Commit()
	for _, l := range losses {
		if err := h.Lost(l); err != nil {
			return err
		}
	}
	now := Now()
	if err := t.misses(h, now); err != nil {
		return err
	}
	return h.Quiet(now)
}

// misses tells of runs that the kernel left out: an interrupt found the same program running on its
// CPU. Nobody knows what they would have told.
func (t *Tracer) misses(h Handler, now uint64) error {
	missed := t.missed()
	if missed == t.seenMissed {
		return nil
	}
	records := missed - t.seenMissed
	t.seenMissed = missed
	return h.Lost(events.Loss{FirstNS: now, Records: records})
}

// losses are what was lost since the last time, by endpoint.
func (t *Tracer) losses() (all []events.Loss) {
	total := t.variable(gen.BPFVarLostRecords)
	if total == t.seenLost {
		return nil
	}
	news := total - t.seenLost
	t.seenLost = total

	lost := t.collection.Maps[gen.BPFMapLost]
	var key, next gen.BPFTuple
	var found uint64
	for err := lost.NextKey(nil, &next); err == nil; {
		key = next
		err = lost.NextKey(&key, &next)
		var l gen.BPFLoss
		if lost.LookupAndDelete(&key, &l) != nil {
			continue
		}
		found += l.Records
		all = append(all, events.Loss{Tuple: *(*events.Tuple)(unsafe.Pointer(&key)), FirstNS: l.FirstNs, Sock: l.Sock, Records: l.Records})
	}
	// More lost than the map says: it was full itself, or counts are still on their way.
	if found < news {
		all = append(all, events.Loss{FirstNS: Now(), Records: news - found})
	}
	return all
}

// variable reads a counter of the programs.
func (t *Tracer) variable(name string) uint64 {
	var v uint64
	if err := t.collection.Variables[name].Get(&v); err != nil {
		return 0
	}
	return v
}

// Stats are the totals so far.
func (t *Tracer) Stats() Stats {
	s := Stats{
		Events:      t.ring.events,
		Undecodable: t.ring.undecodable,
		Lost:        t.variable(gen.BPFVarLostRecords),
		Unreadable:  t.variable(gen.BPFVarUnreadableSegments),
		Unfollowed:  t.variable(gen.BPFVarUnfollowedProcesses),
	}
	s.Missed = t.missed()
	return s
}

// missed is how many runs of the programs the kernel has left out: a program that already ran on
// its CPU (counted by Linux 5.12 and later), or any kprobe where another did (6.7 and later).
func (t *Tracer) missed() (n uint64) {
	n = t.detachedMissed + t.missedKprobes()
	for _, p := range t.programs {
		if stats, err := p.Stats(); err == nil {
			n += stats.RecursionMisses
		}
	}
	return n
}

func (t *Tracer) missedKprobes() (n uint64) {
	for _, l := range t.kprobes {
		info, err := l.Info()
		if err != nil {
			continue // before 5.15 there is none
		}
		if event := info.PerfEvent(); event != nil && event.Kprobe() != nil {
			n += event.Kprobe().Missed
		}
	}
	return n
}

// Now is CLOCK_BOOTTIME in nanoseconds, the clock of the events.
func Now() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // no Linux that has BPF ring buffers lacks this clock
	}
	return uint64(ts.Nano())
}

// ringMapping is the ring's memory and its reader.
type ringMapping struct {
	ring                *events.Ring
	consumer, rest      []byte
	events, undecodable uint64
}

func mapRing(fd, size int) (*ringMapping, error) {
	page := os.Getpagesize()
	consumer, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the ring's consumer page: %w", err)
	}
	rest, err := unix.Mmap(fd, int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the ring: %w", err), unix.Munmap(consumer))
	}
	return &ringMapping{
		ring: events.NewRing((*uint64)(unsafe.Pointer(&consumer[0])),
			(*uint64)(unsafe.Pointer(&rest[0])), rest[page:]),
		consumer: consumer,
		rest:     rest,
	}, nil
}

func (m *ringMapping) Close() error {
	m.ring = nil
	return errors.Join(unix.Munmap(m.consumer), unix.Munmap(m.rest))
}

// poller waits for the ring, or for wake.
type poller struct {
	epoll, event int
}

// newPoller waits edge-triggered: a ring with data is always readable, but only a wakeup of the
// kernel programs is news, and they wake rarely.
func newPoller(ring int) (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create eventfd: %w", err), unix.Close(epoll))
	}
	p := &poller{epoll, event}
	for _, fd := range []int{ring, event} {
		err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd,
			&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watch the ring: %w", err), p.Close())
		}
	}
	return p, nil
}

// forever is for wait.
const forever = -time.Millisecond

// wait returns when the ring filled, when d is over (forever: never), or woken by wake.
func (p *poller) wait(d time.Duration) (woken bool, err error) {
	var ready [2]unix.EpollEvent
	n, err := unix.EpollWait(p.epoll, ready[:], int(d.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("wait for the ring: %w", err)
	}
	for _, r := range ready[:max(n, 0)] {
		woken = woken || int(r.Fd) == p.event
	}
	return woken, nil
}

// wake ends a wait, now or the next. It may be called from any goroutine.
func (p *poller) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.event, one[:])
	runtime.KeepAlive(p)
}

func (p *poller) Close() error {
	return errors.Join(unix.Close(p.epoll), unix.Close(p.event))
}
