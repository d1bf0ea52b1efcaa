package endtoend

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tcptrace/internal/lab"
)

// TestLossIsTold: with a ring of one page a burst loses events. What was lost is counted, and no
// timeline that lacks something says that it is complete.
func TestLossIsTold(t *testing.T) {
	const n = 300
	net := lab.Loopback(t)
	e := &env{t: t, net: net, family: "v4", client: net.Client4, server: net.Server4}
	tracer := lab.StartTracer(t, "-N", net.Client.Path(), "--ring-size", "4K")
	e.listen()
	var all sync.WaitGroup
	all.Go(func() {
		for range n {
			s := e.accept()
			s.readEOF()
			s.close()
		}
	})
	for range n {
		c := e.socketAt(net.Client, e.client, 0)
		c.must("connect", e.connect(c, e.server, serverPort))
		c.close()
	}
	all.Wait()
	e.rest()
	out := tracer.Stop()

	summary := regexp.MustCompile(`(\d+) timelines, (\d+) lost`).FindStringSubmatch(out.Stderr)
	if summary == nil {
		t.Fatalf("no summary:\n%s", out.Stderr)
	}
	lost, _ := strconv.Atoi(summary[2])
	if lost == 0 {
		t.Fatal("nothing was lost: the test does not test")
	}
	if !strings.Contains(out.Stderr, "events lost so far") {
		t.Errorf("the loss was not reported while it happened:\n%s", out.Stderr)
	}
	told, incomplete := 0, 0
	for _, tl := range out.Timelines {
		told += tl.LostEvents
		gaps := 0
		for _, entry := range tl.Timeline {
			if entry.Type == "gap" {
				gaps++
			}
		}
		if !tl.Complete {
			incomplete++
		}
		found := slices.ContainsFunc(tl.Findings, func(f lab.Finding) bool { return f.Code == "events-lost" })
		equal(t, "events-lost is found", found, tl.LostEvents > 0)
		if tl.LostEvents > 0 && (tl.Complete || gaps == 0) {
			t.Errorf("%d events lost, but complete %v, %d gaps", tl.LostEvents, tl.Complete, gaps)
		}
		whole(t, &tl)
	}
	if told > lost {
		t.Errorf("timelines tell of %d lost events, the summary of %d", told, lost)
	}
	if incomplete == 0 {
		t.Errorf("%d events were lost, yet every timeline is complete", lost)
	}
}

// whole fails the test where a timeline of a plain connection says that it is complete, has ended,
// and lacks something.
func whole(t *testing.T, tl *lab.Timeline) {
	t.Helper()
	if !tl.Complete || tl.State != "TIME_WAIT" && tl.State != "CLOSE" {
		return
	}
	// A port may be used again out of TIME_WAIT.
	way := strings.Replace(states(t, tl), "TIME_WAIT CLOSE", "TIME_WAIT", 1)
	if way != activeOpen+activeClose && way != passiveOpen+passiveClose {
		t.Errorf("complete, but its states are %s: %s %v, %v\n%+v", way, tl.Role, tl.Local, tl.Remote, tl.Timeline)
	}
	segments := 0
	for _, entry := range tl.Timeline {
		if entry.Type == "segment" {
			segments++
		}
	}
	// SYN, SYN-ACK, ACK, FIN, FIN-ACK, ACK, and one more where the close took four.
	if segments < 6 {
		t.Errorf("complete, but with %d segments", segments)
	}
}

// TestStartAndStopUnderLoad: the hooks attach one after the other, but begin and end together. What
// was under way when they did is told as far as it was seen, and as no more.
func TestStartAndStopUnderLoad(t *testing.T) {
	net := lab.Loopback(t)
	e := &env{t: t, net: net, family: "v4", client: net.Client4, server: net.Server4}
	e.listen()
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			s := e.accept()
			if n, _ := s.readSome(make([]byte, 1)); n == 1 {
				return // the last one says so
			}
			s.close()
		}
	})
	all.Go(func() {
		for {
			c := e.socketAt(net.Client, e.client, 0)
			c.must("connect", e.connect(c, e.server, serverPort))
			select {
			case <-stop:
				c.write(1)
				return
			default:
			}
			c.close()
		}
	})
	var missed *lab.Output
	for range 5 {
		out := lab.StartTracer(t, "-N", net.Client.Path()).Stop()
		if out.Missed() != "" {
			missed = out
			continue
		}
		equal(t, "nothing lost", strings.Contains(out.Stderr, " 0 lost"), true)
		for _, tl := range out.Timelines {
			whole(t, &tl)
			if tl.Complete && tl.Handshake.Outcome == "unobserved" {
				t.Errorf("complete, but its handshake was not seen: %+v", tl.Timeline)
			}
			// A listener that was there before is known by the snapshot.
			if tl.Process == nil && tl.Complete && !out.Lacks(factSnapshot) {
				t.Errorf("complete, but nobody's: %+v", tl.Timeline)
			}
		}
	}
	close(stop)
	all.Wait()
	if missed != nil {
		skipMissed(t, missed, false)
	}
}
