package timeline_test

import (
	"testing"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// TestDeferredIsNotGivenUp: with TCP_DEFER_ACCEPT the third ACK makes no socket, and the kernel waits for data without a word.
func TestDeferredIsNotGivenUp(t *testing.T) {
	half := func() *story {
		s := newStory(t, timeline.Options{})
		s.segment(events.KindReceive, events.SYN, x, 0, 64240)
		s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
		s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
		return s
	}
	s := half()
	s.wait(31 * sec)
	s.state(7, events.SynRecv, events.Established, 0)
	s.activeClose(7)
	s.take(s.a.Finish(s.now))
	equal(t, "outcome", s.only().Handshake.Outcome, timeline.OutcomeEstablished)
	equal(t, "complete", s.only().Complete, true)

	s = half()
	s.wait(65 * sec)
	s.wait(sec)
	equal(t, "way", way(s.only()), "LISTEN SYN_RECV CLOSE")
	equal(t, "outcome", s.only().Handshake.Outcome, timeline.OutcomeTimedOut)
}

// TestToldWithTheNext: a SYN that nobody answers is told, by tracepoints, when the next comes, which before Linux 6.5 takes twice as
// long each time. All are of one connection.
func TestToldWithTheNext(t *testing.T) {
	s := newStory(t, timeline.Options{})
	const slack = sec / 50
	begin := s.now
	syns := []uint64{0, sec + slack, 3*sec + 2*slack, 7*sec + 3*slack, 15*sec + 4*slack}
	for i, came := range syns[1:] {
		s.wait(begin + came - s.now)
		s.sendLate(unconfirmed(), s.serverOf(80), begin+syns[i])
	}
	s.segment(events.KindReceive, events.SYN, 0xffffffff, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "began", tl.Start, begin)
	equal(t, "SYNs sent again", tl.Handshake.SYNRetransmits, 4)
}

// TestGivenUpTooEarly: a SYN-ACK that comes late shows that the connection is still half open.
func TestGivenUpTooEarly(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.wait(3*sec + sec/100)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.wait(sec)
	equal(t, "ended", len(s.ended), 0)
	s.take(s.a.Finish(s.now))
	equal(t, "way", way(s.only()), "LISTEN SYN_RECV")
	equal(t, "outcome", s.only().Handshake.Outcome, timeline.OutcomeInProgress)
}

// TestDoubtfulReset: a RST that comes to a half-open connection and has not the number that is expected, since data before it were
// not taken, ends it on some kernels. Others go on.
func TestDoubtfulReset(t *testing.T) {
	half := func() *story {
		s := newStory(t, timeline.Options{})
		s.segment(events.KindReceive, events.SYN, x, 0, 64240)
		s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
		s.segmentOf(events.KindReceive, 0, events.RST|events.ACK, 1000, y+1, 0)
		return s
	}
	s := half()
	s.wait(sec)
	equal(t, "ended", len(s.ended), 0)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.segmentOf(events.KindReceive, 0, events.RST, 0, 0, 0)
	s.wait(sec)
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV CLOSE")
	equal(t, "SYN-ACKs sent again", tl.Handshake.SYNACKRetransmits, 1)
	equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeReset)

	s = half()
	at := s.now
	s.wait(4 * sec)
	s.wait(sec)
	tl = s.only()
	equal(t, "end", tl.End, timeline.Some(at))
	equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeReset)
	equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideRemote)
}

// TestReasonOfTheFirstReset: what a second RST answers may be told before the kernel says why there was the first.
func TestReasonOfTheFirstReset(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.ending(7, events.Established, events.NoteByProcess, 0, gen.BPFChange{Unread: 5})
	s.rst(events.RST|events.ACK, 0)
	s.rst(events.RST, 6)
	s.send(gen.BPFEvent{Kind: uint8(events.KindReset), Sock: 7, Error: 11})
	s.wait(sec)
	equal(t, "reason", s.only().Teardown.ResetReason, 11)
}

// TestAbortAfterShutdown: both sides have sent a FIN, and this end's RST goes before its FIN is acknowledged.
func TestAbortAfterShutdown(t *testing.T) {
	for _, from := range []events.State{events.LastAck, events.Closing} {
		s := newStory(t, timeline.Options{})
		s.established(7)
		if from == events.LastAck {
			s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
			s.state(7, events.Established, events.CloseWait, 0)
			s.state(7, events.CloseWait, events.LastAck, events.NoteByProcess)
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 1, 509)
		} else {
			s.state(7, events.Established, events.FinWait1, events.NoteByProcess)
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
			s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
			s.state(7, events.FinWait1, events.Closing, 0)
		}
		s.ending(7, from, 0, 0, gen.BPFChange{Unread: 5})
		s.segment(events.KindTransmit, events.RST|events.ACK, y+2, 1, 509)
		s.wait(2 * sec)
		tl := s.only()
		equal(t, "state", tl.State, events.Close)
		equal(t, "end known", tl.End.Known, true)
		equal(t, "kind", tl.Teardown.Kind, timeline.TeardownReset)
		equal(t, "reset by", tl.Teardown.ResetBy, timeline.SideLocal)
		equal(t, "inferred", tl.Teardown.ResetCause, timeline.ResetUnread)
	}
}

// TestAnotherSYNWhileHalfOpen: the client has given up, and begins anew from the same port. The half-open connection keeps the
// number that it answered, until it answers the other; a SYN that was dropped is not the one that was answered.
func TestAnotherSYNWhileHalfOpen(t *testing.T) {
	const other = 1000
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.segment(events.KindDrop, events.SYN, other, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.take(s.a.Finish(s.now))
	equal(t, "ISN", s.only().Handshake.RemoteISN, timeline.Some(x))
	equal(t, "the other SYN, relative", s.only().Entries[3].SeqRel, timeline.Some[uint32](other-x))

	s = newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.segment(events.KindReceive, events.SYN, other, 0, 64240, mss1460scale7...)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, other+1, 65160)
	s.take(s.a.Finish(s.now))
	equal(t, "ISN", s.only().Handshake.RemoteISN, timeline.Some[uint32](other))
	equal(t, "offered, bytes", s.only().Handshake.RemoteOptions.Value.MSS, 1460)
	for _, e := range s.only().Entries {
		if e.Step == timeline.StepSYNACK && e.Ack == other+1 {
			equal(t, "acknowledges, relative", e.AckRel, timeline.Some[uint32](1))
		}
	}
}

// TestSocketAfterReset: what was half open has a socket all the same, as where the ACK of a SYN cookie was refused, and the FIN after it was not.
func TestSocketAfterReset(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.noted(events.KindTransmit, events.NoteSYNCookie, events.SYN|events.ACK, y, 0, 65160)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.rst(events.RST, 2)
	s.state(7, events.SynRecv, events.Established, 0)
	s.activeClose(7)
	s.take(s.a.Finish(s.now))
	equal(t, "way", way(s.only()), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
	equal(t, "end known", s.only().End.Known, false)
}
