package endtoend

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
	"tcptrace/internal/schema"
)

// Facts that some kernels cannot tell (tracer/hooks.go).
const (
	factResetReasons  = "reasons of resets"
	factFullQueues    = "full listen queues"
	factConnectErrors = "errors of connect()"
)

// whyEnv is two hosts and a tracer, without captures.
func whyEnv(t *testing.T, family string) *env {
	t.Helper()
	lab.Need(t, "ip", "nft")
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: family, client: n.Client4, server: n.Server4}
	if family == "v6" {
		e.client, e.server = n.Client6, n.Server6
	}
	return e
}

// trace starts the tracer; what stop returns are all lines, which fit the schema.
func (e *env) trace(args ...string) (stop func() *lab.Output) {
	e.t.Helper()
	tracer := lab.StartTracer(e.t, append([]string{"-N", e.net.Client.Path(), "-N", e.net.Server.Path()}, args...)...)
	return func() *lab.Output {
		e.t.Helper()
		out := tracer.Stop()
		for _, line := range out.Lines {
			if err := schema.Validate(line); err != nil {
				e.t.Errorf("%v\n%s", err, line)
			}
		}
		return out
	}
}

// timelineOf is the one timeline of a role and the client's port; port 0 is any.
func timelineOf(t *testing.T, out *lab.Output, role string, port uint16) *lab.Timeline {
	t.Helper()
	var all []lab.Timeline
	for _, tl := range out.Timelines {
		if tl.Role == role && (port == 0 || tl.Local.Port == port || tl.Remote.Port == port) {
			all = append(all, tl)
		}
	}
	if len(all) != 1 {
		t.Fatalf("%d timelines of the %s at port %d, want 1", len(all), role, port)
	}
	return &all[0]
}

func word(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// codes are a timeline's findings.
func codes(t *testing.T, tl *lab.Timeline) string {
	var all []string
	for _, f := range tl.Findings {
		t.Logf("%s: %s: %s", tl.Role, f.Code, f.Text)
		all = append(all, f.Code)
	}
	return strings.Join(all, " ")
}

func text(tl *lab.Timeline, code string) string {
	for _, f := range tl.Findings {
		if f.Code == code {
			return f.Text
		}
	}
	return ""
}

// TestResetReasons: the kernel's word for each RST where it has one, else what socket and segments come to.
func TestResetReasons(t *testing.T) {
	for _, sc := range []struct {
		name string
		role string // who sends the RST
		// said is the kernel's word, inferred ours for kernels without.
		said, inferred string
		run            func(e *env)
	}{
		{"nobody listens", "server", "NO_SOCKET", "NO_SOCKET", func(e *env) {
			c := e.socketAt(e.net.Client, e.client, clientPort)
			if err := e.connect(c, e.server, serverPort); err != unix.ECONNREFUSED {
				e.t.Errorf("connect: %v", err)
			}
		}},
		{"closed with data unread", "client", "TCP_ABORT_ON_CLOSE", "TCP_ABORT_ON_CLOSE", func(e *env) {
			c, s := e.open()
			e.exchange(c, s)
			s.write(30)
			c.read(10)
			c.close()
			s.readError(unix.ECONNRESET)
		}},
		{"closed with SO_LINGER 0", "client", "TCP_STATE", "TCP_ABORT_ON_LINGER", func(e *env) {
			c, s := e.open()
			e.exchange(c, s)
			c.linger0()
			c.close()
			s.readError(unix.ECONNRESET)
		}},
		{"data after the close", "client", "TCP_ABORT_ON_DATA", "TCP_ABORT_ON_DATA", func(e *env) {
			c, s := e.open()
			e.exchange(c, s)
			c.close()
			s.readEOF()
			s.write(10)
			lab.Eventually(e.t, "the server has the RST", func() bool { return unix.Send(s.fd, []byte{1}, unix.MSG_NOSIGNAL) != nil })
		}},
		{"keepalives unanswered", "client", "TCP_KEEPALIVE_TIMEOUT", "TCP_KEEPALIVE_TIMEOUT", func(e *env) {
			c, s := e.open()
			e.exchange(c, s)
			e.net.Server.Drop("input", "tcp dport 8080", 0)
			for option, value := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1, unix.TCP_KEEPCNT: 1} {
				c.option(unix.IPPROTO_TCP, option, value)
			}
			c.option(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			c.readError(unix.ETIMEDOUT)
		}},
	} {
		for _, family := range []string{"v4", "v6"} {
			t.Run(strings.ReplaceAll(sc.name, " ", "-")+"/"+family, func(t *testing.T) {
				t.Parallel()
				e := whyEnv(t, family)
				stop := e.trace()
				sc.run(e)
				out := stop()
				tl := timelineOf(t, out, sc.role, clientPort)
				codes(t, tl)
				want, inferred := sc.said, out.Lacks(factResetReasons)
				if inferred {
					want = sc.inferred
				}
				reset := tl.Teardown.Reset
				if reset == nil {
					t.Fatal("no reset is told")
				}
				equal(t, "by", reset.By, "local")
				equal(t, "reason", word(reset.Reason), want)
				equal(t, "inferred", reset.Inferred, inferred)
				other := timelineOf(t, out, map[string]string{"client": "server", "server": "client"}[sc.role], clientPort)
				if r := other.Teardown.Reset; r != nil && !inferred {
					equal(t, "reason at the other end", word(r.Reason), want)
				}
			})
		}
	}
}

// TestConnectErrors: the errno that connect() returned is the one that is told, with who said so by ICMP.
func TestConnectErrors(t *testing.T) {
	reject := func(with string) func(e *env) {
		return func(e *env) {
			e.net.Server.Exec("nft", "add table inet r; add chain inet r c { type filter hook input priority 0; }; "+
				"add rule inet r c tcp dport 8080 reject with icmpx type "+with)
		}
	}
	for _, sc := range []struct {
		name   string
		before func(e *env)
		to     map[string]string // an address other than the server's, by family
		port   bool              // bound to one
		fact   string            // without which only the rest is told, or nothing
		wants  map[string]unix.Errno
		icmp   map[string]string
		code   string
	}{
		{name: "an RST", port: true, wants: map[string]unix.Errno{"v4": unix.ECONNREFUSED, "v6": unix.ECONNREFUSED}, code: "connect-refused"},
		{name: "port unreachable", port: true, before: reject("port-unreachable"),
			wants: map[string]unix.Errno{"v4": unix.ECONNREFUSED, "v6": unix.ECONNREFUSED},
			icmp:  map[string]string{"v4": "port-unreachable", "v6": "port-unreachable"}, code: "connect-refused"},
		{name: "prohibited", port: true, before: reject("admin-prohibited"),
			wants: map[string]unix.Errno{"v4": unix.EHOSTUNREACH, "v6": unix.EACCES},
			icmp:  map[string]string{"v4": "admin-prohibited", "v6": "admin-prohibited"}, code: "connect-unreachable"},
		{name: "no route at the router", port: true, before: reject("no-route"),
			wants: map[string]unix.Errno{"v4": unix.ENETUNREACH, "v6": unix.ENETUNREACH},
			icmp:  map[string]string{"v4": "net-unreachable", "v6": "no-route"}, code: "connect-unreachable"},
		{name: "no route here", port: true, to: map[string]string{"v4": "203.0.113.7", "v6": "2001:db8:ffff::7"}, fact: factConnectErrors,
			wants: map[string]unix.Errno{"v4": unix.ENETUNREACH, "v6": unix.ENETUNREACH}, code: "connect-unreachable"},
		{name: "a route that says no", port: true, to: map[string]string{"v4": "203.0.113.7", "v6": "2001:db8:ffff::7"}, before: func(e *env) {
			lab.Run(e.t, "ip", "-n", e.net.Client.Name, "route", "add", "blackhole", "203.0.113.0/24")
			lab.Run(e.t, "ip", "-n", e.net.Client.Name, "route", "add", "blackhole", "2001:db8:ffff::/48")
		}, fact: factConnectErrors, wants: map[string]unix.Errno{"v4": unix.EINVAL, "v6": unix.EINVAL}, code: "connect-failed-here"},
		{name: "no local port", before: func(e *env) {
			e.net.Client.Sysctl("net.ipv4.ip_local_port_range", "40000 40000")
			c := e.socketAt(e.net.Client, e.client, clientPort)
			c.must("listen", unix.Listen(c.fd, 1))
		}, fact: factConnectErrors, wants: map[string]unix.Errno{"v4": unix.EADDRNOTAVAIL, "v6": unix.EADDRNOTAVAIL}, code: "no-local-port"},
	} {
		for _, family := range []string{"v4", "v6"} {
			t.Run(strings.ReplaceAll(sc.name, " ", "-")+"/"+family, func(t *testing.T) {
				t.Parallel()
				e := whyEnv(t, family)
				retries(e.net.Client)
				if sc.before != nil {
					sc.before(e)
				}
				if to := sc.to[family]; to != "" {
					e.server = netip.MustParseAddr(to)
				}
				stop := e.trace()
				port := uint16(0)
				if sc.port {
					port = clientPort
				}
				c := e.socketAt(e.net.Client, e.client, port)
				err := e.connect(c, e.server, serverPort)
				equal(t, "connect()", err, error(sc.wants[family]))
				out := stop()
				lacks := sc.fact != "" && out.Lacks(sc.fact)
				if lacks && sc.to != nil {
					equal(t, "timelines", len(out.Timelines), 0)
					return
				}
				tl := timelineOf(t, out, "client", 0)
				equal(t, "findings", codes(t, tl), sc.code)
				want := unix.ErrnoName(sc.wants[family])
				if lacks {
					want = "null"
				}
				equal(t, "errno", word(tl.Handshake.Errno), want)
				equal(t, "owner", tl.Process.PID, os.Getpid())
				if name := sc.icmp[family]; name != "" {
					if tl.ICMP == nil {
						t.Fatal("no ICMP error is told")
					}
					equal(t, "ICMP", word(tl.ICMP.Name), name)
					equal(t, "from", tl.ICMP.From, e.server)
				} else if tl.ICMP != nil {
					t.Errorf("an ICMP error is told: %+v", tl.ICMP)
				}
			})
		}
	}
}

// fastOpenBytes are more than a bare ACK could be taken for.
const fastOpenBytes = 500

// fastOpen connects and sends at once; what is sent goes with the SYN where there is a cookie.
func (e *env) fastOpen(port uint16) (c, s *socket) {
	e.t.Helper()
	c = e.socketAt(e.net.Client, e.client, port)
	domain := unix.AF_INET
	if e.family == "v6" {
		domain = unix.AF_INET6
	}
	if err := unix.Sendto(c.fd, make([]byte, fastOpenBytes), unix.MSG_FASTOPEN, sockaddr(netip.AddrPortFrom(e.server, serverPort), domain)); err != nil {
		e.t.Fatalf("sendto: %v", err)
	}
	s = e.accept()
	s.read(fastOpenBytes)
	return c, s
}

// TestFastOpen: the cookie is asked for, used, and refused.
func TestFastOpen(t *testing.T) {
	for _, family := range []string{"v4", "v6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			e := whyEnv(t, family)
			for _, h := range []*lab.Host{e.net.Client, e.net.Server} {
				h.Sysctl("net.ipv4.tcp_fastopen", "3")
			}
			e.net.Server.Sysctl("net.ipv4.tcp_fastopen_key", "00000001-00000002-00000003-00000004")
			stop := e.trace()
			e.listen()
			e.listener.option(unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 5)
			want := []struct{ kind, fastOpen, codes string }{
				{"three-way", "granted", ""},
				{"fast-open", "accepted", ""},
				{"fast-open", "refused", "fast-open-refused"},
			}
			for i := range want {
				if i == 2 {
					e.net.Server.Sysctl("net.ipv4.tcp_fastopen_key", "00000005-00000006-00000007-00000008")
					key := make([]byte, 16)
					key[0] = 9
					e.listener.must("TCP_FASTOPEN_KEY", unix.SetsockoptString(e.listener.fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_KEY, string(key)))
				}
				c, s := e.fastOpen(clientPort + uint16(i))
				s.write(10)
				c.read(10)
				c.close()
				s.readEOF()
				s.close()
			}
			e.rest()
			out := stop()
			for i, w := range want {
				for _, role := range []string{"client", "server"} {
					tl := timelineOf(t, out, role, clientPort+uint16(i))
					equal(t, role+"'s kind", tl.Handshake.Kind, w.kind)
					equal(t, role+"'s Fast Open", word(tl.Handshake.FastOpen), w.fastOpen)
					equal(t, role+"'s outcome", tl.Handshake.Outcome, "established")
					// With what came with a refused SYN in it.
					third := slices.IndexFunc(tl.Timeline, func(e lab.Entry) bool { return e.Step == "ack" })
					if third < 0 || w.fastOpen == "refused" && tl.Timeline[third].Len != fastOpenBytes {
						t.Errorf("%s's third ACK is not told: %+v", role, tl.Timeline)
					}
					got := strings.Fields(codes(t, tl))
					// The kernel sends what came with a refused SYN again, and calls it a retransmission.
					got = slices.DeleteFunc(got, func(c string) bool { return w.fastOpen == "refused" && c == "data-retransmitted" })
					equal(t, role+"'s findings", strings.Join(got, " "), w.codes)
				}
			}
		})
	}
}

// TestOrphanGoesByItsTimer: FIN_WAIT2 that nobody waits in lasts as long as the namespace's setting says.
func TestOrphanGoesByItsTimer(t *testing.T) {
	e := whyEnv(t, "v4")
	e.net.Client.Sysctl("net.ipv4.tcp_fin_timeout", "2")
	stop := e.trace()
	c, s := e.open()
	e.exchange(c, s)
	c.close()
	e.state(e.net.Client, tcpFinWait2)
	lab.Eventually(t, "the kernel has forgotten it", func() bool { return len(e.net.Client.Sockets(serverPort)) == 0 })
	pass(500 * time.Millisecond) // the kernel's timer is not slower than ours
	tl := timelineOf(t, stop(), "client", clientPort)
	equal(t, "findings", codes(t, tl), "fin-wait2-orphan")
	equal(t, "state", tl.State, "CLOSE")
	last := tl.Timeline[len(tl.Timeline)-1]
	equal(t, "from", last.From, "FIN_WAIT2")
	equal(t, "to", last.To, "CLOSE")
	s.close()
}

// TestECN: asked and agreed, asked and refused.
func TestECN(t *testing.T) {
	for server, want := range map[string]struct{ ecn, codes string }{"1": {"agreed", ""}, "0": {"asked", "ecn-refused"}} {
		t.Run(want.ecn, func(t *testing.T) {
			t.Parallel()
			e := whyEnv(t, "v4")
			e.net.Client.Sysctl("net.ipv4.tcp_ecn", "1")
			e.net.Server.Sysctl("net.ipv4.tcp_ecn", server)
			stop := e.trace()
			c, s := e.open()
			e.exchange(c, s)
			e.clientCloses(c, s)
			out := stop()
			for _, role := range []string{"client", "server"} {
				tl := timelineOf(t, out, role, clientPort)
				equal(t, role+"'s ECN", word(tl.Handshake.ECN), want.ecn)
				equal(t, role+"'s findings", codes(t, tl), want.codes)
			}
		})
	}
}

// TestMultipathFallsBack: offered by the client alone.
func TestMultipathFallsBack(t *testing.T) {
	e := whyEnv(t, "v4")
	c := e.multipath()
	stop := e.trace()
	e.listen()
	c.must("connect", e.connect(c, e.server, serverPort))
	s := e.accept()
	e.exchange(c, s)
	e.clientCloses(c, s)
	out := stop()
	for _, role := range []string{"client", "server"} {
		equal(t, role+"'s findings", codes(t, timelineOf(t, out, role, 0)), "mptcp-fallback")
	}
}

// TestMultipathConnectError: what connects is the subflow, a socket of its own.
func TestMultipathConnectError(t *testing.T) {
	e := whyEnv(t, "v4")
	c := e.multipath()
	e.net.Client.Sysctl("net.ipv4.ip_local_port_range", "40000 40000")
	taken := e.socketAt(e.net.Client, e.client, clientPort)
	taken.must("listen", unix.Listen(taken.fd, 1))
	stop := e.trace()
	equal(t, "connect()", e.connect(c, e.server, serverPort), error(unix.EADDRNOTAVAIL))
	out := stop()
	tl := timelineOf(t, out, "client", 0)
	if out.Lacks(factConnectErrors) {
		return
	}
	equal(t, "errno", word(tl.Handshake.Errno), "EADDRNOTAVAIL")
	equal(t, "findings", codes(t, tl), "no-local-port")
}

// multipath is a client's socket of Multipath TCP.
func (e *env) multipath() *socket {
	e.t.Helper()
	fd := -1
	e.net.Client.Do(func() {
		fd, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	})
	if fd < 0 {
		e.t.Skip("needs a kernel with Multipath TCP (CONFIG_MPTCP)")
	}
	c := &socket{t: e.t, fd: fd}
	e.t.Cleanup(c.close)
	return c
}

// TestRetransmissionKinds: what had a segment sent again, and that it was in vain.
func TestRetransmissionKinds(t *testing.T) {
	const data = "tcp dport 8080 tcp flags & psh == psh"
	for _, sc := range []struct {
		name string
		run  func(e *env, c, s *socket)
		is   func(tl *lab.Timeline) bool
	}{
		{"timeout", func(e *env, c, s *socket) {
			e.net.Server.Drop("input", data, 2) // the probe too
			c.write(10)
			s.read(10)
		}, func(tl *lab.Timeline) bool { return tl.Traffic.RetransmitsBy.Timeout >= 1 }},
		{"probe", func(e *env, c, s *socket) {
			e.net.Server.Drop("input", data, 1)
			c.write(10)
			s.read(10)
		}, func(tl *lab.Timeline) bool { return tl.Traffic.RetransmitsBy.Probe == 1 }},
		{"fast", func(e *env, c, s *socket) {
			c.nodelay()
			e.net.Server.Drop("input", data, 1)
			for range 12 {
				c.write(10)
			}
			s.read(120)
		}, func(tl *lab.Timeline) bool { return tl.Traffic.RetransmitsBy.Fast == 1 }},
		{"in vain", func(e *env, c, s *socket) {
			e.net.Client.Drop("input", "tcp sport 8080 tcp flags & (syn|ack|fin|psh|rst) == ack", 1)
			c.write(10)
			s.read(10)
			lab.Eventually(e.t, "it was sent again", func() bool {
				info, err := unix.GetsockoptTCPInfo(c.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
				return err == nil && info.Total_retrans > 0 && info.Unacked == 0
			})
		}, func(tl *lab.Timeline) bool { return tl.Traffic.Duplicates != nil && *tl.Traffic.Duplicates == 1 }},
	} {
		t.Run(strings.ReplaceAll(sc.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			e := whyEnv(t, "v4")
			stop := e.trace()
			c, s := e.open()
			e.exchange(c, s)
			sc.run(e, c, s)
			e.clientCloses(c, s)
			tl := timelineOf(t, stop(), "client", clientPort)
			codes(t, tl)
			by := tl.Traffic.RetransmitsBy
			if by == nil {
				t.Fatal("the kinds are not told")
			}
			if !sc.is(tl) {
				t.Errorf("%+v, in vain %v", by, tl.Traffic.Duplicates)
			}
			equal(t, "the sum", int64(by.Timeout+by.Fast+by.Probe), *tl.Traffic.Retransmits)
		})
	}
}
