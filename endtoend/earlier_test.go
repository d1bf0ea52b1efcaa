package endtoend

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

const (
	tcpSynRecv = 3
	factUnheld = "sockets of no process"
)

// one is the only timeline of an endpoint.
func one(t *testing.T, r *record, local, remote netip.AddrPort) *lab.Timeline {
	t.Helper()
	all := r.of(local, remote)
	if len(all) != 1 {
		t.Fatalf("%s to %s: %d timelines, want 1", local, remote, len(all))
	}
	return &all[0]
}

// TestEarlierSockets: what was there before the tracer is known by where it stood: open, open and not yet
// accepted, half open.
func TestEarlierSockets(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	e.clientCapture = n.Client.StartCapture(n.ClientDev)
	open := e
	c, s := open.open()
	c.write(100)
	s.read(100)
	s.write(7)
	c.read(7)

	waiting := e.at(t, 0)
	waitingClient := waiting.socketAt(n.Client, e.client, clientPort+1)
	waitingClient.must("connect", e.connect(waitingClient, e.server, serverPort))
	waitingAt := netip.AddrPortFrom(e.client, clientPort+1)
	waitingClient.write(5)

	halfAt := netip.AddrPortFrom(e.client, clientPort+2)
	drop := n.Client.Drop("input", "tcp dport 40002", 0)
	half := e.socketAt(n.Client, e.client, clientPort+2)
	half.must("O_NONBLOCK", unix.SetNonblock(half.fd, true))
	if err := e.connect(half, e.server, serverPort); err != unix.EINPROGRESS {
		t.Fatalf("connect: %v", err)
	}
	e.state(n.Server, tcpSynRecv)
	e.state(n.Client, tcpSynSent)

	e.tracer = lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path())
	drop.Remove()
	lab.Eventually(t, "the half-open connection is established", func() bool {
		for _, k := range n.Client.Sockets(serverPort) {
			if k.Local == halfAt {
				return k.State == tcpEstablished
			}
		}
		return false
	})
	c.write(3)
	s.read(3)
	for _, k := range []*socket{c, waitingClient, half} {
		k.close()
	}
	s.readEOF()
	s.close()
	for range 2 {
		k := e.accept()
		k.close()
	}
	e.rest()
	r := e.stop()
	if r.out.Lacks(factSnapshot) || r.out.Lacks(factUnheld) {
		t.Skip("needs iterators over files and sockets, for what was there before")
	}

	isn := map[netip.AddrPort]map[netip.AddrPort]uint32{} // by sender and receiver
	scale := map[netip.AddrPort]int{}
	for _, g := range r.client {
		if g.Flags&2 != 0 {
			if isn[g.Src] == nil {
				isn[g.Src] = map[netip.AddrPort]uint32{}
			}
			isn[g.Src][g.Dst] = g.Seq
			scale[g.Src] = g.WScale
		}
	}
	for _, at := range []netip.AddrPort{e.clientAt(), waitingAt, halfAt} {
		cl, sv := one(t, r, at, e.serverAt()), one(t, r, e.serverAt(), at)
		for _, tl := range []*lab.Timeline{cl, sv} {
			local, remote := tl.Local.AddrPort(), tl.Remote.AddrPort()
			equal(t, "complete", tl.Complete, false)
			if tl.Process == nil || tl.Process.PID != os.Getpid() {
				t.Errorf("%s: process %+v, want pid %d", local, tl.Process, os.Getpid())
			}
			if tl.Handshake.LocalISN == nil || tl.Handshake.RemoteISN == nil {
				if at != halfAt {
					t.Errorf("%s: no initial sequence numbers", local)
				}
				continue
			}
			equal(t, "local ISN", *tl.Handshake.LocalISN, isn[local][remote])
			equal(t, "remote ISN", *tl.Handshake.RemoteISN, isn[remote][local])
			for _, entry := range tl.Timeline {
				if entry.Type != "segment" || entry.Step == "syn" || entry.Step == "syn-ack" || entry.Step == "rst" {
					continue
				}
				from := local
				if entry.Dir == "rx" {
					from = remote
				}
				if entry.WindowScaled == nil {
					t.Errorf("%s: no scale for %+v", local, entry)
				} else {
					equal(t, "window", *entry.WindowScaled, uint32(entry.Window)<<scale[from])
				}
			}
		}
		equal(t, "client's role", cl.Role, "client")
		equal(t, "server's role", sv.Role, "server")
		equal(t, "client's peer", deref(cl.PeerID), sv.ID)
	}
	equal(t, "half-open client's first state", states(t, one(t, r, halfAt, e.serverAt()))[:len("SYN_SENT")], "SYN_SENT")
	equal(t, "half-open server's first state", states(t, one(t, r, e.serverAt(), halfAt))[:len("SYN_RECV")], "SYN_RECV")
}

// TestEarlierTimeWait: a TIME_WAIT that was there before has no line, but whoever takes its ports is told that
// they were not free.
func TestEarlierTimeWait(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	c, s := e.open()
	s.shutdown()
	c.readEOF()
	c.close()
	s.readEOF()
	s.close()
	e.state(n.Server, tcpTimeWait)
	e.tracer = lab.StartTracer(t, "-N", n.Server.Path())
	c = e.dial()
	s = e.accept()
	c.close()
	s.readEOF()
	s.close()
	out := e.tracer.Stop()
	if out.Lacks(factUnheld) {
		t.Skip("needs an iterator over sockets, for TIME_WAITs that were there before")
	}
	servers, reused := 0, 0
	for _, tl := range out.Timelines {
		if tl.Role == "server" && tl.Complete {
			servers++
			if tl.Handshake.ReusedTimeWaitNS != nil {
				reused++
			}
		}
	}
	equal(t, "new connections", servers, 1)
	equal(t, "of these on ports that were in TIME_WAIT", reused, 1)
	if t.Failed() {
		for _, l := range out.Lines {
			t.Logf("%s", l)
		}
	}
}

// TestKilledOwner: the connection that a killed process leaves behind was that process's, and says what killed it.
func TestKilledOwner(t *testing.T) {
	n := lab.Cable(t)
	at := netip.AddrPortFrom(n.Server4, serverPort)
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path())
	s := startServer(t, n.Server, "plain", at)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	c := e.dial()
	c.write(8)
	c.read(8)
	_ = s.cmd.Process.Signal(unix.SIGKILL)
	c.readEOF()
	c.close()
	out := tracer.Stop()
	owners(t, out, s, serverPort, 1)
	for _, tl := range out.Timelines {
		if tl.Role != "server" {
			continue
		}
		by := tl.ClosedBy
		if by == nil || by.Side != "local" || by.PID == nil || *by.PID != s.cmd.Process.Pid ||
			deref(by.Call) != "exit" || deref(by.Signal) != "SIGKILL" {
			t.Errorf("closed by %+v, want pid %d, exit, SIGKILL", by, s.cmd.Process.Pid)
		}
	}
}

// TestClosingCalls: by what call each end was closed.
func TestClosingCalls(t *testing.T) {
	e := newEnv(t, lab.Cable(t), "v4")
	c, s := e.open()
	c.shutdown()
	s.readEOF()
	s.close()
	c.readEOF()
	e.rest()
	r := e.finish()
	for _, end := range []struct {
		of   *endpoint
		call string
	}{{&r.client, "shutdown"}} {
		by := end.of.timelines[0].ClosedBy
		if by == nil || deref(by.Call) != end.call || by.PID == nil || *by.PID != os.Getpid() {
			t.Errorf("closed by %+v, want %s by %d", by, end.call, os.Getpid())
		}
	}
	for _, tl := range []lab.Timeline{r.client.timelines[0], r.server.timelines[0]} {
		for _, entry := range tl.Timeline {
			if entry.Type == "segment" && entry.Dir == "rx" && entry.OneWayNS == nil {
				t.Errorf("%s: no delay from the other end: %+v", tl.Role, entry)
			}
		}
	}
}

// TestInherited: at the end a socket is held by another process than the one that had used it.
func TestInherited(t *testing.T) {
	n := lab.Cable(t)
	at := netip.AddrPortFrom(n.Server4, serverPort)
	tracer := lab.StartTracer(t, "-N", n.Server.Path())
	s := startServer(t, n.Server, "left-behind", at)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	c := e.dial()
	c.write(8)
	lab.Eventually(t, "the connection is left to a child", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.served) == 1
	})
	out := tracer.Stop()
	if out.Lacks(factSnapshot) {
		t.Skip("needs an iterator over files")
	}
	owners(t, out, s, serverPort, 1)
}
