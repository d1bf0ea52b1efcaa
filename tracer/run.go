package tracer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	// Lost: these records found their ring full. What happened before the first of them was told, and nothing
	// that happened after it; where nobody knows whose they were, they may have been anybody's up to FirstNS.
	Lost(l events.Loss) error
	// Quiet: all that happened until then has been read. It is CLOCK_BOOTTIME.
	Quiet(until uint64) error
}

const (
	// pollInterval is Options.Poll's default.
	pollInterval = 25 * time.Millisecond
	// commitBytes: the kernel gets its space back in batches of this size.
	commitBytes = 64 << 10
)

// Stats are running totals.
type Stats struct {
	Events uint64 // read from the rings
	Lost   uint64 // found their ring full
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
	guard, err := startGuard(t.rings.maps)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guard.stop()) }()

	for ctx.Err() == nil {
		// A full ring gets no record that could wake.
		if !t.rings.filling() {
			if _, err := t.reader.wait(t.poll); err != nil {
				return err
			}
		}
		if err := t.drain(h, t.margin()); err != nil {
			return err
		}
		// Before it yields: at the lowest priority it may not come to it for seconds.
		if err := t.mayWake(); err != nil {
			return err
		}
		if !t.rings.filling() {
			guard.emptied()
		}
	}
	return nil
}

// mayWake has the programs wake again, which they do once.
func (t *Tracer) mayWake() error {
	if err := t.collection.Variables[gen.BPFVarReaderWoken].Set(false); err != nil {
		return fmt.Errorf("clear reader_woken: %w", err)
	}
	return nil
}

// Finish detaches, adds the counters of what is still open, and reads all that is left.
func (t *Tracer) Finish(h Handler) error {
	if err := t.Detach(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	if err := t.drain(h, 0); err != nil {
		return err
	}
	if err := t.drainDuring(t.sample, h); err != nil {
		return err
	}
	return t.drain(h, 0)
}

// inTime is how long a program may take from when it looks at the clock until its record has a place in its ring.
const inTime = 2 * time.Millisecond

// margin is for drain while the programs run: of several rings, one may yet get what is earlier than
// what is in another.
func (t *Tracer) margin() time.Duration {
	if len(t.rings.maps) == 1 {
		return 0
	}
	return inTime
}

// drain hands to h what happened up to that long ago, but nothing that comes meanwhile: there may be no
// end of it.
func (t *Tracer) drain(h Handler, ago time.Duration) error {
	// First: a ring that fills while this is read is not to wait for the next look.
	if err := t.mayWake(); err != nil {
		return err
	}
	now := Now()
	// Before what is due by then is written: it may lack what was lost or missed.
	if err := t.misses(h); err != nil {
		return err
	}
	if err := t.collectLosses(h); err != nil {
		return err
	}
	until := now - uint64(ago)
	// Each where it happened: the records before it say whose it is, and by those after it, its timeline may end.
	for len(t.losses) > 0 && t.losses[0].FirstNS <= until {
		if err := t.read(h, t.losses[0].FirstNS); err != nil {
			return err
		}
		if err := h.Lost(t.losses[0]); err != nil {
			return err
		}
		t.losses = t.losses[1:]
	}
	if err := t.read(h, until); err != nil {
		return err
	}
	return h.Quiet(until)
}

// read hands the records up to until to h.
func (t *Tracer) read(h Handler, until uint64) error {
	rings := t.rings
	defer rings.Commit()
	rings.Begin(until)
	for read := 0; ; {
		mem := rings.Next()
		if mem == nil {
			return nil
		}
		if read += len(mem); read >= commitBytes {
			rings.Commit()
			read = 0
		}
		if e := events.View(mem); e == nil {
			rings.undecodable++
		} else {
			rings.events++
			if err := h.Event(e); err != nil {
				return err
			}
		}
	}
}

// misses tells of runs that the kernel left out: an interrupt found the same program running on its
// CPU. Nobody knows what they would have told.
func (t *Tracer) misses(h Handler) error {
	missed := t.missed()
	if missed == t.seenMissed {
		return nil
	}
	records := missed - t.seenMissed
	t.seenMissed = missed
	return h.Lost(events.Loss{FirstNS: Now(), Records: records})
}

// collectLosses adds to losses, in the order of their times, what was lost since the last time. Of what nobody knows whose it was,
// h is told at once.
func (t *Tracer) collectLosses(h Handler) error {
	total := t.lost()
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
		t.losses = append(t.losses, events.Loss{Tuple: *(*events.Tuple)(unsafe.Pointer(&key)), FirstNS: l.FirstNs, Sock: l.Sock, Records: l.Records})
	}
	slices.SortStableFunc(t.losses, func(a, b events.Loss) int { return cmp.Compare(a.FirstNS, b.FirstNS) })
	// More lost than the map says: it was full itself, or counts are still on their way.
	if found < news {
		return h.Lost(events.Loss{FirstNS: Now(), Records: news - found})
	}
	return nil
}

func (t *Tracer) lost() uint64 { return t.variable(gen.BPFVarLostRecords) }

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
		Events:      t.rings.events,
		Undecodable: t.rings.undecodable,
		Lost:        t.lost(),
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
