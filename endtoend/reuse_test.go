package endtoend

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestPortReused: a port used again at once is a new timeline.
func TestPortReused(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, lab.Cable(t), family)
			e.listen()
			for range 3 {
				c := e.dial()
				s := e.accept()
				c.write(1)
				s.read(1)
				c.linger0() // leaves no TIME_WAIT
				c.close()
				s.readError(unix.ECONNRESET)
				s.close()
			}
			e.rest()
			r := e.finish()
			if len(r.client.timelines) != 3 || len(r.server.timelines) != 3 {
				t.Fatalf("%d and %d timelines, want 3 and 3", len(r.client.timelines), len(r.server.timelines))
			}
			for i := range 3 {
				c, s := &r.client.timelines[i], &r.server.timelines[i]
				equal(t, "client's states", states(t, c), activeOpen+" CLOSE")
				equal(t, "server's states", states(t, s), passiveOpen+" CLOSE")
				equal(t, "client's peer", deref(c.PeerID), s.ID)
				equal(t, "server's peer", deref(s.PeerID), c.ID)
				equal(t, "complete", c.Complete && s.Complete, true)
			}
		})
	}
}

// TestTimeWaitReused: a SYN is granted the tuple of a connection in TIME_WAIT, while its timeline
// is still kept, and after it was written.
func TestTimeWaitReused(t *testing.T) {
	for _, c := range []struct{ name, linger string }{{"before-its-line", "30s"}, {"after-its-line", "0s"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := lab.Cable(t)
			e := newEnv(t, n, "v4", "-N", n.Client.Path(), "-N", n.Server.Path(), "--linger", c.linger)
			e.listen()
			for range 2 {
				cl := e.dial()
				s := e.accept()
				cl.write(1)
				s.read(1)
				s.close() // TIME_WAIT at the server
				cl.readEOF()
				cl.close()
				e.rest()
			}
			r := e.finish()
			if len(r.server.timelines) != 2 {
				t.Fatalf("%d timelines of the server, want 2", len(r.server.timelines))
			}
			first, second := &r.server.timelines[0], &r.server.timelines[1]
			way := passiveOpen + activeClose
			if c.linger == "0s" {
				equal(t, "first", states(t, first), way)
				ends := 0 // more addenda than this one may tell of segments that came late
				for _, a := range r.out.Addenda {
					if a.Timeline[len(a.Timeline)-1].To == "CLOSE" {
						equal(t, "addendum's id", a.ID, first.ID)
						ends++
					}
				}
				equal(t, "addenda that tell the end", ends, 1)
			} else {
				equal(t, "first", states(t, first), way+" CLOSE")
				equal(t, "TIME_WAIT's length is known", first.Teardown.TimeWaitNS != nil && *first.Teardown.TimeWaitNS > 0, true)
				equal(t, "end is known", first.End != nil, true)
			}
			equal(t, "second", states(t, second), way)
			equal(t, "ids differ", first.ID != second.ID, true)
			found := slices.ContainsFunc(second.Findings, func(f lab.Finding) bool { return f.Code == "time-wait-reused" })
			equal(t, "time-wait-reused is found", found, true)
		})
	}
}

// TestAddendum: a FIN that comes again, and is answered, after the line was written.
func TestAddendum(t *testing.T) {
	n := lab.Cable(t)
	e := newEnv(t, n, "v4", "-N", n.Client.Path(), "-N", n.Server.Path(), "--linger", "0s")
	c, s := e.open()
	c.shutdown()
	e.state(e.net.Client, tcpFinWait2)
	s.readEOF()
	e.net.Server.Drop("input", "tcp dport 8080 tcp flags & (syn|ack|fin|psh|rst) == ack", 1)
	s.close()
	e.rest()
	r := e.finish() // compares the addendum's segments with the capture too
	if len(r.client.timelines) != 1 {
		t.Fatalf("%d timelines of the client, want 1", len(r.client.timelines))
	}
	var steps []string
	for _, a := range r.out.Addenda {
		equal(t, "addendum's id", a.ID, r.client.timelines[0].ID)
		for _, entry := range a.Timeline {
			steps = append(steps, entry.Dir+" "+entry.Step)
		}
	}
	if len(steps) != 2 || steps[0] != "rx fin" || steps[1] != "tx fin-ack" {
		t.Errorf("addenda tell of %v, want rx fin, tx fin-ack", steps)
	}
}

// TestTimeWaitEnds: waited out, TIME_WAIT ends when the kernel's own list of sockets says so.
func TestTimeWaitEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 2MSL, a minute")
	}
	t.Parallel()
	n := lab.Cable(t)
	e := newEnv(t, n, "v4", "-N", n.Client.Path(), "-N", n.Server.Path(), "--time-wait")
	c, s := e.open()
	c.close()
	s.readEOF()
	s.close()
	e.rest()
	held := func() bool { return len(n.Client.Sockets(serverPort)) > 0 }
	if !held() {
		t.Fatal("the client has no socket in TIME_WAIT")
	}
	begin := time.Now()
	for held() && time.Since(begin) < 90*time.Second {
		<-time.After(50 * time.Millisecond)
	}
	lasted := time.Since(begin)
	r := e.finish()
	if len(r.client.timelines) != 1 {
		t.Fatalf("%d timelines of the client, want 1", len(r.client.timelines))
	}
	tl := &r.client.timelines[0]
	equal(t, "states", states(t, tl), activeOpen+activeClose+" CLOSE")
	if tl.Teardown.TimeWaitNS == nil || tl.End == nil {
		t.Fatalf("time_wait_ns %v, end %v", tl.Teardown.TimeWaitNS, tl.End)
	}
	// The kernel's timer wheel is coarse so far ahead: up to 1/8 later.
	told := time.Duration(*tl.Teardown.TimeWaitNS)
	if lasted < told-time.Second || lasted > told+told/8+time.Second {
		t.Errorf("TIME_WAIT lasted %s by the kernel's list, %s by the timeline", lasted, told)
	}
}
