package endtoend

import (
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestTupleInUse: connect() from the very addresses and ports of another connection fails, and does that one no harm.
func TestTupleInUse(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			n := lab.Cable(t)
			n.Client.Sysctl("net.ipv4.tcp_timestamps", "0") // with them, TIME_WAIT would make room
			e := newEnv(t, n, family)
			fails := func() {
				t.Helper()
				c := e.socketAt(e.net.Client, e.client, e.clientAt().Port())
				equal(t, "connect()", e.connect(c, e.server, e.serverAt().Port()), error(unix.EADDRNOTAVAIL))
				c.close()
			}
			c, s := e.open()
			fails()
			c.write(10)
			s.read(10)
			e.clientCloses(c, s)
			fails() // for TIME_WAIT
			r := e.finish()

			if len(r.client.timelines) != 3 || len(r.server.timelines) != 1 {
				t.Fatalf("%d timelines of the client, %d of the server; want 3, 1", len(r.client.timelines), len(r.server.timelines))
			}
			for i := range r.client.timelines {
				tl := &r.client.timelines[i]
				equal(t, "complete", tl.Complete, true)
				if tl.ID == deref(r.server.timelines[0].PeerID) {
					equal(t, "states", states(t, tl), activeOpen+activeClose)
					equal(t, "sent", *tl.Traffic.TxBytes, 10)
					continue
				}
				equal(t, "states", states(t, tl), "CLOSE SYN_SENT CLOSE")
				equal(t, "reused TIME_WAIT", tl.Handshake.ReusedTimeWaitNS, nil)
			}
		})
	}
}

// TestConnectedAgain: a socket that connects, disconnects and connects again has a connection of its own each time, from
// another port.
func TestConnectedAgain(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			const times = 3
			e := newEnv(t, lab.Cable(t), family)
			e.listen()
			c := e.socketAt(e.net.Client, e.client, 0)
			for range times {
				c.must("connect", e.connect(c, e.server, e.serverAt().Port()))
				s := e.accept()
				c.write(10)
				s.read(10)
				c.disconnect()
				s.readError(unix.ECONNRESET)
				s.close()
			}
			e.rest()
			rec := e.stop()

			equal(t, "timelines", len(rec.out.Timelines), 2*times)
			byID := map[string]*lab.Timeline{}
			for i := range rec.out.Timelines {
				byID[rec.out.Timelines[i].ID] = &rec.out.Timelines[i]
			}
			for _, tl := range rec.out.Timelines {
				equal(t, "complete", tl.Complete, true)
				peer := byID[deref(tl.PeerID)]
				if peer == nil || peer.Local != tl.Remote || peer.Remote != tl.Local {
					t.Errorf("%s %v: its peer is %v", tl.Role, tl.Local, peer)
				}
				if tl.Role == "client" {
					equal(t, "states", states(t, &tl), activeOpen+" CLOSE")
					local, remote := tl.Local.AddrPort(), tl.Remote.AddrPort()
					end := endpoint{local, remote, []lab.Timeline{tl}, between(rec.client, local, remote)}
					e.agree("client", &end, rec.out)
				}
			}
		})
	}
}
