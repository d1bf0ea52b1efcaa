package timeline_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// closing is a close() by a process, when another one, or none (0), had used the socket last.
func (s *story) closing(sock uint64, pid, user uint32) {
	r := gen.BPFEvent{Kind: uint8(events.KindState), Sock: sock, Pid: pid, OwnerSource: uint8(events.SourceIO),
		OldState: uint8(events.Established), NewState: uint8(events.FinWait1), Notes: uint8(events.NoteByProcess)}
	c := (*gen.BPFChange)(unsafe.Pointer(&r.Of))
	c.UserPid, c.CloseCall, c.CloseSignal = user, uint8(events.CloseExit), 9
	s.send(r)
}

// destroyed is what ss -K does, by a process that need not have the socket.
func (s *story) destroyed(sock uint64, pid uint32) {
	s.rst(events.RST|events.ACK, 0)
	r := gen.BPFEvent{Kind: uint8(events.KindState), Sock: sock, Pid: pid, OwnerSource: uint8(events.SourceIO), Error: uint16(unix.ECONNABORTED),
		OldState: uint8(events.Established), NewState: uint8(events.Close), Notes: uint8(events.NoteByProcess)}
	(*gen.BPFChange)(unsafe.Pointer(&r.Of)).CloseCall = uint8(events.CloseDestroy)
	s.send(r)
}

// held is a socket in the files of a process.
func (s *story) held(sock uint64, pid uint32, state events.State, notes events.Notes, was gen.BPFEarlier) {
	s.heldAt(80, sock, pid, state, notes, was)
}

// heldAt is held at another port than the server's.
func (s *story) heldAt(port uint16, sock uint64, pid uint32, state events.State, notes events.Notes, was gen.BPFEarlier) {
	r := gen.BPFEvent{Kind: uint8(events.KindSnapshot), Sock: sock, Pid: pid, NewState: uint8(state), Notes: uint8(notes)}
	if pid != 0 {
		r.OwnerSource = uint8(events.SourceSnapshot)
	}
	*(*gen.BPFEarlier)(unsafe.Pointer(&r.Of)) = was
	s.sendOf(r, s.serverOf(port))
}

// listened is a connection whose SYN-ACK was sent by the listener of a process.
func (s *story) listened(sock uint64, pid uint32) {
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
	r := gen.BPFEvent{Kind: uint8(events.KindTransmit), Pid: pid, OwnerSource: uint8(events.SourceListen)}
	h := r.Of.Segment.TcpHeader[:]
	binary.BigEndian.PutUint32(h[4:], y)
	h[12], h[13] = 5<<4, byte(events.SYN|events.ACK)
	s.send(r)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.state(sock, events.SynRecv, events.Established, 0)
}

const none = events.Notes(0)

func TestOwner(t *testing.T) {
	const sock = 9
	for _, c := range []struct {
		name       string
		happens    func(s *story)
		pid        uint32
		source     events.OwnerSource
		confidence timeline.Confidence
		passed     []uint32 // by the entries
	}{
		{"only listened for", func(s *story) { s.listened(sock, 7) },
			7, events.SourceListen, timeline.Likely, nil},
		{"used by a child of the listener", func(s *story) { s.listened(sock, 7); s.used(sock, 8) },
			8, events.SourceIO, timeline.Certain, []uint32{8}},
		{"used by the listener, closed by a child", func(s *story) { s.listened(sock, 7); s.closing(sock, 8, 7) },
			7, events.SourceIO, timeline.Certain, nil},
		{"used by nobody, closed by a child", func(s *story) { s.listened(sock, 7); s.closing(sock, 8, 0) },
			8, events.SourceIO, timeline.Certain, []uint32{8}},
		{"used by somebody whose record was lost", func(s *story) { s.listened(sock, 7); s.closing(sock, 8, 6) },
			7, events.SourceListen, timeline.Likely, nil},
		{"accepted and handed on twice", func(s *story) {
			s.listened(sock, 7)
			s.accept(sock, 7)
			s.used(sock, 8)
			s.used(sock, 9)
		}, 9, events.SourceIO, timeline.Certain, []uint32{8, 9}},
		{"handed on and back", func(s *story) { s.listened(sock, 7); s.accept(sock, 7); s.used(sock, 8); s.used(sock, 7) },
			7, events.SourceIO, timeline.Certain, []uint32{8, 7}},
		{"there before", func(s *story) { s.held(sock, 7, events.Established, none, gen.BPFEarlier{}) },
			7, events.SourceSnapshot, timeline.Certain, nil},
		{"there before, of two", func(s *story) {
			s.held(sock, 7, events.Established, none, gen.BPFEarlier{})
			s.held(sock, 8, events.Established, events.NoteShared, gen.BPFEarlier{})
		}, 7, events.SourceSnapshot, timeline.Likely, nil},
		{"there before, of two, and one uses it", func(s *story) {
			s.held(sock, 7, events.Established, none, gen.BPFEarlier{})
			s.held(sock, 8, events.Established, events.NoteShared, gen.BPFEarlier{})
			s.used(sock, 8)
		}, 8, events.SourceIO, timeline.Certain, []uint32{8}},
		{"there before, and destroyed by another's ss -K", func(s *story) {
			s.held(sock, 7, events.Established, none, gen.BPFEarlier{})
			s.destroyed(sock, 8)
		}, 7, events.SourceSnapshot, timeline.Certain, nil},
		{"only listened for, and destroyed by another's ss -K", func(s *story) { s.listened(sock, 7); s.destroyed(sock, 8) },
			7, events.SourceListen, timeline.Likely, nil},
		{"there before, held by nobody", func(s *story) { s.held(sock, 0, events.FinWait1, none, gen.BPFEarlier{}) },
			0, events.SourceUnknown, timeline.ConfidenceUnknown, nil},
		{"left to another at the end", func(s *story) {
			s.listened(sock, 7)
			s.accept(sock, 7)
			s.held(sock, 8, events.Established, events.NoteLast, gen.BPFEarlier{})
		}, 8, events.SourceInherited, timeline.Certain, []uint32{8}},
		{"left to two others at the end", func(s *story) {
			s.listened(sock, 7)
			s.accept(sock, 7)
			s.held(sock, 8, events.Established, events.NoteLast, gen.BPFEarlier{})
			s.held(sock, 9, events.Established, events.NoteLast, gen.BPFEarlier{})
		}, 9, events.SourceInherited, timeline.Likely, []uint32{9}},
		{"held by another too at the end", func(s *story) {
			s.listened(sock, 7)
			s.accept(sock, 7)
			s.held(sock, 7, events.Established, events.NoteLast, gen.BPFEarlier{})
			s.held(sock, 8, events.Established, events.NoteLast, gen.BPFEarlier{})
		}, 7, events.SourceAccept, timeline.Certain, nil},
		{"first seen when it is used", func(s *story) { s.used(sock, 8) },
			8, events.SourceIO, timeline.Certain, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			c.happens(s)
			s.take(s.a.Finish(s.now))
			tl := s.only()
			equal(t, "pid", tl.Process.PID, c.pid)
			equal(t, "source", tl.Process.Source, c.source)
			equal(t, "confidence", tl.Process.Confidence(), c.confidence)
			var passed []uint32
			for _, e := range tl.Entries {
				if e.Type == timeline.EntryOwner {
					passed = append(passed, e.PID)
				}
			}
			if !slices.Equal(passed, c.passed) {
				t.Errorf("passed to %v, want %v", passed, c.passed)
			}
		})
	}
}

func TestWhoClosedAndHow(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(9)
	s.closing(9, 8, 8)
	s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
	s.state(9, events.FinWait1, events.Close, 0)
	s.take(s.a.Finish(s.now))
	by := s.only().ClosedBy
	equal(t, "pid", by.PID, 8)
	equal(t, "call", by.Call, events.CloseExit)
	equal(t, "signal", by.Signal, 9)
}

// TestEarlierSocket: initial sequence numbers are counted back to, where two counts agree.
func TestEarlierSocket(t *testing.T) {
	steady := uint8(gen.BPFEarlierNoteEARLIER_STEADY | gen.BPFEarlierNoteEARLIER_SCALED)
	was := func(acked uint64, nxt, una uint32, notes uint8) gen.BPFEarlier {
		return gen.BPFEarlier{
			Counters:   gen.BPFCounters{BytesSent: 1100, BytesRetransmitted: 100, BytesReceived: 50},
			BytesAcked: acked, SndNxt: nxt, SndUna: una, RcvNxt: 51, SndWscale: 7, RcvWscale: 9, Notes: notes,
		}
	}
	known := timeline.Some[uint32]
	unknown := timeline.Maybe[uint32]{}
	for _, c := range []struct {
		name          string
		state         events.State
		was           gen.BPFEarlier
		role          timeline.Role
		local, remote timeline.Maybe[uint32]
	}{
		{"a server's", events.Established, was(1000, 1005, 1005, steady), timeline.RoleServer, known(4), known(0)},
		{"a client's", events.Established, was(1001, 1005, 1005, steady), timeline.RoleClient, known(4), known(0)},
		{"with bytes under way", events.CloseWait, was(400, 1005, 405, steady), timeline.RoleServer, known(4), known(0)},
		{"around the numbers' end", events.Established, was(1000, 995, 995, steady), timeline.RoleServer, known(0xfffffffa), known(0)},
		{"half closed", events.FinWait2, was(1002, 1006, 1006, steady), timeline.RoleClient, known(4), known(0)},
		{"counts that disagree", events.Established, was(1004, 1005, 1005, steady), timeline.RoleUnknown, unknown, known(0)},
		{"read while it changed", events.Established, was(1000, 1005, 1005, steady&^1&^2), timeline.RoleUnknown, unknown, unknown},
		{"with a FIN that may not have left", events.FinWait1, was(1000, 1005, 1005, steady), timeline.RoleUnknown, unknown, unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			s.held(9, 7, c.state, none, c.was)
			s.segment(events.KindReceive, events.ACK, 51, c.was.SndNxt, 10)
			s.take(s.a.Finish(s.now))
			tl := s.only()
			equal(t, "role", tl.Role, c.role)
			equal(t, "local ISN", tl.Handshake.LocalISN, c.local)
			equal(t, "remote ISN", tl.Handshake.RemoteISN, c.remote)
			equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeUnobserved)
			equal(t, "complete", tl.Complete, false)
			scaled := c.was.Notes != 0
			equal(t, "window", tl.Entries[0].WindowScaled.Known, scaled)
			if scaled {
				equal(t, "window", tl.Entries[0].WindowScaled.Value, 10<<7)
			}
		})
	}
}

func TestEarlierRequestAnswered(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.held(0, 7, events.NewSynRecv, none, gen.BPFEarlier{SndNxt: y + 1, RcvNxt: x + 1})
	s.segment(events.KindReceive, events.ACK, x+1, y+1, 1050)
	s.state(9, events.SynRecv, events.Established, 0)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "states", way(tl), "SYN_RECV ESTABLISHED")
	equal(t, "role", tl.Role, timeline.RoleServer)
	equal(t, "relative", tl.Entries[0].SeqRel, timeline.Some(uint32(1)))
}

// TestEarlierRequestRepeats: SYN and SYN-ACK that are repeated before the eyes of the tracer show what both offered, whichever comes first.
func TestEarlierRequestRepeats(t *testing.T) {
	for _, first := range []bool{true, false} {
		s := newStory(t, timeline.Options{})
		s.held(0, 7, events.NewSynRecv, none, gen.BPFEarlier{SndNxt: y + 1, RcvNxt: x + 1})
		for _, syn := range []bool{first, !first} {
			if syn {
				s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
			} else {
				s.segment(events.KindTransmit, events.SYN|events.ACK, y, x+1, 65160, mss1460scale7...)
			}
		}
		s.segment(events.KindReceive, events.ACK, x+1, y+1, 1050)
		s.state(9, events.SynRecv, events.Established, 0)
		s.take(s.a.Finish(s.now))
		tl := s.only()
		for _, e := range tl.Entries {
			if e.Step == timeline.StepACK {
				equal(t, "window", e.WindowScaled, timeline.Some[uint32](1050<<7))
			}
		}
		equal(t, "the other end's options", tl.Handshake.RemoteOptions.Known, true)
	}
}

// TestEarlierTimeWait: it has a line only if something happens to it, and its owner is who takes its place.
func TestEarlierTimeWait(t *testing.T) {
	s := newStory(t, timeline.Options{Linger: sec})
	s.held(0, 0, events.TimeWait, none, gen.BPFEarlier{SndNxt: 5, RcvNxt: 6, TimeWaitNs: s.now})
	s.wait(10 * sec)
	s.established(9)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	equal(t, "the earlier one's state", s.ended[0].State, events.Close)
	equal(t, "on ports that had been in TIME_WAIT", s.ended[1].Handshake.ReusedNS.Known, true)

	s = newStory(t, timeline.Options{Linger: sec})
	s.held(0, 0, events.TimeWait, none, gen.BPFEarlier{SndNxt: 5, RcvNxt: 6, TimeWaitNs: s.now})
	s.wait(61 * sec)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 0)
}

// TestWrittenEarlyIsNotToldAgain: a connection that gave way to others is not new when the last sockets are told.
func TestWrittenEarlyIsNotToldAgain(t *testing.T) {
	s := newStory(t, timeline.Options{MaxLive: 1})
	s.held(1, 7, events.Established, 0, gen.BPFEarlier{})
	first := s.port
	s.port++
	s.held(2, 7, events.Established, 0, gen.BPFEarlier{})
	s.port = first
	s.held(1, 7, events.Established, events.NoteLast, gen.BPFEarlier{})
	s.port++
	s.held(2, 7, events.Established, events.NoteLast, gen.BPFEarlier{})
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
}

// TestEarlierTimeWaitsEndInAnyOrder: one that is remembered for longer keeps none that has ended.
func TestEarlierTimeWaitsEndInAnyOrder(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.held(0, 0, events.TimeWait, none, gen.BPFEarlier{SndNxt: 5, RcvNxt: 6, TimeWaitNs: s.now})
	s.port++
	s.held(0, 0, events.TimeWait, none, gen.BPFEarlier{SndNxt: 5, RcvNxt: 6, TimeWaitNs: s.now - 50*sec})
	s.wait(30 * sec)
	s.established(9) // on ports that were free
	s.take(s.a.Finish(s.now))
	equal(t, "reused", s.only().Handshake.ReusedNS.Known, false)
}
