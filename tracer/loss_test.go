package tracer

import (
	"context"
	"net"
	"testing"

	"tcptrace/events"
)

// order is a handler that notes what was told too early.
type order struct {
	t      *testing.T
	read   uint64 // the latest event
	quiet  uint64
	losses int
}

func (o *order) Event(e *events.Event) error {
	o.read = max(o.read, e.Time())
	return nil
}

func (o *order) Lost(l events.Loss) error {
	if l.Tuple == (events.Tuple{}) {
		return nil // anybody's
	}
	o.losses++
	if o.quiet >= l.FirstNS {
		o.t.Errorf("a loss of %d was told when all up to %d was said to have been", l.FirstNS, o.quiet)
	}
	if o.read > l.FirstNS {
		o.t.Errorf("a loss of %d was told after an event of %d", l.FirstNS, o.read)
	}
	return nil
}

func (o *order) Quiet(until uint64) error {
	o.quiet = until
	return nil
}

// TestLossIsToldInItsPlace: by what happened after it, a timeline may end, and be written as if nothing
// were missing. There are two rings, where there are two processors.
func TestLossIsToldInItsPlace(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	tr := open(t, Options{RingSize: 2 * minRing, Filter: Filter{Ports: []PortRange{{port, port}}}})
	defer tr.Close()
	o := &order{t: t}
	for range 3 {
		// Nobody reads meanwhile.
		for lost := tr.Stats().Lost; tr.Stats().Lost < lost+100; {
			client, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			client.Close()
			server.Close()
		}
		if err := tr.drain(o, tr.margin()); err != nil {
			t.Fatal(err)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Run(done, o); err != nil {
		t.Fatal(err)
	}
	if err := tr.Finish(o); err != nil {
		t.Fatal(err)
	}
	if o.losses == 0 {
		t.Error("no loss was told")
	}
}

// slow is a Handler that takes its time for each event, and counts the connections that were there before.
type slow struct {
	*order
	earlier, last int
}

func (s *slow) Event(e *events.Event) error {
	if e.Kind() == events.KindSnapshot {
		s.earlier++
		if e.Notes().Has(events.NoteLast) {
			s.last++
		}
	}
	for begin := Now(); Now()-begin < 20_000; {
	}
	return s.order.Event(e)
}

// TestWalkWaitsForReader: there may be more sockets than the ring has room for, and they are found faster than told.
func TestWalkWaitsForReader(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const connections = 400
	for range connections {
		client, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
	}
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	tr := open(t, Options{RingSize: 1 << 16, Filter: Filter{Ports: []PortRange{{port, port}}}})
	defer tr.Close()
	s := &slow{order: &order{t: t}}
	if err := tr.Snapshot(s); err != nil {
		t.Fatal(err)
	}
	if err := tr.Finish(s); err != nil {
		t.Fatal(err)
	}
	if lost := tr.Stats().Lost; lost != 0 || s.earlier != 4*connections || s.last != 2*connections {
		t.Errorf("%d lost; %d events of what was there, %d of them at the end", lost, s.earlier, s.last)
	}
}
