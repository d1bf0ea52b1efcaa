package tracer

import (
	"runtime"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A tracer that takes processor time from what it traces changes what it shows. So the
// thread that reads is the last to get a processor while the rings have room, and goes before others
// from when one is a wakeupShare full until they are empty: with a fixed low priority a host
// that is never idle would lose events, and with an ordinary one a host with many threads to run.
const (
	yieldingNice = 19
	ordinaryNice = 0
	// raisedNice leaves a tenth of one processor to an ordinary thread, should a flood of events never end.
	raisedNice = -10
	// wakeupShare of a ring's size is filled when the programs wake the reader, and its guard.
	wakeupShare = 4
)

// guard raises the reader's priority when a ring fills. It is a thread of its own, which does not
// yield: one that waits for a processor cannot raise itself.
type guard struct {
	reader int // thread id
	urgent int // the reader's priority while raised
	raised atomic.Bool
	poller *poller
	done   chan struct{}
}

// startGuard binds the calling goroutine to its thread, which is to read the rings, and makes it
// yield to others. Where this process may not raise a priority, none is lowered. End it with stop.
func startGuard(rings []*ebpf.Map) (*guard, error) {
	p, err := newPoller(rings)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	g := &guard{reader: unix.Gettid(), poller: p, done: make(chan struct{})}
	able := make(chan bool)
	go func() {
		defer close(g.done)
		runtime.LockOSThread() // never unlocked: the thread, with the priority that was tried, ends with it
		var may bool
		g.urgent, may = mayRaise()
		able <- may
		if may {
			g.watch()
		}
	}()
	if <-able {
		g.set(yieldingNice)
	}
	return g, nil
}

// mayRaise tries, on the calling thread, whether a lowered priority can be raised again (CAP_SYS_NICE, or
// an RLIMIT_NICE of 20), and how far: raisedNice takes that capability or a limit of 30.
func mayRaise() (nice int, may bool) {
	self := unix.Gettid()
	now, err := unix.Getpriority(unix.PRIO_PROCESS, self)
	// The system call answers 20 - nice. A user who started the tracer with a priority chose it.
	if err != nil || 20-now != ordinaryNice ||
		unix.Setpriority(unix.PRIO_PROCESS, self, ordinaryNice+1) != nil ||
		unix.Setpriority(unix.PRIO_PROCESS, self, ordinaryNice) != nil {
		return 0, false
	}
	if unix.Setpriority(unix.PRIO_PROCESS, self, raisedNice) != nil {
		return ordinaryNice, true
	}
	return raisedNice, true
}

func (g *guard) set(nice int) { _ = unix.Setpriority(unix.PRIO_PROCESS, g.reader, nice) }

// watch waits for a ring to fill until the poller is woken by stop.
func (g *guard) watch() {
	for {
		stopped, err := g.poller.wait(forever)
		if stopped || err != nil {
			return
		}
		g.set(g.urgent)
		g.raised.Store(true)
	}
}

// emptied says that the reader has caught up.
func (g *guard) emptied() {
	if g.raised.Swap(false) {
		g.set(yieldingNice)
	}
}

// stop ends the guard and makes the reader an ordinary thread; the reader calls it.
func (g *guard) stop() error {
	g.poller.wake()
	<-g.done
	g.set(ordinaryNice)
	runtime.UnlockOSThread()
	return g.poller.Close()
}
