package tracer

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMayRaise: how far the reader's priority is raised when a ring fills, by what the process may.
func TestMayRaise(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: for priorities above the ordinary")
	}
	for _, c := range []struct {
		name  string
		start int    // the thread's priority before
		limit uint64 // RLIMIT_NICE, 20 less the least nice value
		bare  bool   // without capabilities
		nice  int
		may   bool
	}{
		{name: "root", nice: raisedNice, may: true},
		{name: "a limit of 30", bare: true, limit: 30, nice: raisedNice, may: true},
		{name: "a limit of 20", bare: true, limit: 20, nice: ordinaryNice, may: true},
		{name: "no right", bare: true},
		{name: "started with a priority", start: 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NICE, &before); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := unix.Setrlimit(unix.RLIMIT_NICE, &before); err != nil {
					t.Error(err)
				}
			}()
			err := unix.Setrlimit(unix.RLIMIT_NICE, &unix.Rlimit{Cur: c.limit, Max: max(c.limit, before.Max)})
			if errors.Is(err, unix.EPERM) {
				t.Skip("needs CAP_SYS_RESOURCE: to raise RLIMIT_NICE")
			}
			if err != nil {
				t.Fatal(err)
			}
			type answer struct {
				nice int
				may  bool
				err  error
			}
			answered := make(chan answer)
			go func() {
				runtime.LockOSThread() // never unlocked: what is set is the thread's, and ends with it
				var a answer
				if c.bare {
					a.err = noCapabilities()
				}
				a.err = errors.Join(a.err, unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), c.start))
				a.nice, a.may = mayRaise()
				answered <- a
			}()
			a := <-answered
			if a.err != nil {
				t.Fatal(a.err)
			}
			if a.nice != c.nice || a.may != c.may {
				t.Errorf("%d, %t; want %d, %t", a.nice, a.may, c.nice, c.may)
			}
		})
	}
}

// noCapabilities takes the calling thread's.
func noCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}
