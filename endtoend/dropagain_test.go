package endtoend

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestRetransmissionDropped: of a SYN-ACK and its like that is sent again, the second is dropped before it leaves. That is
// the one that is told as dropped, wherever the hooks are.
func TestRetransmissionDropped(t *testing.T) {
	for _, family := range []string{"v4", "v6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			n := lab.Cable(t)
			e := newEnv(t, n, family)
			const synACKs = "tcp sport 8080 tcp flags & (syn|ack) == (syn|ack)"
			n.Client.Drop("input", synACKs, 1)
			n.Server.Exec("nft", "add table inet second; add chain inet second c { type filter hook output priority 0; }; "+
				"add rule inet second c "+synACKs+" numgen inc mod 2 == 1 drop")
			c, s := e.open()
			e.clientCloses(c, s)
			rec := e.stop()
			if rec.out.Lacks(factDrops) {
				t.Skip("needs the reasons of kfree_skb: without them nothing says that what TCP sent did not leave")
			}
			r := e.result(rec) // compares what left with the capture

			var told []string
			for _, entry := range r.server.timelines[0].Timeline {
				if entry.Step == "syn-ack" {
					told = append(told, entry.Type)
				}
			}
			if got := strings.Join(told, " "); !strings.HasPrefix(got, "segment drop segment") {
				t.Errorf("SYN-ACKs: %s; want segment drop segment", got)
			}
		})
	}
}

// TestBytesBeforeAReset: what this host drops on its way out, and sends again, is sent once; also where the other end's RST ends it.
func TestBytesBeforeAReset(t *testing.T) {
	e := whyEnv(t, "v4")
	stop := e.trace()
	c, s := e.open()
	e.net.Client.Drop("output", "tcp dport 8080 tcp flags psh", 2)
	c.write(10)
	s.read(10)
	s.linger0()
	s.close()
	c.readError(unix.ECONNRESET)
	tl := timelineOf(t, stop(), "client", clientPort)
	if !tl.Complete {
		t.Skip("needs every run of the programs")
	}
	equal(t, "sent", *tl.Traffic.TxBytes, 10)
}

// TestDroppedAcknowledgments: ACKs of data are no control segments, dropped or not, though they may be in the memory that the third
// ACK had, with its sequence number. With so many connections some are.
func TestDroppedAcknowledgments(t *testing.T) {
	for _, family := range []string{"v4", "v6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			e := whyEnv(t, family)
			stop := e.trace()
			e.listenWith(512)
			const connections, answers = 16, 8
			var clients, servers []*socket
			for i := range uint16(connections) {
				c := e.socketAt(e.net.Client, e.client, clientPort+i)
				c.must("connect", e.connect(c, e.server, serverPort))
				s := e.accept()
				s.nodelay()
				clients, servers = append(clients, c), append(servers, s)
			}
			e.net.Server.Drop("input", "tcp dport 8080 tcp flags & (syn|ack|fin|psh|rst) == ack", 0)
			for range answers {
				for i, c := range clients {
					servers[i].write(10)
					c.read(10)
				}
			}
			for i, c := range clients {
				c.linger0()
				c.close()
				servers[i].close()
			}
			for _, tl := range stop().Timelines {
				for _, entry := range tl.Timeline {
					if entry.Type == "drop" {
						t.Errorf("of port %d: a dropped %v of step %q is told", tl.Remote.Port, entry.Flags, entry.Step)
					}
				}
			}
		})
	}
}
