package timeline_test

import (
	"testing"
	"unsafe"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// segmentOf is a segment, or the drop of one, with so many bytes of payload.
func (s *story) segmentOf(kind events.Kind, notes events.Notes, flags events.Flags, seq, ack, payload uint32) {
	r := gen.BPFEvent{Kind: uint8(kind), Notes: uint8(notes)}
	r.Of.Segment.PayloadLen = payload
	h := r.Of.Segment.TcpHeader[:]
	h[4], h[5], h[6], h[7] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
	h[8], h[9], h[10], h[11] = byte(ack>>24), byte(ack>>16), byte(ack>>8), byte(ack)
	h[12], h[13] = 5<<4, byte(flags)
	s.send(r)
}

// steps are those of the entries that are segments; those dropped have a "-".
func steps(t *timeline.Timeline) (all string) {
	for i := range t.Entries {
		switch e := &t.Entries[i]; e.Type {
		case timeline.EntrySegment:
			all += e.Step.String() + " "
		case timeline.EntryDrop:
			all += "-" + e.Step.String() + " "
		}
	}
	return all
}

// TestDroppedACKs: what netfilter drops behind the device has achieved nothing; the one that comes again does.
func TestDroppedACKs(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	for _, kind := range []events.Kind{events.KindReceive, events.KindDrop, events.KindReceive} {
		s.segmentOf(kind, 0, events.ACK, 0, y+1, 0)
	}
	s.state(7, events.SynRecv, events.Established, 0)
	s.state(7, events.Established, events.FinWait1, 0)
	s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
	for _, kind := range []events.Kind{events.KindReceive, events.KindDrop, events.KindReceive} {
		s.segmentOf(kind, 0, events.ACK, 0, y+2, 0)
	}
	s.take(s.a.Finish(s.now))
	equal(t, "steps", steps(s.only()), "syn syn-ack -ack ack fin -fin-ack fin-ack ")
}

// TestDropIsFoundAmongOthers: a drop may be told when more was seen.
func TestDropIsFoundAmongOthers(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.segmentOf(events.KindReceive, 0, events.FIN|events.ACK, 0, y+1, 0)
	s.segmentOf(events.KindTransmit, 0, events.ACK, y+1, 0, 0)
	s.segmentOf(events.KindTransmit, 0, events.ACK, y+1, 0, 10)
	s.segmentOf(events.KindDrop, 0, events.FIN|events.ACK, 0, y+1, 0)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "steps", steps(tl), "syn syn-ack ack -fin   ")
}

// TestDataSentAgain: as --segments all has it.
func TestDataSentAgain(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	for _, seq := range []uint32{0, 100, 0, 100, 150, 200} {
		s.segmentOf(events.KindReceive, 0, events.ACK, seq, y+1, 100)
	}
	s.take(s.a.Finish(s.now))
	var again []bool
	for _, e := range s.only().Entries {
		if e.Len > 0 {
			again = append(again, e.Retransmit)
		}
	}
	for i, want := range []bool{false, false, true, true, false, false} {
		equal(t, "retransmit", again[i], want)
	}
}

// TestScaleIsAtMost14 (RFC 7323, section 2.3), whatever a SYN says.
func TestScaleIsAtMost14(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, 1, 3, 3, 15)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160, mss1460scale7...)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 3)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "as sent", tl.Handshake.RemoteOptions.Value.WScale, uint8(15))
	equal(t, "window", tl.Entries[len(tl.Entries)-1].WindowScaled, timeline.Some(uint32(3<<14)))
}

// TestAcceptedBeforeTheThirdACK, as with Fast Open: it waited for no time that could be told.
func TestAcceptedBeforeTheThirdACK(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.accept(7, 100)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.state(7, events.SynRecv, events.Established, 0)
	s.take(s.a.Finish(s.now))
	equal(t, "waited", s.only().Handshake.AcceptWaitNS.Known, false)
}

// passiveClose: the other end closes first, up to CLOSE, whose record has these counters.
func (s *story) passiveClose(sock uint64, c gen.BPFCounters) {
	fin := y + 1 + uint32(c.BytesSent-c.BytesRetransmitted)
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
	s.state(sock, events.Established, events.CloseWait, 0)
	s.segment(events.KindTransmit, events.ACK, y+1, 1, 509)
	s.state(sock, events.CloseWait, events.LastAck, 0)
	s.segment(events.KindTransmit, events.FIN|events.ACK, fin, 1, 509)
	s.segment(events.KindReceive, events.ACK, 1, fin+1, 1050)
	r := gen.BPFEvent{Kind: uint8(events.KindState), Sock: sock, OldState: uint8(events.LastAck), NewState: uint8(events.Close),
		Notes: uint8(events.NoteFINReceived)}
	*(*gen.BPFChange)(unsafe.Pointer(&r.Of)) = gen.BPFChange{Counters: c}
	s.send(r)
}

// TestTrafficOfAnEnd: a server's, whose SYN came twice, and whose RST was the kernel's own.
func TestTrafficOfAnEnd(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.established(7)
	s.passiveClose(7, gen.BPFCounters{BytesSent: 1100, BytesRetransmitted: 100, BytesReceived: 51, SegmentsOut: 10, SegmentsIn: 9, Retransmits: 1, SrttUs: 20})
	s.segment(events.KindReceive, events.RST, 1, 0, 0) // too late to end anything
	s.wait(sec)
	tl := s.only()
	equal(t, "sent", tl.Traffic.TxBytes, timeline.Some(uint64(1000)))
	equal(t, "received, but for the FIN", tl.Traffic.RxBytes, timeline.Some(uint64(50)))
	equal(t, "segments sent, with the SYN-ACK", tl.Traffic.TxSegments, timeline.Some(uint64(11)))
	equal(t, "segments received, with the SYN that came again and the RST", tl.Traffic.RxSegments, timeline.Some(uint64(11)))
	equal(t, "SRTT", tl.Traffic.SRTTNS, timeline.Some(uint64(20000)))
	equal(t, "teardown", tl.Teardown.Kind, timeline.TeardownFourWay)
	equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideUnknown)
}

// TestHalfClosedIsOpen: a FIN alone is no end.
func TestHalfClosedIsOpen(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
	s.state(7, events.Established, events.CloseWait, 0)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "teardown", tl.Teardown.Kind, timeline.TeardownNone)
	equal(t, "initiator", tl.Teardown.Initiator, timeline.SideRemote)
	equal(t, "closed by", tl.ClosedBy.Side, timeline.SideRemote)
	equal(t, "ended", tl.End.Known, false)
	equal(t, "duration", tl.Teardown.DurationNS.Known, false)
}

// TestRememberedTimeWaitsAreBounded: those beyond four for each live timeline are counted, and not watched.
func TestRememberedTimeWaitsAreBounded(t *testing.T) {
	s := newStory(t, timeline.Options{MaxLive: 2})
	for range 11 {
		s.established(7)
		s.activeClose(7)
		s.wait(sec)
		s.port++
	}
	equal(t, "remembered", s.a.Waiting(), 8)
	equal(t, "forgotten", s.a.Stats().Forgotten, 3)
}

// TestFINStartsRememberedTimeWaitAnew: as TestFINStartsTimeWaitAnew, after the line was written.
func TestFINStartsRememberedTimeWaitAnew(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.activeClose(7)
	for range 3 {
		s.wait(50 * sec)
		s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+2, 1050)
	}
	s.wait(sec)
	equal(t, "addenda", len(s.addenda), 3)
	s.wait(60 * sec)
	equal(t, "remembered", s.a.Waiting(), 0)
	equal(t, "lines", len(s.ended), 1)
}

// TestDroppedResetEndsNothing: netfilter drops behind the device what would have ended a connection that has no socket.
func TestDroppedResetEndsNothing(t *testing.T) {
	s := newStory(t, timeline.Options{Linger: 10 * sec})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	for _, kind := range []events.Kind{events.KindReceive, events.KindDrop} {
		s.segmentOf(kind, 0, events.RST, 0, 0, 0)
	}
	s.wait(sec)
	equal(t, "ended in SYN_RECV", len(s.ended), 0)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.state(7, events.SynRecv, events.Established, 0)
	s.activeClose(7)
	for _, kind := range []events.Kind{events.KindReceive, events.KindDrop} {
		s.segmentOf(kind, 0, events.RST, 1, 0, 0)
	}
	s.wait(sec)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
	equal(t, "end", tl.End.Known, false)
	equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideUnknown)

	s = newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	for _, kind := range []events.Kind{events.KindReceive, events.KindDrop} {
		s.segmentOf(kind, 0, events.RST, 0, 0, 0)
	}
	s.wait(4 * sec)
	s.wait(sec)
	equal(t, "given up all the same", s.only().Handshake.Outcome, timeline.OutcomeTimedOut)
}

// TestTakenAndDroppedAfterTheLine: so it is where the line was written; the addendum has the drop alone, and TIME_WAIT goes on.
func TestTakenAndDroppedAfterTheLine(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.activeClose(7)
	s.wait(sec)
	for _, flags := range []events.Flags{events.FIN | events.ACK, events.RST} {
		for _, kind := range []events.Kind{events.KindReceive, events.KindDrop} {
			s.segmentOf(kind, 0, flags, 0, y+2, 0)
		}
	}
	s.wait(sec)
	// The FIN that comes again is taken.
	s.segmentOf(events.KindReceive, 0, events.FIN|events.ACK, 0, y+2, 0)
	s.segmentOf(events.KindTransmit, 0, events.ACK, y+2, 1, 0)
	s.take(s.a.Finish(s.now))
	equal(t, "lines", len(s.ended), 1)
	var all string
	for i := range s.addenda {
		all += steps(&s.addenda[i]) + "; "
	}
	equal(t, "addenda", all, "-fin ; -rst ; fin ; fin-ack ; ")
	equal(t, "remembered", s.a.Waiting(), 1)
}

// TestDroppedResetIsNotTheOnlyOne: of two that came, one was taken.
func TestDroppedResetIsNotTheOnlyOne(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.segmentOf(events.KindReceive, 0, events.RST, 0, 0, 0)
	for _, kind := range []events.Kind{events.KindReceive, events.KindDrop} {
		s.segmentOf(kind, 0, events.RST, 1, 0, 0)
	}
	s.state(7, events.Established, events.Close, 0)
	s.take(s.a.Finish(s.now))
	equal(t, "reset by", s.only().Teardown.ResetBy, timeline.SideRemote)
}

// TestOrphanRefusesData: a FIN after data that nobody reads any more is answered with a RST, and there is no TIME_WAIT.
func TestOrphanRefusesData(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.finWait2(7, events.NoteOrphan)
	s.state(7, events.FinWait2, events.Close, events.NoteOrphan)
	s.segment(events.KindReceive, events.FIN|events.ACK, 100, y+2, 1050)
	s.segment(events.KindTransmit, events.RST, y+2, 0, 0)
	s.wait(sec)
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
	equal(t, "kind", tl.Teardown.Kind, timeline.TeardownReset)
	equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideLocal)
}

// TestRejectedOnItsWayOut: netfilter answers a SYN with a RST before it throws the SYN away, which is the first that tells the port.
func TestRejectedOnItsWayOut(t *testing.T) {
	s := newStory(t, timeline.Options{})
	own := s.serverOf(80)
	own.LocalPort = 0
	s.sendOf(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(events.Close), NewState: uint8(events.SynSent)}, own)
	s.segment(events.KindReceive, events.RST|events.ACK, 0, x+1, 0)
	drop := unconfirmed()
	drop.Kind, drop.Notes, drop.Sock = uint8(events.KindDrop), uint8(events.NoteOutbound), 7
	s.send(drop)
	s.state(7, events.SynSent, events.Close, 0)
	s.wait(2 * sec)
	tl := s.only()
	equal(t, "steps", steps(tl), "rst -syn ")
	equal(t, "role", tl.Role, timeline.RoleClient)
	equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideRemote)
}

// TestUnseenAnswer: the kernel did not run the programs when the SYN-ACK and the third ACK went by.
func TestUnseenAnswer(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.state(7, events.Established, events.CloseWait, 0)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT")
	equal(t, "complete", tl.Complete, false)
}

// TestTwoThirdACKsAtOnce, on two processors: each makes a socket, and the kernel keeps one of them.
func TestTwoThirdACKsAtOnce(t *testing.T) {
	const kept, given = 7, 8
	for name, order := range map[string]func(s *story){
		"the other is given up first": func(s *story) {
			s.state(given, events.SynRecv, events.Close, 0)
			s.state(kept, events.SynRecv, events.Established, 0)
		},
		"the other is given up last": func(s *story) {
			s.state(kept, events.SynRecv, events.Established, 0)
			s.state(given, events.SynRecv, events.Close, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			s.segment(events.KindReceive, events.SYN, x, 0, 64240)
			s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
			s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
			s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
			s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
			order(s)
			s.passiveClose(kept, gen.BPFCounters{})
			s.wait(sec)
			tl := s.only()
			equal(t, "complete", tl.Complete, true)
			equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE")
		})
	}
}

// TestListenerGoneAtTheThirdACK: no other socket follows the one that is given up, but a RST.
func TestListenerGoneAtTheThirdACK(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.state(7, events.SynRecv, events.Close, 0)
	s.segment(events.KindTransmit, events.RST|events.ACK, y+1, 0, 0)
	s.wait(sec)
	tl := s.only()
	equal(t, "complete", tl.Complete, true)
	equal(t, "way", way(tl), "LISTEN SYN_RECV CLOSE")
	equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideLocal)
}
