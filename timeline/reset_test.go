package timeline_test

import (
	"testing"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// peerSegment is a segment of the client's end, sent or received there.
func (s *story) peerSegment(kind events.Kind, flags events.Flags, seq uint32) {
	r := gen.BPFEvent{Kind: uint8(kind)}
	h := r.Of.Segment.TcpHeader[:]
	h[4], h[5], h[6], h[7] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
	h[12], h[13] = 5<<4, byte(flags)
	s.sendFromPeer(r)
}

// TestForgedReset: an RST that netfilter sends in the name of a peer elsewhere is no endpoint's of this host.
func TestForgedReset(t *testing.T) {
	reset := func(s *story) {
		s.peerSegment(events.KindTransmit, events.RST, 0)
		s.segment(events.KindReceive, events.RST, 0, 0, 0)
		s.state(7, events.Established, events.Close, 0)
	}
	for _, c := range []struct {
		name            string
		run             func(s *story)
		timelines, told int
	}{
		{"by netfilter", func(s *story) {
			s.established(7)
			reset(s)
		}, 1, 7},
		{"by netfilter, just before the end", func(s *story) {
			s.established(7)
			reset(s)
			s.take(s.a.Finish(s.now))
		}, 1, 7},
		{"by an end of this host that is gone", func(s *story) {
			s.peerSegment(events.KindTransmit, events.SYN, x)
			s.established(7)
			s.peerSegment(events.KindTransmit, events.RST, 0)
			s.wait(sec)
			reset(s)
		}, 3, 11},
		{"for nobody here", func(s *story) {
			s.peerSegment(events.KindTransmit, events.RST, 0)
		}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{Entries: true})
			c.run(s)
			s.wait(sec)
			s.take(s.a.Finish(s.now))
			equal(t, "timelines", len(s.ended), c.timelines)
			equal(t, "begun", s.a.Stats().Timelines, uint64(c.timelines))
			equal(t, "entries told", s.entries, c.told)
			if c.timelines == 1 {
				equal(t, "peer", s.ended[0].PeerID, 0)
			}
		})
	}
}

// TestForgedResetOfASYN: netfilter rejects a SYN before anybody has told of it and its port. The two names that there seem to be of the
// connection meanwhile are one.
func TestForgedResetOfASYN(t *testing.T) {
	s := newStory(t, timeline.Options{})
	unbound := s.serverOf(80)
	unbound.LocalPort = 0
	s.sendOf(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(events.Close), NewState: uint8(events.SynSent)}, unbound)
	s.peerSegment(events.KindTransmit, events.RST|events.ACK, 0)
	s.segment(events.KindReceive, events.RST|events.ACK, 0, 0, 0)
	dropped := gen.BPFEvent{Kind: uint8(events.KindDrop), Sock: 7, Notes: uint8(events.NoteOutbound | events.NoteUntold)}
	dropped.Of.Segment.TcpHeader[12], dropped.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN)
	s.send(dropped)
	s.state(7, events.SynSent, events.Close, 0)
	s.wait(sec)
	tl := s.only()
	equal(t, "way", way(tl), "CLOSE SYN_SENT CLOSE")
	equal(t, "peer", tl.PeerID, 0)
	equal(t, "translated", tl.Translated.Known, false)
}

// TestRejectedOnItsWayIn: TCP's functions tell nothing of a SYN that netfilter rejects before its RST has left and the SYN is thrown away.
func TestRejectedOnItsWayIn(t *testing.T) {
	s := newStory(t, timeline.Options{Entries: true})
	s.segment(events.KindTransmit, events.RST|events.ACK, 0, x+1, 0)
	s.segment(events.KindDrop, events.SYN, x, 0, 64240, mss1460scale7...)
	s.wait(sec)
	tl := s.only()
	equal(t, "steps", steps(tl), "-syn rst ")
	equal(t, "told", s.entries, 2)
	equal(t, "role", tl.Role, timeline.RoleServer)
	equal(t, "complete", tl.Complete, true)
	equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeRefused)
	equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideLocal)
	equal(t, "cause", tl.Teardown.ResetCause, timeline.ResetUnexplained)
	equal(t, "the RST's ack", tl.Entries[1].AckRel, timeline.Some(uint32(1)))
	equal(t, "history", string(tl.History), "Sr")
	equal(t, "completeness", tl.Completeness, timeline.Completeness(37))
}

// TestPeerOfAnotherAttempt: where the first server's end of a connection has come to nothing, a SYN that is sent again makes another one,
// and that is the client's.
func TestPeerOfAnotherAttempt(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.peerSegment(events.KindTransmit, events.SYN, x)
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.RST|events.ACK, 0, x+1, 0)
	s.wait(sec)
	s.peerSegment(events.KindTransmit, events.SYN, x)
	s.established(7)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 3)
	refused, client, server := s.ended[0], s.ended[1], s.ended[2]
	equal(t, "the first end's peer", refused.PeerID, client.ID)
	equal(t, "the client's peer", client.PeerID, server.ID)
	equal(t, "the second end's peer", server.PeerID, client.ID)
}

// TestForwardedIsRejected: an RST that netfilter sends in the name of the host that it forwards to is no endpoint's of this host, as the
// drop of what it answers shows. A connection of this host stays.
func TestForwardedIsRejected(t *testing.T) {
	reject := func(s *story) {
		s.rst(events.RST|events.ACK, 0)
		s.noted(events.KindDrop, events.NoteForwarded, events.ACK, 1, y+1, 1050)
	}
	for _, c := range []struct {
		name      string
		run       func(s *story)
		timelines int
	}{
		{"the SYN", func(s *story) {
			s.segment(events.KindReceive, events.SYN, x, 0, 64240)
			reject(s)
		}, 0},
		{"data", reject, 0},
		{"the SYN, whose client is here", func(s *story) {
			s.peerSegment(events.KindTransmit, events.SYN, x)
			s.segment(events.KindReceive, events.SYN, x, 0, 64240)
			reject(s)
		}, 1},
		{"a drop that says nothing of this host's", func(s *story) {
			s.established(7)
			s.noted(events.KindDrop, events.NoteForwarded, events.ACK, 1, y+1, 1050)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			c.run(s)
			s.wait(sec)
			s.take(s.a.Finish(s.now))
			equal(t, "timelines", len(s.ended), c.timelines)
			equal(t, "begun", s.a.Stats().Timelines, uint64(c.timelines))
			for _, tl := range s.ended {
				equal(t, "peer", tl.PeerID, 0)
			}
		})
	}
}

// TestReasonOfADroppedReset: why the other end sent the RST that was dropped here is not why it sent the one that ended the connection.
func TestReasonOfADroppedReset(t *testing.T) {
	for _, second := range []events.Flags{0, events.RST | events.ACK} {
		s := newStory(t, timeline.Options{})
		s.peerSegment(events.KindTransmit, events.SYN, x)
		s.established(7)
		r := gen.BPFEvent{Kind: uint8(events.KindTransmit)}
		r.Of.Segment.TcpHeader[12], r.Of.Segment.TcpHeader[13] = 5<<4, byte(events.RST)
		r.Of.Segment.Reason = 9
		s.sendFromPeer(r)
		s.segment(events.KindReceive, events.RST, 0, 0, 0)
		want := uint32(9)
		if second != 0 {
			s.segment(events.KindDrop, events.RST, 0, 0, 0)
			s.segment(events.KindReceive, second, 0, 0, 0)
			want = 0
		}
		s.state(7, events.Established, events.Close, 0)
		s.wait(sec)
		s.take(s.a.Finish(s.now))
		for _, tl := range s.ended {
			if tl.Role == timeline.RoleServer {
				equal(t, "by", tl.Teardown.ResetBy, timeline.SideRemote)
				equal(t, "reason", tl.Teardown.ResetReason, want)
			}
		}
	}
}
