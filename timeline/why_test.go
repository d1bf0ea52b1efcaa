package timeline_test

import (
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// ending is a change to CLOSE with what only that tells.
func (s *story) ending(sock uint64, from events.State, notes events.Notes, errno unix.Errno, c gen.BPFChange) {
	r := gen.BPFEvent{Kind: uint8(events.KindState), Sock: sock, OldState: uint8(from), NewState: uint8(events.Close),
		Notes: uint8(notes), Error: uint16(errno)}
	*(*gen.BPFChange)(unsafe.Pointer(&r.Of)) = c
	s.send(r)
}

// rst is an RST that was sent, with the kernel's reason where that comes with it.
func (s *story) rst(flags events.Flags, reason uint32) {
	r := gen.BPFEvent{Kind: uint8(events.KindTransmit)}
	r.Of.Segment.TcpHeader[12], r.Of.Segment.TcpHeader[13] = 5<<4, byte(flags)
	r.Of.Segment.Reason = reason
	s.send(r)
}

// TestResetReason: the kernel's word comes with an RST that answers a segment, and after one that its socket sends.
func TestResetReason(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
	s.rst(events.RST|events.ACK, 1)
	s.wait(sec)
	tl := s.only()
	equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeRefused)
	equal(t, "reason", tl.Teardown.ResetReason, 1)
	equal(t, "inferred", tl.Teardown.ResetCause, timeline.ResetNoSocket)

	s = newStory(t, timeline.Options{})
	s.established(7)
	s.ending(7, events.Established, events.NoteByProcess, 0, gen.BPFChange{Unread: 5})
	s.rst(events.RST|events.ACK, 0)
	s.send(gen.BPFEvent{Kind: uint8(events.KindReset), Sock: 7, Error: 11})
	s.rst(events.RST, 3) // to what still came: the first counts
	s.wait(sec)
	tl = s.only()
	equal(t, "reason", tl.Teardown.ResetReason, 11)
	equal(t, "unread", tl.Teardown.Unread, 5)
}

// TestPeerKnowsTheReason: where both ends are on this host.
func TestPeerKnowsTheReason(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	// The same SYN, as its sender sees it: the other way round, on the same host.
	r := gen.BPFEvent{Kind: uint8(events.KindTransmit), Sock: 9}
	copy(r.Of.Segment.TcpHeader[4:], []byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
	r.Of.Segment.TcpHeader[12], r.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN)
	s.sendFromPeer(r)
	s.rst(events.RST|events.ACK, 1)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	for _, tl := range s.ended {
		equal(t, "reason", tl.Teardown.ResetReason, 1)
	}
}

// TestResetReasonOfNobody: no timeline, no trace; and one that came from the other end has none.
func TestResetReasonOfNobody(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.send(gen.BPFEvent{Kind: uint8(events.KindReset), Sock: 7, Error: 11})
	s.established(7)
	s.segment(events.KindReceive, events.RST, 0, 0, 0)
	s.send(gen.BPFEvent{Kind: uint8(events.KindReset), Sock: 7, Error: 11})
	s.state(7, events.Established, events.Close, 0)
	s.wait(sec)
	tl := s.only()
	equal(t, "by", tl.Teardown.ResetBy, timeline.SideRemote)
	equal(t, "reason", tl.Teardown.ResetReason, 0)
	equal(t, "inferred", tl.Teardown.ResetCause, timeline.ResetUnexplained)
}

// TestResetsThatCross: a process aborts, and before its own RST leaves, on another processor the other end's comes.
func TestResetsThatCross(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.ending(7, events.Established, events.NoteByProcess, 0, gen.BPFChange{Linger0: 1})
	s.segment(events.KindReceive, events.RST|events.ACK, 0, 0, 0)
	s.rst(events.RST|events.ACK, 0)
	s.wait(sec)
	tl := s.only()
	equal(t, "by", tl.Teardown.ResetBy, timeline.SideLocal)
	equal(t, "reason", tl.Teardown.ResetCause, timeline.ResetLingerZero)
	equal(t, "initiator", tl.Teardown.Initiator, timeline.SideLocal)
	equal(t, "closed by", tl.ClosedBy.Side, timeline.SideLocal)
	equal(t, "the RST", tl.EndingReset().Dir, timeline.Tx)
}

func TestResetIsInferred(t *testing.T) {
	finWait2 := func(s *story) {
		s.finWait2(7, 0)
	}
	for _, c := range []struct {
		name string
		run  func(s *story)
		want timeline.ResetCause
	}{
		{"data unread", func(s *story) {
			s.ending(7, events.Established, events.NoteByProcess, 0, gen.BPFChange{Unread: 5, Linger0: 1})
			s.rst(events.RST|events.ACK, 0)
		}, timeline.ResetUnread},
		{"SO_LINGER 0", func(s *story) {
			s.ending(7, events.Established, events.NoteByProcess, 0, gen.BPFChange{Linger0: 1})
			s.rst(events.RST|events.ACK, 0)
		}, timeline.ResetLingerZero},
		{"neither", func(s *story) {
			s.ending(7, events.Established, events.NoteByProcess, 0, gen.BPFChange{})
			s.rst(events.RST|events.ACK, 0)
		}, timeline.ResetUnexplained},
		{"a keepalive that ran out", func(s *story) {
			s.rst(events.RST|events.ACK, 0)
			s.ending(7, events.Established, 0, unix.ETIMEDOUT, gen.BPFChange{Unread: 5})
		}, timeline.ResetTimeout},
		{"ss -K", func(s *story) {
			s.rst(events.RST|events.ACK, 0)
			s.ending(7, events.Established, events.NoteByProcess, unix.ECONNABORTED, gen.BPFChange{Unread: 5, CloseCall: uint8(events.CloseDestroy)})
		}, timeline.ResetUnexplained},
		{"data after the close", func(s *story) {
			finWait2(s)
			s.rst(events.RST, 0)
			s.ending(7, events.FinWait2, 0, 0, gen.BPFChange{})
		}, timeline.ResetAfterClose},
		{"too many orphans at close()", func(s *story) {
			s.state(7, events.Established, events.FinWait1, events.NoteByProcess)
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
			s.ending(7, events.FinWait1, events.NoteByProcess|events.NoteOrphan, 0, gen.BPFChange{})
			s.rst(events.RST|events.ACK, 0)
		}, timeline.ResetMemory},
		{"too many orphans at a timer", func(s *story) {
			s.state(7, events.Established, events.FinWait1, events.NoteByProcess)
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
			s.rst(events.RST|events.ACK, 0)
			s.ending(7, events.FinWait1, events.NoteOrphan, 0, gen.BPFChange{})
		}, timeline.ResetMemory},
		{"data that crossed the FIN of an orphan", func(s *story) {
			s.state(7, events.Established, events.FinWait1, events.NoteByProcess)
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
			s.rst(events.RST, 0)
			s.ending(7, events.FinWait1, events.NoteOrphan, 0, gen.BPFChange{})
		}, timeline.ResetAfterClose},
		{"shutdown(), then SO_LINGER 0", func(s *story) {
			s.state(7, events.Established, events.FinWait1, events.NoteByProcess)
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
			s.ending(7, events.FinWait1, events.NoteByProcess, 0, gen.BPFChange{Linger0: 1})
			s.rst(events.RST|events.ACK, 0)
		}, timeline.ResetLingerZero},
		{"the other end's", func(s *story) {
			s.segment(events.KindReceive, events.RST, 0, 0, 0)
			s.ending(7, events.Established, 0, unix.ECONNRESET, gen.BPFChange{Unread: 5})
		}, timeline.ResetUnexplained},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			s.established(7)
			c.run(s)
			s.wait(61 * sec)
			equal(t, "cause", s.only().Teardown.ResetCause, c.want)
		})
	}
}

func (s *story) connectError(sock uint64, errno unix.Errno) {
	s.send(gen.BPFEvent{Kind: uint8(events.KindConnectError), Sock: sock, Error: uint16(errno), Pid: 7,
		OwnerSource: uint8(events.SourceConnect), Notes: uint8(events.NoteByProcess)})
}

// TestConnectError: what connect() returned belongs to the attempt that just failed, or is one of its own.
func TestConnectError(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.state(9, events.Close, events.SynSent, events.NoteByProcess)
	s.state(9, events.SynSent, events.Close, events.NoteByProcess)
	s.connectError(9, unix.EADDRNOTAVAIL)
	s.wait(sec)
	equal(t, "errno", unix.Errno(s.only().Handshake.Errno), unix.EADDRNOTAVAIL)
	equal(t, "outcome", s.only().Handshake.Outcome, timeline.OutcomeAborted)

	s.connectError(9, unix.ENETUNREACH) // the next attempt of the same socket
	s.wait(sec)
	equal(t, "timelines", len(s.ended), 2)
	tl := &s.ended[1]
	equal(t, "errno", unix.Errno(tl.Handshake.Errno), unix.ENETUNREACH)
	equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeUnreachable)
	equal(t, "role", tl.Role, timeline.RoleClient)
	equal(t, "pid", tl.Process.PID, 7)
	equal(t, "entries", len(tl.Entries), 0)
	equal(t, "complete", tl.Complete, true)
}

func TestICMP(t *testing.T) {
	told := func(s *story, kind, code uint8) {
		r := gen.BPFEvent{Kind: uint8(events.KindICMP)}
		*(*gen.BPFToldIcmp)(unsafe.Pointer(&r.Of)) = gen.BPFToldIcmp{
			From: netip.MustParseAddr("::ffff:10.0.0.1").As16(), Type: kind, Code: code}
		s.send(r)
	}
	s := newStory(t, timeline.Options{})
	told(s, 3, 1)
	equal(t, "of nobody", s.a.Live(), 0)
	s.established(7)
	told(s, 3, 13)
	s.take(s.a.Finish(s.now))
	m := s.only().ICMP
	equal(t, "known", m.Known, true)
	equal(t, "from", m.Value.From.String(), "10.0.0.1")
	equal(t, "name", m.Value.Name(), "admin-prohibited")
}

func TestICMPNames(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for m, want := range map[timeline.ICMPError]string{
		{From: v4, Type: 3, Code: 0}:  "net-unreachable",
		{From: v4, Type: 3, Code: 4}:  "fragmentation-needed",
		{From: v4, Type: 3, Code: 15}: "precedence-cutoff",
		{From: v4, Type: 3, Code: 16}: "unreachable",
		{From: v4, Type: 11, Code: 0}: "time-exceeded",
		{From: v4, Type: 1, Code: 0}:  "",
		{From: v6, Type: 1, Code: 3}:  "address-unreachable",
		{From: v6, Type: 1, Code: 9}:  "unreachable",
		{From: v6, Type: 2}:           "packet-too-big",
		{From: v6, Type: 11}:          "",
	} {
		equal(t, "name", m.Name(), want)
	}
}

// TestQueues: what a SYN found full, and the fullest that a SYN-ACK left.
func TestQueues(t *testing.T) {
	synack := func(s *story, waiting, most uint16) {
		r := gen.BPFEvent{Kind: uint8(events.KindTransmit)}
		r.Of.Segment.TcpHeader[12], r.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN|events.ACK)
		r.Of.Segment.QueueLen, r.Of.Segment.QueueMax = waiting, most
		s.send(r)
	}
	overflow := func(s *story, q gen.BPFQueues) {
		s.segment(events.KindReceive, events.SYN, x, 0, 64240)
		r := gen.BPFEvent{Kind: uint8(events.KindOverflow), Pid: 7, OwnerSource: uint8(events.SourceListen)}
		*(*gen.BPFQueues)(unsafe.Pointer(&r.Of)) = q
		s.send(r)
	}
	s := newStory(t, timeline.Options{})
	for range 2 {
		overflow(s, gen.BPFQueues{AcceptLen: 6, Backlog: 5, SynLen: 1, SynMax: 128})
	}
	overflow(s, gen.BPFQueues{AcceptLen: 5, Backlog: 5, SynLen: 5, SynMax: 128}) // and is answered
	synack(s, 5, 6)
	synack(s, 6, 6)
	synack(s, 0, 6)
	s.take(s.a.Finish(s.now))
	h := &s.only().Handshake
	equal(t, "overflows", h.Overflows, 2)
	equal(t, "queues", h.Queues.Value, events.Queues{Waiting: 6, Backlog: 5, HalfOpen: 1, MaxHalfOpen: 128})
	equal(t, "accept queue", h.AcceptQueue, timeline.Some(timeline.Queue{Waiting: 6, Backlog: 5}))
	equal(t, "full", h.AcceptQueue.Value.Full(), true)
	equal(t, "pid", s.only().Process.PID, 7)

	s = newStory(t, timeline.Options{})
	overflow(s, gen.BPFQueues{SynMax: 128})
	synack(s, 0, 1)
	s.take(s.a.Finish(s.now))
	equal(t, "overflows of an empty queue with a backlog of 0", s.only().Handshake.Overflows, 0)
	equal(t, "its queues are known", s.only().Handshake.Queues.Known, false)

	s = newStory(t, timeline.Options{})
	overflow(s, gen.BPFQueues{SynMax: 128})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	synack(s, 0, 1)
	s.take(s.a.Finish(s.now))
	equal(t, "overflows of a SYN that was not answered, and then was", s.only().Handshake.Overflows, 1)

	s = newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	synack(s, 0, 0)
	s.take(s.a.Finish(s.now))
	equal(t, "a queue that is not told is known", s.only().Handshake.AcceptQueue.Known, false)
}

// TestOrphanStays: as long as its timer says, which without word of that is 60 s.
func TestOrphanStays(t *testing.T) {
	for ms, stay := range map[uint32]uint64{0: 60 * sec, 2000: 2 * sec, 90000: 60 * sec} {
		s := newStory(t, timeline.Options{})
		s.established(7)
		s.finWait2(7, 0)
		s.ending(7, events.FinWait2, events.NoteOrphan, 0, gen.BPFChange{FinTimeoutOrSndNxt: ms})
		begun := s.now
		s.wait(61 * sec)
		s.wait(sec)
		equal(t, "end", s.only().End, timeline.Some(begun+stay))
	}
}

func TestNegotiation(t *testing.T) {
	const ecnSetup = events.SYN | events.ECE | events.CWR
	asks, cookie := []byte{34, 2, 1, 1}, []byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}
	for _, c := range []struct {
		name          string
		syn, synack   events.Flags
		option, reply []byte
		data, covered uint32
		ecn           timeline.ECN
		fastOpen      timeline.FastOpen
		kind          timeline.HandshakeKind
	}{
		{name: "neither", ecn: timeline.ECNNotAsked, fastOpen: timeline.FastOpenNone, kind: timeline.HandshakeThreeWay},
		{name: "ECN", syn: ecnSetup, synack: events.ECE, ecn: timeline.ECNAgreed, fastOpen: timeline.FastOpenNone, kind: timeline.HandshakeThreeWay},
		{name: "ECN refused", syn: ecnSetup, ecn: timeline.ECNAsked, fastOpen: timeline.FastOpenNone, kind: timeline.HandshakeThreeWay},
		// RFC 3168, section 6.1.1.1: both bits are a reflection by a broken TCP.
		{name: "ECN reflected", syn: ecnSetup, synack: events.ECE | events.CWR, ecn: timeline.ECNAsked, fastOpen: timeline.FastOpenNone, kind: timeline.HandshakeThreeWay},
		{name: "cookie asked", option: asks, ecn: timeline.ECNNotAsked, fastOpen: timeline.FastOpenAsked, kind: timeline.HandshakeThreeWay},
		{name: "cookie granted", option: asks, reply: cookie, ecn: timeline.ECNNotAsked, fastOpen: timeline.FastOpenGranted, kind: timeline.HandshakeThreeWay},
		{name: "cookie and data taken", option: cookie, data: 10, covered: 10, ecn: timeline.ECNNotAsked, fastOpen: timeline.FastOpenAccepted, kind: timeline.HandshakeFastOpen},
		{name: "data not taken", option: cookie, data: 10, ecn: timeline.ECNNotAsked, fastOpen: timeline.FastOpenRefused, kind: timeline.HandshakeFastOpen},
		{name: "cookie without data replaced", option: cookie, reply: cookie, ecn: timeline.ECNNotAsked, fastOpen: timeline.FastOpenRefused, kind: timeline.HandshakeFastOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			syn := gen.BPFEvent{Kind: uint8(events.KindReceive)}
			syn.Of.Segment.PayloadLen = c.data
			h := syn.Of.Segment.TcpHeader[:]
			h[12], h[13] = byte(5+len(c.option)/4)<<4, byte(c.syn|events.SYN)
			copy(h[20:], c.option)
			s.send(syn)
			s.segment(events.KindTransmit, c.synack|events.SYN|events.ACK, y, c.covered+1, 65160, c.reply...)
			s.take(s.a.Finish(s.now))
			tl := s.only()
			equal(t, "ECN", tl.Handshake.ECN, c.ecn)
			equal(t, "Fast Open", tl.Handshake.FastOpen, c.fastOpen)
			equal(t, "kind", tl.Handshake.Kind, c.kind)
		})
	}
}

func TestRetransmissionsByKind(t *testing.T) {
	end := func(c gen.BPFChange) timeline.Traffic {
		s := newStory(t, timeline.Options{})
		s.established(7)
		s.ending(7, events.LastAck, 0, 0, c)
		s.wait(sec)
		return s.only().Traffic
	}
	got := end(gen.BPFChange{Counters: gen.BPFCounters{Retransmits: 3}, FlowKnown: 1, RetransmitsBy: [3]uint16{1, 2, 0}, Dsacks: 1, DropsOut: 4, DropReasonOut: 64})
	equal(t, "by kind", got.RetransmitsBy, timeline.Some([3]uint64{1, 2, 0}))
	equal(t, "in vain", got.Duplicates, timeline.Some(uint64(1)))
	equal(t, "dropped", got.DroppedOut, timeline.Dropped{Segments: 4, Reason: 64})
	equal(t, "known without the flow", end(gen.BPFChange{Counters: gen.BPFCounters{Retransmits: 3}}).RetransmitsBy.Known, false)
	equal(t, "known where the kernel tells none of them", end(gen.BPFChange{Counters: gen.BPFCounters{Retransmits: 3}, FlowKnown: 1}).RetransmitsBy.Known, false)
	equal(t, "known where there were none", end(gen.BPFChange{FlowKnown: 1}).RetransmitsBy.Known, true)
}
