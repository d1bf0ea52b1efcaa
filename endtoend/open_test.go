package endtoend

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"tcptrace/internal/lab"
)

// TestSimultaneousOpen: both ends connect to each other, and both SYNs cross.
func TestSimultaneousOpen(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			n := lab.Cable(t)
			e := newEnv(t, n, family)
			// Both SYNs wait for the other's link-layer address. The client's leaves first; the
			// server's SYN-ACK waits behind its own SYN: each gets the other's SYN in SYN_SENT.
			e.heldBack = true
			n.Client.HoldNeighbors()
			n.Server.HoldNeighbors()
			c := e.socketAt(n.Client, e.client, clientPort)
			s := e.socketAt(n.Server, e.server, serverPort)
			done := make(chan error, 2)
			go func() { done <- e.connect(c, e.server, serverPort) }()
			go func() { done <- e.connect(s, e.client, clientPort) }()
			e.state(n.Client, tcpSynSent)
			e.state(n.Server, tcpSynSent)
			n.Client.Neighbor(e.server, n.ClientDev, n.Server, n.ServerDev)
			n.Server.Neighbor(e.client, n.ServerDev, n.Client, n.ClientDev)
			c.must("connect", <-done)
			c.must("connect", <-done)
			c.write(10)
			s.read(10)
			c.shutdown()
			e.state(e.net.Client, tcpFinWait2)
			s.readEOF()
			s.close()
			c.readEOF()
			e.rest()
			rec := e.stop()
			// Which of several ACKs answers which of several SYN-ACKs, nobody can say.
			if n := repeated(rec.client, syn, syn|ack) + repeated(rec.client, syn|ack, syn|ack); n > 0 {
				t.Skipf("needs a machine that answers before a SYN is sent again: %d were", n)
			}
			r := e.result(rec)
			if len(r.client.timelines) != 1 || len(r.server.timelines) != 1 {
				t.Fatalf("%d and %d timelines, want 1 and 1", len(r.client.timelines), len(r.server.timelines))
			}
			const open = "CLOSE SYN_SENT SYN_RECV ESTABLISHED"
			cl, sv := &r.client.timelines[0], &r.server.timelines[0]
			equal(t, "client's states", states(t, cl), open+activeClose)
			equal(t, "server's states", states(t, sv), open+passiveClose)
			for _, tl := range []*lab.Timeline{cl, sv} {
				equal(t, "role", tl.Role, "simultaneous")
				equal(t, "kind", tl.Handshake.Kind, "simultaneous")
				equal(t, "outcome", tl.Handshake.Outcome, "established")
				equal(t, "complete", tl.Complete, true)
			}
			equal(t, "client's peer", deref(cl.PeerID), sv.ID)
			equal(t, "server's peer", deref(sv.PeerID), cl.ID)
		})
	}
}

// TestSelfConnect: a socket connected to itself is both ends of one timeline.
func TestSelfConnect(t *testing.T) {
	n := lab.Loopback(t)
	tracer := lab.StartTracer(t, "-N", n.Client.Path())
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	c := e.socketAt(n.Client, n.Client4, clientPort)
	c.must("connect", e.connect(c, n.Client4, clientPort))
	c.write(10)
	c.read(10)
	c.close()
	out := tracer.Stop()
	if len(out.Timelines) != 1 {
		t.Fatalf("%d timelines, want 1", len(out.Timelines))
	}
	tl := &out.Timelines[0]
	equal(t, "states", states(t, tl), "CLOSE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT")
	equal(t, "kind", tl.Handshake.Kind, "simultaneous")
	var sent, received int
	for _, entry := range tl.Timeline {
		switch entry.Dir {
		case "tx":
			sent++
		case "rx":
			received++
		}
	}
	equal(t, "received as many as sent", received, sent)
}

// TestOpenedBefore: a connection that was there before the tracer.
func TestOpenedBefore(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			n := lab.Cable(t)
			e := &env{t: t, net: n, family: family, client: n.Client4, server: n.Server4}
			if family == "v6" {
				e.client, e.server = n.Client6, n.Server6
			}
			c, s := e.open()
			e.clientCapture = n.Client.StartCapture(n.ClientDev)
			e.serverCapture = n.Server.StartCapture(n.ServerDev)
			e.tracer = lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path())
			c.write(100)
			s.read(100)
			c.shutdown()
			e.state(e.net.Client, tcpFinWait2)
			s.readEOF()
			s.close()
			c.readEOF()
			e.rest()
			r := e.finish()
			if r.out.Lacks(factSnapshot) {
				t.Skip("needs bpf_sock_from_file, for the sockets that were there before")
			}
			if len(r.client.timelines) != 1 || len(r.server.timelines) != 1 {
				t.Fatalf("%d and %d timelines, want 1 and 1", len(r.client.timelines), len(r.server.timelines))
			}
			cl, sv := &r.client.timelines[0], &r.server.timelines[0]
			equal(t, "client's states", states(t, cl), "ESTABLISHED"+activeClose)
			equal(t, "server's states", states(t, sv), "ESTABLISHED"+passiveClose)
			for _, tl := range []*lab.Timeline{cl, sv} {
				equal(t, "complete", tl.Complete, false)
				equal(t, "handshake", tl.Handshake.Outcome, "unobserved")
				equal(t, "teardown", tl.Teardown.Kind, "four-way")
				for _, entry := range tl.Timeline {
					if entry.Type == "segment" && entry.WindowScaled == nil {
						t.Errorf("the kernel knows the scale, but of this window it is not told: %+v", entry)
					}
				}
				if tl.Process == nil || tl.Process.PID != os.Getpid() {
					t.Errorf("process %+v, want pid %d", tl.Process, os.Getpid())
				}
			}
			equal(t, "received", *sv.Traffic.RxBytes, 100)
			equal(t, "client's peer", deref(cl.PeerID), sv.ID)
			equal(t, "server's peer", deref(sv.PeerID), cl.ID)
		})
	}
}

// TestStillOpen: what is open at the end is told, with its traffic so far.
func TestStillOpen(t *testing.T) {
	e := newEnv(t, lab.Cable(t), "v6")
	c, s := e.open()
	c.write(1234)
	s.read(1234)
	s.write(77)
	c.read(77)
	r := e.finish()
	if len(r.client.timelines) != 1 || len(r.server.timelines) != 1 {
		t.Fatalf("%d and %d timelines, want 1 and 1", len(r.client.timelines), len(r.server.timelines))
	}
	cl, sv := &r.client.timelines[0], &r.server.timelines[0]
	for _, tl := range []*lab.Timeline{cl, sv} {
		equal(t, "state", tl.State, "ESTABLISHED")
		equal(t, "ended", tl.End != nil, false)
		equal(t, "teardown", tl.Teardown.Kind, "none")
		equal(t, "complete", tl.Complete, true)
	}
	if r.out.Lacks(factSnapshot) {
		equal(t, "unknown traffic is told", cl.Traffic.TxBytes != nil || sv.Traffic.RxBytes != nil, false)
		return
	}
	equal(t, "client sent", *cl.Traffic.TxBytes, 1234)
	equal(t, "client received", *cl.Traffic.RxBytes, 77)
	equal(t, "server sent", *sv.Traffic.TxBytes, 77)
	equal(t, "server received", *sv.Traffic.RxBytes, 1234)
}

// TestProcessKilled: the kernel closes for a process that was killed; the connection was that process's.
func TestProcessKilled(t *testing.T) {
	e := newEnv(t, lab.Cable(t), "v4")
	e.listen()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("ip", "netns", "exec", e.net.Client.Name, self)
	child.Env = append(os.Environ(), childVariable+"="+netip.AddrPortFrom(e.server, serverPort).String())
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	s := e.accept()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "connected\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	s.readEOF()
	s.close()
	e.rest()
	out := e.tracer.Stop()
	for _, tl := range out.Timelines {
		want := os.Getpid()
		if tl.Role == "client" {
			want = child.Process.Pid
			equal(t, "states", states(t, &tl), activeOpen+activeClose)
			if tl.ClosedBy == nil || tl.ClosedBy.Side != "local" || tl.ClosedBy.PID == nil || *tl.ClosedBy.PID != want {
				t.Errorf("closed by %+v, want local, pid %d", tl.ClosedBy, want)
			}
		}
		if tl.Process == nil || tl.Process.PID != want {
			t.Errorf("%s's process is %+v, want pid %d", tl.Role, tl.Process, want)
		}
	}
	equal(t, "timelines", strconv.Itoa(len(out.Timelines)), "2")
}
