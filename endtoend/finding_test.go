package endtoend

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/finding"
	"tcptrace/internal/lab"
)

// findingScenario is something that goes wrong, and what must be found of it at each end.
type findingScenario struct {
	name string
	// before prepares the network, ahead of the tracer.
	before func(e *env)
	run    func(e *env)
	args   []string // further ones of the tracer's
	routed bool     // with a third host between
	open   bool     // not all is closed at the end
	// client and server are all the codes of their timelines, in order.
	client, server string
}

// pass lets time pass: here it is what happens.
func pass(d time.Duration) { <-time.After(d) }

// startConnect begins to connect and does not wait.
func (e *env) startConnect() *socket {
	e.t.Helper()
	c := e.socketAt(e.net.Client, e.client, clientPort)
	c.must("nonblock", unix.SetNonblock(c.fd, true))
	if err := e.connect(c, e.server, serverPort); err != unix.EINPROGRESS {
		e.t.Errorf("connect: %v, want EINPROGRESS", err)
	}
	return c
}

// exchange has data go both ways, so that the connection is an ordinary one.
func (e *env) exchange(c, s *socket) {
	e.t.Helper()
	c.write(10)
	s.read(10)
	s.write(10)
	c.read(10)
}

// retries has SYN, SYN-ACK or an orphan's FIN be sent again once only.
func retries(h *lab.Host) {
	h.Sysctl("net.ipv4.tcp_syn_retries", "1")
	h.Sysctl("net.ipv4.tcp_syn_linear_timeouts", "0")
	h.Sysctl("net.ipv4.tcp_synack_retries", "1")
	h.Sysctl("net.ipv4.tcp_orphan_retries", "1")
}

const synACKs = "tcp flags & (syn|ack) == (syn|ack)"

var findingScenarios = []findingScenario{
	{name: "nothing is found in a plain connection", run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}},
	{name: "refused", run: func(e *env) {
		c := e.socketAt(e.net.Client, e.client, clientPort)
		if err := e.connect(c, e.server, serverPort); err != unix.ECONNREFUSED {
			e.t.Errorf("connect: %v", err)
		}
	}, client: "connect-refused", server: "refused-here"},
	{name: "rejected by ICMP", before: func(e *env) {
		e.net.Server.Exec("nft", "add table inet r; add chain inet r c { type filter hook input priority 0; }; "+
			"add rule inet r c tcp dport 8080 reject with icmpx type host-unreachable")
	}, run: func(e *env) {
		e.net.Client.Sysctl("net.ipv4.tcp_syn_retries", "1")
		e.net.Client.Sysctl("net.ipv4.tcp_syn_linear_timeouts", "0")
		c := e.socketAt(e.net.Client, e.client, clientPort)
		if err := e.connect(c, e.server, serverPort); err != unix.EHOSTUNREACH {
			e.t.Errorf("connect: %v", err)
		}
	}, client: "connect-unreachable", server: "syn-dropped-here"},
	{name: "nobody at the next hop", run: func(e *env) {
		e.server = netip.MustParseAddr("192.0.2.99")
		c := e.socketAt(e.net.Client, e.client, clientPort)
		if err := e.connect(c, e.server, serverPort); err != unix.EHOSTUNREACH {
			e.t.Errorf("connect: %v", err)
		}
	}, client: "connect-unreachable"},
	{name: "dropped on the way out", run: func(e *env) {
		retries(e.net.Client)
		e.net.Client.Drop("output", "tcp dport 8080", 0)
		c := e.socketAt(e.net.Client, e.client, clientPort)
		if err := e.connect(c, e.server, serverPort); err != unix.ETIMEDOUT {
			e.t.Errorf("connect: %v", err)
		}
	}, client: "connect-dropped-here"},
	{name: "dropped on the way in", run: func(e *env) {
		retries(e.net.Client)
		e.net.Server.Drop("input", "tcp dport 8080", 0)
		c := e.socketAt(e.net.Client, e.client, clientPort)
		if err := e.connect(c, e.server, serverPort); err != unix.ETIMEDOUT {
			e.t.Errorf("connect: %v", err)
		}
	}, client: "connect-no-answer", server: "syn-dropped-here"},
	{name: "SYN-ACKs dropped at the client", open: true, run: func(e *env) {
		retries(e.net.Client)
		retries(e.net.Server)
		e.net.Client.Drop("input", synACKs, 0)
		e.listen()
		c := e.socketAt(e.net.Client, e.client, clientPort)
		if err := e.connect(c, e.server, serverPort); err != unix.ETIMEDOUT {
			e.t.Errorf("connect: %v", err)
		}
		pass(5 * time.Second) // until the server gives up too
	}, client: "connect-dropped-here", server: "synack-unanswered"},
	{name: "given up by the application", run: func(e *env) {
		d := e.net.Server.Drop("input", "tcp dport 8080", 0)
		c := e.startConnect()
		d.Hits(1)
		c.close()
	}, client: "connect-cancelled", server: "syn-dropped-here"},
	{name: "gone before the SYN-ACK came", run: func(e *env) {
		d := e.net.Client.Drop("input", synACKs, 1)
		e.listen()
		c := e.startConnect()
		d.Hits(1)
		c.close() // to the SYN-ACK that comes again nobody is there
		lab.Eventually(e.t, "the RST is there", func() bool {
			return !slices.ContainsFunc(e.net.Server.Sockets(serverPort), func(s lab.Socket) bool { return s.State != tcpListen })
		})
	}, client: "connect-dropped-here handshake-reset", server: "handshake-reset"}, // the client's host has the RST for itself
	{name: "no local port is free", before: func(e *env) {
		e.net.Client.Sysctl("net.ipv4.ip_local_port_range", "40000 40000")
	}, run: func(e *env) {
		c, s := e.open()
		other := e.socketAt(e.net.Client, e.client, 0)
		if err := e.connect(other, e.server, serverPort); err != unix.EADDRNOTAVAIL {
			e.t.Errorf("connect: %v", err)
		}
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}, client: "no-local-port"},
	{name: "the ports are taken", run: func(e *env) {
		c, s := e.open()
		other := e.socketAt(e.net.Client, netip.IPv4Unspecified(), clientPort)
		if err := e.connect(other, e.server, serverPort); err != unix.EADDRNOTAVAIL {
			e.t.Errorf("connect: %v", err)
		}
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}, client: "no-syn-sent"},
	{name: "a SYN is dropped", run: func(e *env) {
		e.net.Server.Drop("input", "tcp dport 8080 tcp flags & (syn|ack) == syn", 1)
		c, s := e.open()
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}, client: "syn-retransmitted handshake-slow", server: "syn-retransmitted handshake-slow"},
	{name: "the third ACK is dropped", run: func(e *env) {
		e.net.Server.Drop("input", "tcp dport 8080 tcp flags & (syn|ack|fin|psh|rst) == ack", 1)
		c, s := e.open()
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}, client: "synack-retransmitted", server: "segment-dropped-here synack-retransmitted handshake-slow"},
	{name: "reset by SO_LINGER 0", run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.linger0()
		c.close()
		s.readError(unix.ECONNRESET)
	}, client: "reset-sent", server: "reset-received"},
	{name: "the other host falls silent", open: true, run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.option(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 400)
		e.net.Server.Drop("input", "tcp dport 8080", 0)
		e.net.Server.Drop("output", "tcp sport 8080", 0)
		c.write(10)
		c.readError(unix.ETIMEDOUT)
	}, client: "connection-timed-out data-retransmitted"},
	{name: "nobody acknowledges the FIN", open: true, run: func(e *env) {
		retries(e.net.Client)
		c, s := e.open()
		e.exchange(c, s)
		e.net.Server.Drop("input", "tcp dport 8080", 0)
		c.close()
		lab.Eventually(e.t, "the client is gone", func() bool { return len(e.net.Client.Sockets(serverPort)) == 0 })
	}, client: "fin-unacknowledged fin-retransmitted", server: "fin-retransmitted"},
	{name: "the application does not close", args: []string{"--close-wait", "200ms"}, run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.shutdown()
		e.state(e.net.Client, tcpFinWait2)
		pass(300 * time.Millisecond)
		s.readEOF()
		s.close()
		c.readEOF()
	}, server: "close-wait-leak"},
	{name: "the application never closes", open: true, args: []string{"--close-wait", "200ms"}, run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.close()
		e.state(e.net.Client, tcpFinWait2)
		pass(1200 * time.Millisecond)
		_ = s
	}, client: "fin-wait2-orphan", server: "close-wait-leak"},
	{name: "half-closed for long", run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.shutdown()
		s.readEOF()
		pass(1100 * time.Millisecond)
		s.close()
		c.readEOF()
	}, client: "half-closed", server: "half-closed"},
	{name: "the last ACK is lost", run: func(e *env) {
		c, s := e.open()
		c.shutdown()
		e.state(e.net.Client, tcpFinWait2)
		s.readEOF()
		e.net.Server.Drop("input", "tcp dport 8080 tcp flags & (syn|ack|fin|psh|rst) == ack", 1)
		s.close()
		c.readEOF()
	}, client: "late-fin no-data", server: "segment-dropped-here fin-retransmitted no-data"},
	{name: "a data segment is lost", run: func(e *env) {
		c, s := e.open()
		e.net.Server.Drop("input", "tcp dport 8080 tcp flags & psh == psh", 1)
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}, client: "data-retransmitted", server: "data-dropped-here"},
	{name: "no data", run: func(e *env) {
		c, s := e.open()
		c.close()
		s.readEOF()
		s.close()
	}, client: "no-data", server: "no-data"},
	{name: "one side without SACK", before: func(e *env) { e.net.Server.Sysctl("net.ipv4.tcp_sack", "0") }, run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}, client: "option-not-offered", server: "option-not-offered"},
	{name: "a router rewrites the SYN", routed: true, run: func(e *env) {
		c, s := e.open()
		e.exchange(c, s)
		c.close()
		s.readEOF()
		s.close()
	}, client: "option-not-offered mss-rewritten", server: "option-removed mss-rewritten"},
}

func TestFindings(t *testing.T) {
	lab.Need(t, "ip", "nft")
	for _, sc := range findingScenarios {
		t.Run(strings.ReplaceAll(sc.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			var n *lab.Network
			if sc.routed {
				var router *lab.Host
				n, router = lab.Routed(t)
				router.Exec("nft", "add table inet m; add chain inet m c { type filter hook forward priority 0; }; "+
					"add rule inet m c tcp flags syn tcp option maxseg size set 1200; "+
					"add rule inet m c tcp dport 8080 tcp flags syn reset tcp option sack-perm")
			} else {
				n = lab.Cable(t)
			}
			e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
			if sc.before != nil {
				sc.before(e)
			}
			tracer := lab.StartTracer(t, append([]string{"-N", n.Client.Path(), "-N", n.Server.Path()}, sc.args...)...)
			sc.run(e)
			if !sc.open {
				e.rest()
			}
			got := map[string]string{}
			for _, tl := range tracer.Stop().Timelines {
				for _, f := range tl.Findings {
					got[tl.Role] += f.Code + " "
					t.Logf("%s: %s: %s", tl.Role, f.Code, f.Text)
					if f.Text == "" || f.Next == "" {
						t.Errorf("%s says nothing: %+v", f.Code, f)
					}
				}
			}
			equal(t, "the client's", strings.TrimSpace(got["client"]), sc.client)
			equal(t, "the server's", strings.TrimSpace(got["server"]), sc.server)
		})
	}
}

// Codes that no scenario here can raise, and why.
var unraised = map[string]string{
	"ack-number-wrong":      "no kernel breaks the rule; finding/check_test.go does",
	"sequence-number-wrong": "no kernel breaks the rule; finding/check_test.go does",
	"ack-flag-missing":      "no kernel breaks the rule; finding/check_test.go does",
	"state-disagrees":       "no kernel breaks the rule; finding/check_test.go does",
	"transition-illegal":    "no kernel breaks the rule; finding/check_test.go does",
	"events-lost":           "TestLossIsTold raises it",
	"time-wait-reused":      "TestTimeWaitReused raises it",
	"reset-after-close":     "finding/close_test.go raises it",
	"reset-stray":           "finding/close_test.go raises it",
	"connect-failed-here":   "TestConnectErrors raises it",
	"accept-queue-full":     "TestAcceptQueueFull raises it",
	"syn-queue-full":        "TestSYNQueueFull raises it",
	"syn-cookie":            "TestSYNCookies raises it",
	"fast-open-refused":     "TestFastOpen raises it",
	"ecn-refused":           "TestECN raises it",
	"mptcp-fallback":        "TestMultipathFallsBack raises it",
	"orphan-limit":          "TestOrphanLimit raises it",
}

// TestEveryFindingIsRaised: each code of the table has a scenario, and no scenario waits for one that is not in it.
func TestEveryFindingIsRaised(t *testing.T) {
	raised := map[string]bool{}
	for _, sc := range findingScenarios {
		for _, code := range strings.Fields(sc.client + " " + sc.server) {
			raised[code] = true
		}
	}
	for _, k := range finding.Kinds {
		if raised[k.Code] == (unraised[k.Code] != "") {
			t.Errorf("%s: raised by a scenario %v, said not to be: %q", k.Code, raised[k.Code], unraised[k.Code])
		}
		delete(raised, k.Code)
	}
	for code := range raised {
		t.Errorf("%s is not in the table", code)
	}
}
