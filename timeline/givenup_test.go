package timeline_test

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// TestGivenUp: the kernel ends a connection on its own with the error that an ICMP message had told meanwhile, too.
func TestGivenUp(t *testing.T) {
	passive := func(s *story, acked bool, errno unix.Errno) {
		s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
		s.state(7, events.Established, events.CloseWait, 0)
		s.state(7, events.CloseWait, events.LastAck, events.NoteByProcess)
		s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 1, 509)
		if acked {
			s.segment(events.KindReceive, events.ACK, 1, y+2, 1050)
		}
		s.ending(7, events.LastAck, 0, errno, gen.BPFChange{})
	}
	for _, c := range []struct {
		name string
		run  func(s *story)
		kind timeline.TeardownKind
		by   timeline.Side
	}{
		{"no answer", func(s *story) { s.ending(7, events.Established, 0, unix.ETIMEDOUT, gen.BPFChange{}) },
			timeline.TeardownTimedOut, timeline.SideKernel},
		{"a router says that the host is unreachable", func(s *story) { s.ending(7, events.Established, 0, unix.EHOSTUNREACH, gen.BPFChange{}) },
			timeline.TeardownTimedOut, timeline.SideKernel},
		{"unreachable in LAST_ACK", func(s *story) { passive(s, false, unix.EHOSTUNREACH) },
			timeline.TeardownTimedOut, timeline.SideKernel},
		{"a pending error at an orderly end", func(s *story) { passive(s, true, unix.EHOSTUNREACH) },
			timeline.TeardownThreeSegment, timeline.SideRemote},
		{"a RST that was not told", func(s *story) { s.ending(7, events.Established, 0, unix.ECONNRESET, gen.BPFChange{}) },
			timeline.TeardownUnobserved, timeline.SideUnknown},
		{"destroyed in LAST_ACK", func(s *story) { passive(s, false, unix.ECONNABORTED) },
			timeline.TeardownUnobserved, timeline.SideRemote},
		{"the FIN never left", func(s *story) {
			s.state(7, events.Established, events.FinWait1, events.NoteByProcess)
			s.ending(7, events.FinWait1, events.NoteOrphan, unix.ETIMEDOUT, gen.BPFChange{})
		}, timeline.TeardownTimedOut, timeline.SideKernel},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			s.established(7)
			c.run(s)
			s.wait(sec)
			tl := s.only()
			equal(t, "kind", tl.Teardown.Kind, c.kind)
			equal(t, "closed by", tl.ClosedBy.Side, c.by)
			if c.by != timeline.SideLocal {
				equal(t, "closed by call", tl.ClosedBy.Call, events.CloseUnknown)
			}
		})
	}
}

// TestFINWaits: who has closed is known before the FIN can leave, which waits behind data.
func TestFINWaits(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.closing(7, 42, 42)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "side", tl.ClosedBy.Side, timeline.SideLocal)
	equal(t, "pid", tl.ClosedBy.PID, 42)
}

// TestDestroyed: ss -K ends the connection of another process, and is its owner at no time.
func TestDestroyed(t *testing.T) {
	const ss = 99
	destroyed := func(s *story, from events.State) {
		r := gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(from), NewState: uint8(events.Close), Pid: ss,
			Notes: uint8(events.NoteByProcess), Error: uint16(unix.ECONNABORTED), OwnerSource: uint8(events.SourceIO)}
		(*gen.BPFChange)(unsafe.Pointer(&r.Of)).CloseCall = uint8(events.CloseDestroy)
		s.send(r)
	}
	s := newStory(t, timeline.Options{})
	s.listened(7, 8)
	s.rst(events.RST|events.ACK, 14)
	destroyed(s, events.Established)
	s.wait(sec)
	tl := s.only()
	equal(t, "owner", tl.Process.PID, 8)
	equal(t, "closed by", tl.ClosedBy.PID, ss)
	equal(t, "call", tl.ClosedBy.Call, events.CloseDestroy)
	equal(t, "kind", tl.Teardown.Kind, timeline.TeardownReset)
	equal(t, "initiator", tl.Teardown.Initiator, timeline.SideLocal)

	s = newStory(t, timeline.Options{})
	destroyed(s, events.Close) // a listener, the second time: LISTEN is not told
	s.take(s.a.Finish(s.now))
	equal(t, "a listener's timelines", len(s.ended), 0)
}

// TestRestored: a socket that TCP_REPAIR makes is no client's, though connect() makes it, and had no handshake here.
func TestRestored(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.state(7, events.Close, events.SynSent, events.NoteByProcess)
	s.state(7, events.SynSent, events.Established, events.NoteByProcess)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "role", tl.Role, timeline.RoleUnknown)
	equal(t, "kind", tl.Handshake.Kind, timeline.HandshakeUnobserved)
	equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeUnobserved)
	equal(t, "complete", tl.Complete, false)
}
