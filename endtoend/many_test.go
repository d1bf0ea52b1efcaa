package endtoend

import (
	"sync"
	"testing"

	"tcptrace/internal/lab"
)

// TestParallel: 200 connections at once, each with both ends, each complete.
func TestParallel(t *testing.T) {
	const n = 200
	net := lab.Cable(t)
	e := &env{t: t, net: net, family: "v4", client: net.Client4, server: net.Server4}
	capture := net.Client.StartCapture(net.ClientDev)
	e.tracer = lab.StartTracer(t, "-N", net.Client.Path(), "-N", net.Server.Path())
	e.listen()
	clients := make([]*socket, n)
	for i := range clients {
		clients[i] = e.socketAt(net.Client, e.client, 0)
	}
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			if err := e.connect(c, e.server, serverPort); err != nil {
				t.Errorf("connect: %v", err)
				return
			}
			c.write(100)
			c.read(100)
			c.close()
		})
	}
	all.Go(func() {
		for range n {
			s := e.accept()
			all.Go(func() {
				s.read(100)
				s.write(100)
				s.readEOF()
				s.close()
			})
		}
	})
	all.Wait()
	e.rest()
	segments := capture.Stop()
	out := e.tracer.Stop()

	skipMissed(t, out, false)
	equal(t, "timelines", len(out.Timelines), 2*n)
	ids := map[string]*lab.Timeline{}
	for i := range out.Timelines {
		ids[out.Timelines[i].ID] = &out.Timelines[i]
	}
	equal(t, "ids", len(ids), 2*n)
	for _, tl := range out.Timelines {
		peer := ids[deref(tl.PeerID)]
		if peer == nil || deref(peer.PeerID) != tl.ID || peer.Local != tl.Remote {
			t.Errorf("%s %v: its peer is %v", tl.Role, tl.Remote, peer)
		}
		way := passiveOpen + passiveClose
		if tl.Role == "client" {
			way = activeOpen + activeClose
			local, remote := tl.Local.AddrPort(), tl.Remote.AddrPort()
			end := endpoint{local, remote, []lab.Timeline{tl}, between(segments, local, remote)}
			e.agree("client", &end, out)
			way += resetLater(&end)
		}
		equal(t, "states", states(t, &tl), way)
		if !tl.Complete {
			t.Fatalf("%s %v is not complete; the tracer said:\n%s", tl.Role, tl.Remote, out.Stderr)
		}
		equal(t, "sent", *tl.Traffic.TxBytes, 100)
		equal(t, "received", *tl.Traffic.RxBytes, 100)
	}
}

// TestForwarded: hosts that only pass segments on are no endpoints, and an endpoint counts
// each segment once, however many devices it crossed.
func TestForwarded(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(testing.TB) (*lab.Network, *lab.Host)
	}{{"routed", lab.Routed}, {"bridged", lab.Bridged}} {
		for _, family := range []string{"v4", "v6"} {
			t.Run(c.name+"/"+family, func(t *testing.T) {
				t.Parallel()
				n, middle := c.make(t)
				e := newEnv(t, n, family, "-N", n.Client.Path(), "-N", n.Server.Path(), "-N", middle.Path())
				cl, s := e.open()
				cl.write(5000)
				s.read(5000)
				cl.shutdown()
				e.state(e.net.Client, tcpFinWait2)
				s.readEOF()
				s.close()
				e.rest()
				w := want{client: activeOpen + activeClose, server: passiveOpen + passiveClose,
					teardown: "four-way", initiator: "client"}
				w.check(t, e, e.finish())
			})
		}
	}
}
