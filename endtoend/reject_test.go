package endtoend

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestRejectedOnTheWayOut: where netfilter rejects what this host sends, the RST that it sends in the other end's name is received by
// the connection, and is nobody's connection of its own.
func TestRejectedOnTheWayOut(t *testing.T) {
	reject := func(e *env, what string) {
		e.net.Client.Exec("nft", "add table inet r; add chain inet r c { type filter hook output priority 0; }; "+
			"add rule inet r c tcp dport 8080 "+what+" reject with tcp reset")
	}
	for _, sc := range []struct {
		name string
		run  func(e *env)
		ends int
	}{
		{"the SYN", func(e *env) {
			reject(e, "")
			c := e.socketAt(e.net.Client, e.client, clientPort)
			equal(e.t, "connect()", e.connect(c, e.server, serverPort), error(unix.ECONNREFUSED))
		}, 1},
		{"data", func(e *env) {
			c, s := e.open()
			e.exchange(c, s)
			reject(e, "tcp flags psh")
			c.write(10)
			c.readError(unix.ECONNRESET)
		}, 2},
		{"the FIN", func(e *env) {
			c, s := e.open()
			e.exchange(c, s)
			reject(e, "")
			c.close()
			lab.Eventually(e.t, "the client's socket is gone", func() bool { return len(e.net.Client.Sockets(serverPort)) == 0 })
		}, 2},
	} {
		for _, family := range []string{"v4", "v6"} {
			t.Run(strings.ReplaceAll(sc.name, " ", "-")+"/"+family, func(t *testing.T) {
				t.Parallel()
				e := whyEnv(t, family)
				stop := e.trace()
				sc.run(e)
				out := stop()
				equal(t, "timelines", len(out.Timelines), sc.ends)
				tl := timelineOf(t, out, "client", clientPort)
				if r := tl.Teardown.Reset; r == nil || r.By != "remote" {
					t.Errorf("reset: %+v", r)
				}
				if sc.ends == 1 {
					equal(t, "peer", deref(tl.PeerID), "")
					equal(t, "translated", tl.NAT != nil, false)
				}
			})
		}
	}
}

// TestRejectedOnTheWayIn: a SYN that the server's firewall rejects has one timeline there, with the RST that answered it, and the other
// end is not told that there was no answer.
func TestRejectedOnTheWayIn(t *testing.T) {
	for _, family := range []string{"v4", "v6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			e := whyEnv(t, family)
			e.listen()
			e.net.Server.Exec("nft", "add table inet r; add chain inet r c { type filter hook input priority 0; }; "+
				"add rule inet r c tcp dport 8080 reject with tcp reset")
			stop := e.trace()
			c := e.socketAt(e.net.Client, e.client, clientPort)
			equal(t, "connect()", e.connect(c, e.server, serverPort), error(unix.ECONNREFUSED))
			out := stop()
			if out.Lacks(factDrops) {
				t.Skip("the kernel tells no drops")
			}
			equal(t, "timelines", len(out.Timelines), 2)
			tl := timelineOf(t, out, "server", serverPort)
			equal(t, "outcome", tl.Handshake.Outcome, "refused")
			equal(t, "complete", tl.Complete, true)
			if r := tl.Teardown.Reset; r == nil || r.By != "local" || r.Reason != nil {
				t.Errorf("reset: %+v", r)
			}
			if len(tl.Findings) != 1 || tl.Findings[0].Code != "refused-here" {
				t.Errorf("findings: %+v", tl.Findings)
			}
		})
	}
}

// TestDataRefused: data that came when no application could read it any more count for Wireshark and Zeek, though for no socket.
func TestDataRefused(t *testing.T) {
	lab.Need(t, "ip", "tcpdump", "sharkd")
	e := newEnv(t, lab.Cable(t), "v4")
	c, s := e.open()
	s.close()
	c.readEOF()
	e.state(e.net.Server, tcpFinWait2) // the FIN's ACK is on its own
	c.write(4)
	lab.Eventually(t, "the client has the RST", func() bool { return unix.Send(c.fd, []byte{1}, unix.MSG_NOSIGNAL) != nil })
	r := e.finish() // compares completeness
	for _, end := range []*endpoint{&r.client, &r.server} {
		equal(t, "history", deref(end.timelines[0].History), "ShAfDr")
	}
}

// TestRejectedOnTheWayThrough: a router that rejects what it forwards sends RSTs in other hosts' names; they and what they answer are no
// endpoint's of it.
func TestRejectedOnTheWayThrough(t *testing.T) {
	for _, sc := range []struct {
		name, match string
		run         func(e *env, reject func())
	}{
		{"the SYN", "tcp dport 8080", func(e *env, reject func()) {
			reject()
			c := e.socketAt(e.net.Client, e.client, clientPort)
			equal(e.t, "connect()", e.connect(c, e.server, serverPort), error(unix.ECONNREFUSED))
		}},
		{"data", "tcp dport 8080", func(e *env, reject func()) {
			c, s := e.open()
			e.exchange(c, s)
			reject()
			c.write(10)
			c.readError(unix.ECONNRESET)
		}},
		{"the answer", "tcp sport 8080", func(e *env, reject func()) {
			c, s := e.open()
			e.exchange(c, s)
			reject()
			s.write(10)
			s.readError(unix.ECONNRESET)
		}},
	} {
		for _, family := range []string{"v4", "v6"} {
			t.Run(strings.ReplaceAll(sc.name, " ", "-")+"/"+family, func(t *testing.T) {
				t.Parallel()
				lab.Need(t, "ip", "nft")
				n, router := lab.Routed(t)
				e := &env{t: t, net: n, family: family, client: n.Client4, server: n.Server4}
				if family == "v6" {
					e.client, e.server = n.Client6, n.Server6
				}
				stop := e.trace("-N", router.Path())
				sc.run(e, func() {
					router.Exec("nft", "add table inet r; add chain inet r c { type filter hook forward priority 0; }; "+
						"add rule inet r c "+sc.match+" reject with tcp reset")
				})
				out := stop()
				if out.Lacks(factDrops) {
					t.Skip("the kernel tells no drops: the router's RSTs are told, as of connections that it does not know")
				}
				for _, tl := range out.Timelines {
					if tl.Netns == router.Inode() {
						t.Errorf("the router has a %s's timeline: %+v", tl.Role, tl.Timeline)
					}
				}
			})
		}
	}
}

// TestPublishedPortIsRejected: a router that translates a connection and rejects what comes later did not refuse its SYN.
func TestPublishedPortIsRejected(t *testing.T) {
	t.Parallel()
	n, router := lab.Routed(t)
	nat(t, router, "add rule ip nat pre tcp dport 9000 dnat to 198.51.100.1:8080")
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	stop := e.trace("-N", router.Path())
	e.listen()
	c := e.socketAt(n.Client, e.client, clientPort)
	c.must("connect", e.connect(c, netip.MustParseAddr("192.0.2.254"), 9000))
	e.exchange(c, e.accept())
	router.Exec("nft", "add table inet r; add chain inet r c { type filter hook forward priority 0; }; "+
		"add rule inet r c tcp dport 8080 reject with tcp reset")
	c.write(10)
	c.readError(unix.ECONNRESET)
	for _, tl := range stop().Timelines {
		if tl.Netns == router.Inode() && (tl.Role == "server" || tl.Handshake.Outcome == "refused") {
			t.Errorf("the router's timeline: %+v", tl.Timeline)
		}
	}
}

// TestUnreachableMidway: the kernel gives up on a connection with the error that a router had told.
func TestUnreachableMidway(t *testing.T) {
	t.Parallel()
	lab.Need(t, "ip", "nft")
	n, router := lab.Routed(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	n.Client.Sysctl("net.ipv4.tcp_retries2", "2")
	stop := e.trace()
	c, s := e.open()
	e.exchange(c, s)
	router.Exec("nft", "add table inet r; add chain inet r c { type filter hook forward priority 0; }; "+
		"add rule inet r c tcp dport 8080 reject with icmp host-unreachable")
	c.write(10)
	c.readError(unix.EHOSTUNREACH)
	tl := timelineOf(t, stop(), "client", clientPort)
	equal(t, "teardown", tl.Teardown.Kind, "timed-out")
	equal(t, "errno", deref(tl.Teardown.Errno), "EHOSTUNREACH")
	if tl.ClosedBy == nil || len(tl.Findings) == 0 {
		t.Fatalf("closed by %+v, found %+v", tl.ClosedBy, tl.Findings)
	}
	equal(t, "closed by", tl.ClosedBy.Side, "kernel")
	equal(t, "found", tl.Findings[0].Code, "connection-timed-out")
	if text := tl.Findings[0].Text; !strings.Contains(text, "192.0.2.254 said host-unreachable") {
		t.Error(text)
	}
}

// TestDestroyed: what ss -K ends is its doing, and was at no time its own; a listener has no timeline.
func TestDestroyed(t *testing.T) {
	e := whyEnv(t, "v4")
	kill := func(h *lab.Host, filter string) {
		out, err := exec.Command("ip", "netns", "exec", h.Name, "ss", "-tanK", filter).CombinedOutput()
		if err != nil {
			t.Skipf("needs a kernel with CONFIG_INET_DIAG_DESTROY: %v: %s", err, out)
		}
	}
	stop := e.trace()
	c, _ := e.open()
	kill(e.net.Server, "dport = :40000")
	c.readError(unix.ECONNRESET)
	e.net.Server.Drop("input", "tcp dport 8080", 0)
	k := e.socketAt(e.net.Client, e.client, clientPort+1)
	k.must("O_NONBLOCK", unix.SetNonblock(k.fd, true))
	equal(t, "connect()", e.connect(k, e.server, serverPort), error(unix.EINPROGRESS))
	kill(e.net.Client, "sport = :40001")
	kill(e.net.Server, "sport = :8080")
	lab.Eventually(t, "the listener is gone", func() bool { return len(e.net.Server.Sockets(serverPort)) == 0 })
	out := stop()
	want := 4 // both ends of both connections: the second's SYN came
	if out.Lacks(factDrops) {
		want-- // and nobody told that it was dropped
	}
	equal(t, "timelines", len(out.Timelines), want)
	sv, cancelled := timelineOf(t, out, "server", clientPort), timelineOf(t, out, "client", clientPort+1)
	if p := sv.Process; p == nil || p.PID != os.Getpid() {
		t.Errorf("the server's owner is %+v", p)
	}
	for _, tl := range []*lab.Timeline{sv, cancelled} {
		if tl.ClosedBy.PID == nil || *tl.ClosedBy.PID == os.Getpid() || deref(tl.ClosedBy.Call) != "destroy" {
			t.Errorf("%s: closed by %+v", tl.Role, tl.ClosedBy)
		}
		if text := tl.Findings[0].Text; !strings.Contains(text, "destroyed") || !strings.Contains(text, "as ss -K does") {
			t.Error(text)
		}
	}
}
