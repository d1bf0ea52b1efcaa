package endtoend

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// Ways through the states (RFC 9293, figure 5), by the kernel's names.
const (
	activeOpen   = "CLOSE SYN_SENT ESTABLISHED"
	passiveOpen  = "LISTEN SYN_RECV ESTABLISHED"
	activeClose  = " FIN_WAIT1 FIN_WAIT2 TIME_WAIT"
	passiveClose = " CLOSE_WAIT LAST_ACK CLOSE"
	bothClose    = " FIN_WAIT1 CLOSING TIME_WAIT"
)

// want is what a scenario's timelines must say, apart from their segments.
type want struct {
	client, server         string // states; "-" where there is no timeline
	outcome                string // both ends', "established" if ""
	clientErrno            string
	kind                   string // handshake's, "three-way" if ""
	teardown               string // "" where it depends on how ACK and FIN fell: then by the capture
	initiator              string // client, server, both or "" for none
	finRetransmits         int    // at the end that sent or got them both
	synRetransmits         int    // of the client
	clientDrop, serverDrop string // reason of a drop that its timeline tells
}

// scenarios are what can happen to a connection; the name says what does.
var scenarios = []struct {
	name      string
	run       func(e *env)
	want      want
	cableOnly bool // loopback has no neighbours
}{
	{
		name: "get-client-closes-first",
		run: func(e *env) {
			c, s := e.open()
			c.write(100)
			s.read(100)
			s.write(20000)
			c.read(20000)
			c.close()
			s.readEOF()
			s.close()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose, initiator: "client"},
	},
	{
		name: "get-server-closes-first",
		run: func(e *env) {
			c, s := e.open()
			c.write(100)
			s.read(100)
			s.write(300)
			s.close()
			c.read(300)
			c.readEOF()
			c.close()
		},
		want: want{client: activeOpen + passiveClose, server: passiveOpen + activeClose, initiator: "server"},
	},
	{
		name: "close-in-four-segments",
		run: func(e *env) {
			c, s := e.open()
			c.shutdown()
			e.state(e.net.Client, tcpFinWait2)
			s.readEOF()
			s.close()
			c.readEOF()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose,
			teardown: "four-way", initiator: "client"},
	},
	{
		name: "close-in-three-segments",
		run: func(e *env) {
			c, s := e.open()
			c.nodelay()
			// After data the server's ACK is delayed, and leaves with its FIN.
			c.write(10)
			s.read(10)
			s.write(10)
			c.read(10)
			c.close()
			s.readEOF()
			s.close()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose, initiator: "client"},
	},
	{
		name: "half-close",
		run: func(e *env) {
			c, s := e.open()
			c.shutdown()
			e.state(e.net.Client, tcpFinWait2)
			s.readEOF()
			s.write(3000)
			c.read(3000)
			s.close()
			c.readEOF()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose,
			teardown: "four-way", initiator: "client"},
	},
	{
		name: "refused",
		run: func(e *env) {
			c := e.socketAt(e.net.Client, e.client, e.clientAt().Port())
			if err := e.connect(c, e.server, e.serverAt().Port()); err != unix.ECONNREFUSED {
				e.t.Errorf("connect: %v", err)
			}
		},
		want: want{client: "CLOSE SYN_SENT CLOSE", outcome: "refused", clientErrno: "ECONNREFUSED", teardown: "none"},
	},
	{
		name: "synack-dropped-once",
		run: func(e *env) {
			e.net.Server.Drop("output", "tcp flags & (syn|ack) == (syn|ack)", 1)
			c, s := e.open()
			c.close()
			s.readEOF()
			s.close()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose, initiator: "client",
			synRetransmits: -1, serverDrop: "NETFILTER_DROP"},
	},
	{
		name: "third-ack-lost",
		run: func(e *env) {
			e.net.Server.Drop("input", e.toServer("tcp flags & (syn|ack|fin|psh|rst) == ack"), 1)
			c, s := e.open()
			c.close()
			s.readEOF()
			s.close()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose, initiator: "client",
			serverDrop: "NETFILTER_DROP"},
	},
	{
		name: "fin-lost",
		run: func(e *env) {
			c, s := e.open()
			e.net.Server.Drop("input", e.toServer("tcp flags & fin == fin"), 1)
			c.close()
			s.readEOF()
			s.close()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose, initiator: "client",
			finRetransmits: 1, serverDrop: "NETFILTER_DROP"},
	},
	{
		name: "last-ack-lost",
		run: func(e *env) {
			c, s := e.open()
			c.shutdown()
			e.state(e.net.Client, tcpFinWait2)
			s.readEOF()
			e.net.Server.Drop("input", e.toServer("tcp flags & (syn|ack|fin|psh|rst) == ack"), 1)
			s.close()
			c.readEOF()
		},
		want: want{client: activeOpen + activeClose, server: passiveOpen + passiveClose,
			teardown: "four-way", initiator: "client", finRetransmits: 1, serverDrop: "NETFILTER_DROP"},
	},
	{
		name: "simultaneous-close",
		run: func(e *env) {
			// Both FINs wait for the other's link-layer address. The client's leaves first; the
			// server's ACK waits behind its own FIN: each gets the other's FIN before any ACK of its own.
			c, s := e.open()
			n := e.net
			n.Client.HoldNeighbors()
			n.Server.HoldNeighbors()
			n.Client.ForgetNeighbor(e.server, n.ClientDev)
			n.Server.ForgetNeighbor(e.client, n.ServerDev)
			c.shutdown()
			s.shutdown()
			n.Client.Neighbor(e.server, n.ClientDev, n.Server, n.ServerDev)
			n.Server.Neighbor(e.client, n.ServerDev, n.Client, n.ClientDev)
			c.readEOF()
			s.readEOF()
		},
		want: want{client: activeOpen + bothClose, server: passiveOpen + bothClose,
			teardown: "simultaneous", initiator: "both", finRetransmits: -1},
		cableOnly: true,
	},
	{
		name: "linger-0",
		run: func(e *env) {
			c, s := e.open()
			c.linger0()
			c.close()
			s.readError(unix.ECONNRESET)
		},
		want: want{client: activeOpen + " CLOSE", server: passiveOpen + " CLOSE",
			teardown: "reset", initiator: "client"},
	},
	{
		name: "close-with-unread-data",
		run: func(e *env) {
			c, s := e.open()
			s.write(10)
			lab.Eventually(e.t, "the data has arrived", func() bool {
				n, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ)
				return err == nil && n == 10
			})
			c.close()
			s.readError(unix.ECONNRESET)
		},
		want: want{client: activeOpen + " CLOSE", server: passiveOpen + " CLOSE",
			teardown: "reset", initiator: "client"},
	},
	{
		name: "syn-dropped-until-timeout",
		run: func(e *env) {
			e.net.Client.Sysctl("net.ipv4.tcp_syn_retries", "1")
			e.net.Client.Sysctl("net.ipv4.tcp_syn_linear_timeouts", "0")
			e.net.Server.Drop("input", e.toServer(""), 0)
			c := e.socketAt(e.net.Client, e.client, e.clientAt().Port())
			if err := e.connect(c, e.server, e.serverAt().Port()); err != unix.ETIMEDOUT {
				e.t.Errorf("connect: %v", err)
			}
		},
		want: want{client: "CLOSE SYN_SENT CLOSE", outcome: "timed-out", clientErrno: "ETIMEDOUT", teardown: "none",
			synRetransmits: 1, serverDrop: "NETFILTER_DROP"},
	},
}

// toServer is nftables' expression for segments of the connection to the server.
func (e *env) toServer(more string) string {
	return fmt.Sprintf("tcp dport %d %s", e.serverAt().Port(), more)
}

// TestScenario: every scenario in every family, on a cable and on loopback. Those of one network
// run one after the other, under one tracer; then each is judged.
func TestScenario(t *testing.T) {
	lab.Need(t, "ip", "nft", "tcpdump", "sharkd")
	for _, family := range families {
		t.Run("cable-"+family, func(t *testing.T) {
			t.Parallel()
			runScenarios(t, lab.Cable(t), family)
		})
		t.Run("loopback-"+family, func(t *testing.T) {
			t.Parallel()
			runScenarios(t, lab.Loopback(t), family)
		})
	}
}

func runScenarios(t *testing.T, n *lab.Network, family string) {
	e := newEnv(t, n, family)
	ran := map[int]bool{}
	for i, sc := range scenarios {
		if sc.cableOnly && n.Client == n.Server {
			continue
		}
		ran[i] = t.Run(sc.name, func(t *testing.T) {
			one := e.at(t, i)
			sc.run(one)
			one.rest()
		})
	}
	rec := e.stop()
	timelines := 0
	for i, sc := range scenarios {
		if !ran[i] {
			continue
		}
		t.Run(sc.name+"/told", func(t *testing.T) {
			one := e.at(t, i)
			timelines += len(rec.of(one.clientAt(), one.serverAt())) + len(rec.of(one.serverAt(), one.clientAt()))
			if (sc.want.serverDrop != "" || sc.want.clientDrop != "") && rec.out.Lacks(factDrops) {
				if lab.ByFunctions() {
					t.Skip("needs the reasons of kfree_skb: TCP's functions do not see what netfilter drops before them")
				}
				if sc.want.outcome == "timed-out" {
					t.Skip("needs the reasons of kfree_skb: without them a server that dropped all is not told")
				}
				sc.want.serverDrop, sc.want.clientDrop = "", ""
			}
			sc.want.check(t, one, one.result(rec))
		})
	}
	equal(t, "timelines of these connections", timelines, len(rec.out.Timelines))
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (w *want) check(t *testing.T, e *env, r *result) {
	t.Helper()
	if len(r.client.timelines) != 1 || len(r.server.timelines) != 1 {
		t.Fatalf("%d timelines of the client, %d of the server; want 1, 1", len(r.client.timelines), len(r.server.timelines))
	}
	client, server := &r.client.timelines[0], &r.server.timelines[0]
	equal(t, "client's states", states(t, client), w.client+resetLater(&r.client))
	equal(t, "server's states", states(t, server), w.server+resetLater(&r.server))
	equal(t, "client's role", client.Role, "client")
	equal(t, "server's role", server.Role, "server")
	for _, tl := range []*lab.Timeline{client, server} {
		family := "ipv4"
		if e.family == "v6" {
			family = "ipv6"
		}
		equal(t, "family", tl.Family, family)
		if !tl.Complete || tl.LostEvents != 0 {
			t.Errorf("%s: complete %v, lost events %d; the tracer said:\n%s", tl.Role, tl.Complete, tl.LostEvents, r.out.Stderr)
		}
		equal(t, "kind", tl.Handshake.Kind, or(w.kind, "three-way"))
		inOrder(t, tl)
	}
	equal(t, "client's outcome", client.Handshake.Outcome, or(w.outcome, "established"))
	if w.outcome != "timed-out" { // the server's end of it never ends
		equal(t, "server's outcome", server.Handshake.Outcome, or(w.outcome, "established"))
	}
	equal(t, "errno", deref(client.Handshake.Errno), w.clientErrno)
	equal(t, "client's peer", deref(client.PeerID), server.ID)
	equal(t, "server's peer", deref(server.PeerID), client.ID)
	equal(t, "community", client.Community, server.Community)
	w.checkProcess(t, client)
	if w.server != "" {
		w.checkProcess(t, server)
	}
	w.checkTeardown(t, r, client, server)
	if w.synRetransmits >= 0 {
		equal(t, "SYN retransmits", client.Handshake.SYNRetransmits, w.synRetransmits)
	}
	equal(t, "client's drops", drops(client), w.clientDrop)
	equal(t, "server's drops", drops(server), w.serverDrop)
}

func (w *want) checkProcess(t *testing.T, tl *lab.Timeline) {
	t.Helper()
	if tl.Process == nil {
		t.Error("no process is known")
		return
	}
	if tl.Process.PID != os.Getpid() {
		t.Errorf("%s's process is %+v, want pid %d", tl.Role, *tl.Process, os.Getpid())
	}
	comm, _ := os.ReadFile("/proc/self/comm")
	equal(t, "comm", tl.Process.Comm, strings.TrimSpace(string(comm)))
	equal(t, "uid", tl.Process.UID, os.Getuid())
}

func (w *want) checkTeardown(t *testing.T, r *result, client, server *lab.Timeline) {
	t.Helper()
	kinds := [2]string{w.teardown, w.teardown}
	if w.teardown == "" {
		kinds = [2]string{teardownOf(r.client.capture), teardownOf(r.server.capture)}
	}
	initiators := map[string][2]string{
		"":       {"", ""},
		"client": {"local", "remote"},
		"server": {"remote", "local"},
		"both":   {"both", "both"},
	}[w.initiator]
	for i, tl := range []*lab.Timeline{client, server} {
		equal(t, "teardown", tl.Teardown.Kind, kinds[i])
		equal(t, "initiator", deref(tl.Teardown.Initiator), initiators[i])
		if w.finRetransmits >= 0 {
			equal(t, "FIN retransmits", tl.Teardown.FINRetransmits, w.finRetransmits)
		}
		if tl.State == "TIME_WAIT" && (tl.End != nil || tl.Teardown.TimeWaitNS != nil) {
			t.Errorf("in TIME_WAIT, but end %v, time_wait_ns %v", tl.End, tl.Teardown.TimeWaitNS)
		}
	}
	if w.teardown == "reset" {
		equal(t, "reset by", client.Teardown.Reset != nil && client.Teardown.Reset.By == initiators[0], true)
	}
}

// resetLater is the change that a late segment brings: a peer that has closed answers it with a
// RST, and that ends TIME_WAIT (RFC 1337).
func resetLater(end *endpoint) string {
	closed := 0 // bits: a FIN sent, a FIN received
	for _, s := range end.capture {
		switch sent := s.Src == end.local; {
		case s.Flags&fin != 0 && sent:
			closed |= 1
		case s.Flags&fin != 0:
			closed |= 2
		case s.Flags&rst != 0 && !sent && closed == 3:
			// Not every RST does: it must be in the window.
			for _, entry := range end.timelines[0].Timeline {
				if entry.From == "TIME_WAIT" && entry.To == "CLOSE" {
					return " CLOSE"
				}
			}
		}
	}
	return ""
}

// teardownOf tells from a capture whether the second FIN was the first to acknowledge the first.
func teardownOf(capture []lab.Segment) string {
	var first *lab.Segment
	for i, s := range capture {
		switch {
		case s.Flags&rst != 0:
			return "reset"
		case first == nil && s.Flags&fin != 0:
			first = &capture[i]
		case first != nil && s.Src == first.Dst && int32(s.Ack-(first.Seq+first.Len+1)) >= 0:
			if s.Flags&fin != 0 {
				return "three-segment"
			}
			return "four-way"
		}
	}
	return "none"
}

// drops are the reasons of all drops told, each once.
func drops(tl *lab.Timeline) string {
	var all []string
	for _, e := range tl.Timeline {
		if e.Type == "drop" && !strings.Contains(strings.Join(all, " "), e.Reason) {
			all = append(all, e.Reason)
		}
	}
	return strings.Join(all, " ")
}

func inOrder(t *testing.T, tl *lab.Timeline) {
	t.Helper()
	last := int64(0)
	for i, e := range tl.Timeline {
		if e.TNS < last {
			t.Errorf("entry %d is at %d ns, after one at %d", i, e.TNS, last)
		}
		last = e.TNS
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
