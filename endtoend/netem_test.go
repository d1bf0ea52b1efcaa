package endtoend

import (
	"net/netip"
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
					for _, end := range []*endpoint{&r.client, &r.server} {
						tl := &end.timelines[0]
						equal(t, tl.Role+"'s SYN retransmits", tl.Handshake.SYNRetransmits, repeated(end.capture, syn, syn|ack))
						fins := tl.Teardown.FINRetransmits
						for _, a := range rec.out.Addenda { // after its line was written
							for _, entry := range a.Timeline {
								if a.ID == tl.ID && entry.Step == "fin" && entry.Retransmit {
									fins++
								}
							}
						}
						equal(t, tl.Role+"'s FIN retransmits", fins, repeated(end.capture, fin, fin))
					}
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
	e.clientCloses(c, s)
}

// repeated counts the segments whose flags, of those in mask, are just flags, after each sender's first.
func repeated(capture []lab.Segment, flags, mask uint8) (n int) {
	seen := map[netip.AddrPort]bool{}
	for _, s := range capture {
		if s.Flags&mask == flags {
			if seen[s.Src] {
				n++
			}
			seen[s.Src] = true
		}
	}
	return n
}
