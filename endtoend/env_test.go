package endtoend

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
	"tcptrace/internal/schema"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childVariable); child != "" {
		runChild(child)
		return
	}
	if mode := os.Getenv(modeVariable); mode != "" {
		if err := runMode(mode); err != nil {
			os.Stdout.WriteString("error " + err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	lab.CleanUp()
	os.Exit(code)
}

// The kernel's numbers of states that tests wait for (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpFinWait2    = 5
	tcpTimeWait    = 6
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpListen      = 10
	tcpClosing     = 11
)

// Facts that some kernels cannot tell (tracer/hooks.go).
const (
	factDrops    = "dropped segments"
	factSnapshot = "earlier sockets"
)

const serverPort, clientPort = 8080, 40000

// env is a network with a tracer and captures running, and a listener on the server.
type env struct {
	t        testing.TB
	net      *lab.Network
	family   string
	listener *socket
	// server is the listener's address.
	server, client netip.Addr

	tracer                       *lab.Tracer
	clientCapture, serverCapture *lab.Capture

	// heldBack: segments waited for their neighbour, so that they left in another order than TCP, whose
	// functions the tracer may hook, sent them in.
	heldBack bool

	// shift is added to both ports: several connections, told apart by them, share a network.
	shift uint16
}

// serverAt and clientAt are both ends of the connection.
func (e *env) serverAt() netip.AddrPort { return netip.AddrPortFrom(e.server, serverPort+e.shift) }
func (e *env) clientAt() netip.AddrPort { return netip.AddrPortFrom(e.client, clientPort+e.shift) }

// at is the same network, tracer and captures for another test and its ports.
func (e *env) at(t testing.TB, shift int) *env {
	other := *e
	other.t, other.shift = t, uint16(shift)
	return &other
}

// families of sockets; a mapped one is AF_INET6 with IPv4 on the wire.
var families = []string{"v4", "v6", "mapped"}

func newEnv(t *testing.T, n *lab.Network, family string, tracerArgs ...string) *env {
	t.Helper()
	return newEnvBy(t, n, family, nil, tracerArgs...)
}

// newEnvBy has a command start the tracer.
func newEnvBy(t *testing.T, n *lab.Network, family string, by []string, tracerArgs ...string) *env {
	t.Helper()
	e := &env{t: t, net: n, family: family, client: n.Client4, server: n.Server4}
	if family == "v6" {
		e.client, e.server = n.Client6, n.Server6
	}
	if tracerArgs == nil {
		tracerArgs = []string{"-N", n.Client.Path(), "-N", n.Server.Path()}
	}
	e.clientCapture = n.Client.StartCapture(n.ClientDev)
	if n.Server != n.Client {
		e.serverCapture = n.Server.StartCapture(n.ServerDev)
	}
	e.tracer = lab.StartTracerBy(t, by, tracerArgs...)
	return e
}

func (e *env) listen() {
	e.t.Helper()
	s, domain := newSocket(e.t, e.net.Server, e.family)
	e.listener = s
	if domain == unix.AF_INET6 {
		s.option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	s.must("bind", unix.Bind(s.fd, sockaddr(netip.AddrPortFrom(anyOf(domain), e.serverAt().Port()), domain)))
	s.must("listen", unix.Listen(s.fd, 512))
}

func anyOf(domain int) netip.Addr {
	if domain == unix.AF_INET {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// socketAt is a socket bound to an address, port 0 to none.
func (e *env) socketAt(h *lab.Host, addr netip.Addr, port uint16) *socket {
	e.t.Helper()
	s, domain := newSocket(e.t, h, e.family)
	if port != 0 {
		s.must("bind", unix.Bind(s.fd, sockaddr(netip.AddrPortFrom(addr, port), domain)))
	}
	return s
}

func (e *env) connect(s *socket, to netip.Addr, port uint16) error {
	domain := unix.AF_INET6
	if e.family == "v4" {
		domain = unix.AF_INET
	}
	return unix.Connect(s.fd, sockaddr(netip.AddrPortFrom(to, port), domain))
}

// dial connects a client from clientPort.
func (e *env) dial() *socket {
	e.t.Helper()
	s := e.socketAt(e.net.Client, e.client, e.clientAt().Port())
	if err := e.connect(s, e.server, e.serverAt().Port()); err != nil {
		e.t.Fatalf("connect: %v", err)
	}
	return s
}

func (e *env) accept() *socket {
	e.t.Helper()
	fd, err := again(func() (int, error) {
		fd, _, err := unix.Accept4(e.listener.fd, unix.SOCK_CLOEXEC)
		return fd, err
	})
	if err != nil {
		e.t.Fatalf("accept: %v", err)
	}
	s := &socket{t: e.t, fd: fd}
	e.t.Cleanup(s.close)
	return s
}

// open is a connection: listen, dial, accept.
func (e *env) open() (client, server *socket) {
	e.t.Helper()
	e.listen()
	client = e.dial()
	return client, e.accept()
}

// state waits until the kernel says that a socket of the host is in a state.
func (e *env) state(h *lab.Host, state int) {
	e.t.Helper()
	lab.Eventually(e.t, fmt.Sprintf("%s has a socket in state %d", h.Name, state), func() bool {
		return slices.ContainsFunc(h.Sockets(e.serverAt().Port()), func(s lab.Socket) bool { return s.State == state })
	})
}

// rest waits until no connection is left but in TIME_WAIT.
func (e *env) rest() {
	e.t.Helper()
	lab.Eventually(e.t, "all connections are closed", func() bool {
		for _, h := range []*lab.Host{e.net.Client, e.net.Server} {
			for _, s := range h.Sockets(e.serverAt().Port()) {
				if s.State != tcpTimeWait && s.State != tcpListen {
					return false
				}
			}
		}
		return true
	})
}

// clientCloses ends a connection, the client first.
func (e *env) clientCloses(client, server *socket) {
	e.t.Helper()
	client.close()
	server.readEOF()
	server.close()
	e.rest()
}

// endpoint is one end of what was traced, next to what was captured at it.
type endpoint struct {
	local, remote netip.AddrPort
	timelines     []lab.Timeline
	capture       []lab.Segment
}

// record is all that the tracer and the captures of a network said.
type record struct {
	out            *lab.Output
	client, server []lab.Segment
}

// stop ends the tracer and the captures. Each line must fit the schema.
func (e *env) stop() *record {
	e.t.Helper()
	r := &record{client: e.clientCapture.Stop()}
	r.server = r.client
	if e.serverCapture != nil {
		r.server = e.serverCapture.Stop()
	}
	r.out = e.tracer.Stop()
	for _, line := range r.out.Lines {
		if err := schema.Validate(line); err != nil {
			e.t.Errorf("%v\n%s", err, line)
		}
	}
	return r
}

// of are the timelines of an endpoint, in order of their start.
func (r *record) of(local, remote netip.AddrPort) (all []lab.Timeline) {
	for _, tl := range r.out.Timelines {
		if tl.Local.AddrPort() == local && tl.Remote.AddrPort() == remote {
			all = append(all, tl)
		}
	}
	slices.SortStableFunc(all, func(a, b lab.Timeline) int { return strings.Compare(a.Start, b.Start) })
	return all
}

// result is what a record holds of one connection.
type result struct {
	out            *lab.Output
	client, server endpoint
}

// result picks a connection out of a record and checks what holds for every scenario: each
// timeline's control segments equal those captured, one by one.
func (e *env) result(rec *record) *result {
	e.t.Helper()
	client, server := e.clientAt(), e.serverAt()
	r := &result{out: rec.out}
	r.client = endpoint{client, server, rec.of(client, server), between(rec.client, client, server)}
	r.server = endpoint{server, client, rec.of(server, client), between(rec.server, client, server)}
	for _, tl := range slices.Concat(r.client.timelines, r.server.timelines) {
		skipMissed(e.t, rec.out, tl.Complete || tl.Handshake.Outcome == "unobserved")
	}
	e.agree("client", &r.client, r.out)
	e.agree("server", &r.server, r.out)
	return r
}

// finish stops all, where there was one connection.
func (e *env) finish() *result {
	e.t.Helper()
	return e.result(e.stop())
}

// between are the segments of a capture that went between two addresses.
func between(capture []lab.Segment, a, b netip.AddrPort) (all []lab.Segment) {
	for _, s := range capture {
		if s.Src == a && s.Dst == b || s.Src == b && s.Dst == a {
			all = append(all, s)
		}
	}
	return all
}

// skipMissed skips where the kernel left out runs of the programs, and the tracer said so. An emulated
// machine is slow enough for interrupts to come at such a time.
func skipMissed(t testing.TB, out *lab.Output, complete bool) {
	t.Helper()
	if n := out.Missed(); n != "" && !complete {
		t.Skipf("needs every run of the programs: %s were left out, because an interrupt found them running", n)
	}
}

// agree compares an endpoint's timelines with its capture, direction by direction.
func (e *env) agree(name string, end *endpoint, out *lab.Output) {
	e.t.Helper()
	e.agreeOnTheWhole(name, end)
	var got, want [2][]string
	for _, tl := range end.timelines {
		entries := tl.Timeline
		for _, a := range out.Addenda {
			if a.ID == tl.ID {
				entries = append(entries, a.Timeline...)
			}
		}
		for _, entry := range entries {
			switch {
			case entry.Type == "segment", entry.Type == "drop" && entry.Dir == "rx":
				// A segment that an input hook drops has passed the capture before.
			default:
				continue
			}
			i := 0
			if entry.Dir == "rx" {
				i = 1
			}
			got[i] = append(got[i], formatEntry(entry))
		}
	}
	tx, rx := controlSegments(end.capture, end.local, end.remote)
	for i, segments := range [][]lab.Segment{tx, rx} {
		for _, s := range segments {
			want[i] = append(want[i], formatCaptured(s))
		}
	}
	again := repeatedAnswers(end.capture, end.local, end.remote)
	for i, dir := range []string{"sent", "received"} {
		got[i] = slices.DeleteFunc(got[i], func(s string) bool { return again[s] && !slices.Contains(want[i], s) })
		if e.heldBack && dir == "sent" {
			slices.Sort(got[i])
			slices.Sort(want[i])
		}
		if !slices.Equal(got[i], want[i]) {
			e.t.Errorf("%s, control segments %s:\n  tcptrace:\n    %s\n  tcpdump and sharkd:\n    %s", name, dir,
				strings.Join(got[i], "\n    "), strings.Join(want[i], "\n    "))
		}
	}
}

// agreeOnTheWhole compares what tshark says of the conversation.
func (e *env) agreeOnTheWhole(name string, end *endpoint) {
	e.t.Helper()
	var of []lab.Segment
	for _, s := range end.capture {
		if s.Src == end.local && s.Dst == end.remote || s.Src == end.remote && s.Dst == end.local {
			of = append(of, s)
		}
	}
	for _, tl := range end.timelines {
		if plain(&tl) && len(tl.Findings) > 0 {
			e.t.Errorf("%s: a plain connection, but %+v", name, tl.Findings)
		}
		if len(of) == 0 {
			equal(e.t, name+"'s completeness is known", tl.Completeness != nil, false)
			continue
		}
		equal(e.t, name+"'s community ID", tl.Community, of[0].CommunityID)
		// tshark may take several connections on the same ports for one conversation.
		if tl.Complete && len(end.timelines) == 1 {
			if tl.Completeness == nil || tl.ConnState == nil || tl.History == nil {
				e.t.Errorf("%s: completeness, conn_state or history is not known", name)
				continue
			}
			want := of[0].Completeness
			if tl.Traffic.TxBytes == nil {
				// Of one that is still open, on a kernel that tells no counters then: data are not known of.
				want &^= completenessData
			}
			equal(e.t, name+"'s completeness", *tl.Completeness, want)
		}
	}
}

// completenessData is the bit of tcp.completeness for a segment with data.
const completenessData = 8

// plain tells a connection that was opened, carried data and was closed in order, all at once.
func plain(tl *lab.Timeline) bool {
	for _, entry := range tl.Timeline {
		if entry.Type == "drop" || entry.Type == "gap" || entry.Step == "rst" || entry.Retransmit {
			return false
		}
	}
	// What another host had to send again may be seen here only as the time that it took.
	if took := tl.Handshake.DurationNS; took != nil && *took >= 1e9 {
		return false
	}
	c := &tl.Traffic
	return tl.Complete && tl.Handshake.ReusedTimeWaitNS == nil && c.TxBytes != nil && *c.TxBytes+*c.RxBytes > 0 && *c.Retransmits == 0 &&
		(tl.State == "TIME_WAIT" || tl.State == "CLOSE")
}

// states is the way through the states that a timeline tells, "CLOSE SYN_SENT …". It fails the
// test where one change does not begin where the last ended.
func states(t testing.TB, tl *lab.Timeline) string {
	t.Helper()
	var way []string
	for _, e := range tl.Timeline {
		if e.Type != "state" {
			continue
		}
		if len(way) == 0 {
			way = append(way, e.From)
		} else if way[len(way)-1] != e.From {
			t.Errorf("from %s to %s, but it was in %s", e.From, e.To, way[len(way)-1])
		}
		way = append(way, e.To)
	}
	if n := len(way); n > 0 && way[n-1] != tl.State {
		t.Errorf("state is %s, but its last change was to %s", tl.State, way[n-1])
	}
	return strings.Join(way, " ")
}
