package endtoend

import (
	"sync"
	"testing"

	"tcptrace/internal/lab"
)

// TestNetem: connections over a network that loses, delays and reorders segments, both ways. It does so
// between the hosts: at either, what was captured is what TCP sent and got.
func TestNetem(t *testing.T) {
	const connections = 6
	for _, c := range []struct {
		name  string
		netem []string
	}{
		{"loss", []string{"loss", "10%"}},
		{"delay", []string{"delay", "30ms"}},
		{"reordering", []string{"delay", "20ms", "reorder", "50%", "25%"}},
	} {
		for _, family := range []string{"v4", "v6"} {
			t.Run(c.name+"/"+family, func(t *testing.T) {
				t.Parallel()
				n, router := lab.Routed(t)
				e := newEnv(t, n, family)
				exchange(e.at(t, 0)) // the neighbours find each other
				router.Netem("left", c.netem...)
				router.Netem("right", c.netem...)
				var all sync.WaitGroup
				for i := 1; i <= connections; i++ {
					all.Go(func() { exchange(e.at(t, i)) })
				}
				all.Wait()
				rec := e.stop()
				equal(t, "timelines", len(rec.out.Timelines), 2*(connections+1))
				for i := range connections + 1 {
					w := want{client: activeOpen + activeClose, server: passiveOpen + passiveClose,
						initiator: "client", synRetransmits: -1, finRetransmits: -1}
					one := e.at(t, i)
					r := one.result(rec)
					w.check(t, one, r)
					cl := &r.client.timelines[0]
					equal(t, "SYN retransmits", cl.Handshake.SYNRetransmits, sentAgain(&r.client, syn))
					equal(t, "FIN retransmits", cl.Teardown.FINRetransmits, sentAgain(&r.client, fin))
				}
			})
		}
	}
}

// exchange is a connection with data both ways, which the client closes first.
func exchange(e *env) {
	c, s := e.open()
	c.write(5000)
	s.read(5000)
	s.write(20000)
	c.read(20000)
	c.close()
	s.readEOF()
	s.close()
	e.rest()
}

// sentAgain counts the segments with a flag that an endpoint sent after its first.
func sentAgain(end *endpoint, flag uint8) int {
	n := -1
	for _, s := range end.capture {
		if s.Src == end.local && s.Flags&flag != 0 {
			n++
		}
	}
	return n
}
