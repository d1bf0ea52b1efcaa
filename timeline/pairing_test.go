package timeline_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// syn is a SYN with a timestamp (0 none) as an endpoint sent or received it.
func (s *story) syn(kind events.Kind, netns uint32, local, remote string, isn, stamp uint32) {
	s.now += 1000
	l, r := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
	e := gen.BPFEvent{Kind: uint8(kind), TimeNs: s.now, Family: 4, Tuple: gen.BPFTuple{
		LocalAddr: l.Addr().As16(), RemoteAddr: r.Addr().As16(), LocalPort: l.Port(), RemotePort: r.Port(), Netns: netns}}
	h := e.Of.Segment.TcpHeader[:]
	binary.BigEndian.PutUint32(h[4:], isn)
	h[12], h[13] = 5<<4, byte(events.SYN)
	if stamp != 0 {
		h[12] = 8 << 4
		copy(h[20:], []byte{1, 1, 8, 10})
		binary.BigEndian.PutUint32(h[24:], stamp)
	}
	s.take(s.a.Add(events.View(unsafe.Slice((*byte)(unsafe.Pointer(&e)), events.Size))))
}

func TestPairing(t *testing.T) {
	const client, server, virtual, masked = "192.0.2.1:40000", "198.51.100.1:8080", "192.0.2.254:9000", "198.51.100.254:5000"
	for _, c := range []struct {
		name string
		// what the server's end takes the client for, the client's end the server
		clientSeen, serverSeen string
		isnThere               uint32
		stamp, stampThere      uint32
		sent                   int
		paired, timed          bool
	}{
		{"in two namespaces", client, server, 5, 0, 0, 1, true, true},
		{"translated", masked, virtual, 5, 77, 77, 1, true, true},
		{"translated, without timestamps", masked, virtual, 5, 0, 0, 1, false, false},
		{"by the same number, at another time", masked, virtual, 5, 77, 78, 1, false, false},
		{"of another number", client, server, 6, 77, 77, 1, false, false},
		{"sent twice, and who knows which came", client, server, 5, 77, 77, 2, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			for range c.sent {
				s.syn(events.KindTransmit, 1, client, c.serverSeen, 5, c.stamp)
			}
			s.syn(events.KindReceive, 2, server, c.clientSeen, c.isnThere, c.stampThere)
			s.take(s.a.Finish(s.now))
			if len(s.ended) != 2 {
				t.Fatalf("%d timelines, want 2", len(s.ended))
			}
			cl, sv := &s.ended[0], &s.ended[1]
			equal(t, "client's end is paired", cl.PeerID == sv.ID, c.paired)
			equal(t, "server's end is paired", sv.PeerID == cl.ID, c.paired)
			delay := timeline.Maybe[uint64]{}
			if c.timed {
				delay = timeline.Some(uint64(1000))
			}
			equal(t, "delay", sv.Entries[0].OneWayNS, delay)
			want := timeline.Maybe[timeline.Translation]{}
			if c.paired && c.clientSeen != client {
				want = timeline.Some(timeline.Translation{
					Local: netip.MustParseAddrPort(c.clientSeen), Remote: netip.MustParseAddrPort(server)})
			}
			equal(t, "translation", cl.Translated, want)
		})
	}
}

// TestNobodysSYNIsNoPeer: of a SYN that nobody here took nothing is told, so no end names it.
func TestNobodysSYNIsNoPeer(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.sendFromPeer(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(events.Close), NewState: uint8(events.SynSent)})
	s.syn(events.KindTransmit, 1, "192.0.2.1:40000", "192.0.2.2:80", 0xffffffff, 0)
	s.unconfirmedSYN()
	s.sendFromPeer(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(events.SynSent), NewState: uint8(events.Close)})
	s.wait(sec)
	s.take(s.a.Finish(s.now))
	equal(t, "its peer", s.only().PeerID, 0)
}

// TestTranslatedByItself: a client whose own host translates, and whose port was chosen by connect(), is one connection, under the
// name that its socket has for it; devices have another.
func TestTranslatedByItself(t *testing.T) {
	tuple := func(local, remote string) gen.BPFTuple {
		l, r := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
		return gen.BPFTuple{LocalAddr: l.Addr().As16(), RemoteAddr: r.Addr().As16(), LocalPort: l.Port(), RemotePort: r.Port(), Netns: 1}
	}
	const client, server, virtual = "192.0.2.1:40000", "198.51.100.1:8080", "192.0.2.254:9000"
	change := func(from, to events.State) gen.BPFEvent {
		return gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(from), NewState: uint8(to)}
	}
	segment := func(kind events.Kind, sock uint64, flags events.Flags, seq, ack byte) gen.BPFEvent {
		r := gen.BPFEvent{Kind: uint8(kind), Sock: sock}
		h := r.Of.Segment.TcpHeader[:]
		h[7], h[11], h[12], h[13] = seq, ack, 5<<4, byte(flags)
		return r
	}
	for _, paired := range []bool{false, true} {
		s := newStory(t, timeline.Options{})
		s.sendOf(change(events.Close, events.SynSent), tuple("192.0.2.1:0", virtual))
		s.sendOf(segment(events.KindTransmit, 7, events.SYN, 5, 0), tuple(client, server))
		if paired {
			s.syn(events.KindReceive, 2, server, client, 5, 0)
		}
		s.sendOf(segment(events.KindReceive, 0, events.SYN|events.ACK, 9, 6), tuple(client, server))
		s.sendOf(change(events.SynSent, events.Established), tuple(client, virtual))
		s.sendOf(segment(events.KindTransmit, 7, events.ACK, 6, 10), tuple(client, server))
		s.sendOf(segment(events.KindReceive, 0, events.RST|events.ACK, 10, 6), tuple(client, server))
		s.sendOf(change(events.Established, events.Close), tuple(client, virtual))
		s.take(s.a.Finish(s.now))
		if want := 1 + map[bool]int{true: 1}[paired]; len(s.ended) != want {
			t.Fatalf("%d timelines, want %d", len(s.ended), want)
		}
		tl := &s.ended[0]
		equal(t, "way", way(tl), "CLOSE SYN_SENT ESTABLISHED CLOSE")
		equal(t, "segments and states", len(tl.Entries), 7)
		equal(t, "local", tl.Local, netip.MustParseAddrPort(client))
		equal(t, "remote", tl.Remote, netip.MustParseAddrPort(virtual))
		equal(t, "translation", tl.Translated.Known, paired)
		if paired {
			equal(t, "the other end's own name", tl.Translated.Value.Remote, netip.MustParseAddrPort(server))
			equal(t, "what the other end's peer takes it for", s.ended[1].Translated.Value.Local, netip.MustParseAddrPort(virtual))
		}
	}
}

// TestForwardedSYNIsNoEnd: a SYN that comes again is told where it is only forwarded, too, before its other end has it.
func TestForwardedSYNIsNoEnd(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.port = 40000
	s.syn(events.KindTransmit, 1, "192.0.2.1:40000", "192.0.2.2:80", x, 0)
	s.sendOf(unconfirmed(), gen.BPFTuple{LocalAddr: serverAddr, RemoteAddr: clientAddr, LocalPort: 80, RemotePort: s.port, Netns: 3})
	s.syn(events.KindReceive, 2, "192.0.2.2:80", "192.0.2.1:40000", x, 0)
	s.take(s.a.Finish(s.now))
	if len(s.ended) != 2 {
		t.Fatalf("%d timelines, want 2", len(s.ended))
	}
	equal(t, "client's peer", s.ended[0].PeerID, s.ended[1].ID)
	equal(t, "server's peer", s.ended[1].PeerID, s.ended[0].ID)
}

// TestUnconfirmedIsPairedWhenConfirmed: the SYN that came first had to be told before this host reacted to it.
func TestUnconfirmedIsPairedWhenConfirmed(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.syn(events.KindTransmit, 1, "192.0.2.1:40000", "192.0.2.2:80", x, 0)
	s.unconfirmedSYN()
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	equal(t, "server's peer", s.ended[1].PeerID, s.ended[0].ID)
}

// TestEarlySYNOfSimultaneousOpen: a SYN that is dropped here before connect() is meant for that connection all the same.
func TestEarlySYNOfSimultaneousOpen(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.sendFromPeer(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 6, OldState: uint8(events.Close), NewState: uint8(events.SynSent)})
	s.syn(events.KindTransmit, 1, "192.0.2.1:40000", "192.0.2.2:80", x, 0)
	s.syn(events.KindDrop, 2, "192.0.2.2:80", "192.0.2.1:40000", x, 0)
	own := s.serverOf(80)
	own.LocalPort, own.Netns = 0, 2
	s.sendOf(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(events.Close), NewState: uint8(events.SynSent)}, own)
	own.LocalPort = 80
	sent := unconfirmed()
	sent.Kind, sent.Notes, sent.Sock = uint8(events.KindTransmit), 0, 7
	sent.Of.Segment.TcpHeader[7] = 1
	s.sendOf(sent, own)
	s.syn(events.KindReceive, 2, "192.0.2.2:80", "192.0.2.1:40000", x, 0)
	s.take(s.a.Finish(s.now))
	if len(s.ended) != 3 {
		t.Fatalf("%d timelines, want 3", len(s.ended))
	}
	early, second, first := &s.ended[0], &s.ended[2], &s.ended[1]
	equal(t, "the early one's role", early.Role, timeline.RoleServer)
	equal(t, "its peer", early.PeerID, 0)
	equal(t, "the first one's peer", first.PeerID, second.ID)
	equal(t, "the second one's peer", second.PeerID, first.ID)
}

// TestUnansweredSYNIsAnother: nothing is kept of a SYN that was dropped, and one of another number is another connection's.
func TestUnansweredSYNIsAnother(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindDrop, events.SYN, 100, 0, 64240)
	s.established(7)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	equal(t, "the first one's outcome", s.ended[0].Handshake.Outcome, timeline.OutcomeTimedOut)
	equal(t, "the second one's way", way(&s.ended[1]), "LISTEN SYN_RECV ESTABLISHED")
	equal(t, "its entries", len(s.ended[1].Entries), 5)
}
