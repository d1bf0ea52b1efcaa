package timeline_test

import (
	"testing"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// What only hooks on functions tell: accept(), and the end of the small socket.

func (s *story) accept(sock uint64, pid uint32) {
	s.send(gen.BPFEvent{Kind: uint8(events.KindAccept), Sock: sock, Pid: pid, OwnerSource: uint8(events.SourceAccept)})
}

func (s *story) smallSocketGone(was events.State) {
	s.send(gen.BPFEvent{Kind: uint8(events.KindTimeWaitEnd), OldState: uint8(was), NewState: uint8(events.Close)})
}

func (s *story) used(sock uint64, pid uint32) {
	s.send(gen.BPFEvent{Kind: uint8(events.KindOwner), Sock: sock, Pid: pid, OwnerSource: uint8(events.SourceIO)})
}

func TestAcceptIsTimedAndOwns(t *testing.T) {
	for _, c := range []struct {
		name   string
		user   uint32 // who uses it then; 0 nobody
		pid    uint32
		source events.OwnerSource
	}{
		{"nobody uses it", 0, 7, events.SourceAccept},
		{"its acceptor uses it", 7, 7, events.SourceAccept},
		{"another process uses it", 8, 8, events.SourceIO},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			s.established(9)
			s.wait(5000)
			s.accept(9, 7)
			if c.user != 0 {
				s.used(9, c.user)
			}
			s.take(s.a.Finish(s.now))
			tl := s.only()
			// The ACK, a state, the wait, and the accept: a microsecond each.
			equal(t, "accept wait", tl.Handshake.AcceptWaitNS, timeline.Some(uint64(1000+5000+1000)))
			equal(t, "pid", tl.Process.PID, c.pid)
			equal(t, "source", tl.Process.Source, c.source)
		})
	}
}

// TestAcceptWaitsSinceTheACKThatWasTaken: while its queue is full, a listener ignores third ACKs and sends its SYN-ACK again.
func TestAcceptWaitsSinceTheACKThatWasTaken(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.wait(sec)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.state(9, events.SynRecv, events.Established, 0)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050) // another answer to the SYN-ACK, on its way for long
	s.accept(9, 7)
	s.take(s.a.Finish(s.now))
	h := &s.only().Handshake
	equal(t, "accept wait", h.AcceptWaitNS, timeline.Some[uint64](3000))
	equal(t, "duration", h.DurationNS, timeline.Some(sec+4000))
}

// TestFINIsTheThirdACK: where the third ACK was lost, the FIN completes the handshake.
func TestFINIsTheThirdACK(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
	s.state(9, events.SynRecv, events.Established, 0)
	s.take(s.a.Finish(s.now))
	equal(t, "duration", s.only().Handshake.DurationNS, timeline.Some[uint64](2000))
}

// TestWhoClosesNeedNotOwn: a child that was forked meanwhile holds the socket until it executes its program.
func TestWhoClosesNeedNotOwn(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(9)
	s.accept(9, 7)
	s.send(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 9, Pid: 8, OwnerSource: uint8(events.SourceIO),
		OldState: uint8(events.Established), NewState: uint8(events.FinWait1), Notes: uint8(events.NoteByProcess)})
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "pid", tl.Process.PID, 7)
	equal(t, "closed by", tl.ClosedBy.PID, 8)
}

func TestAcceptOfNobodyIsNoTimeline(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.accept(9, 7)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 0)
}

func TestTimeWaitEndsWhenItsSocketGoes(t *testing.T) {
	s := newStory(t, timeline.Options{WholeTimeWait: true})
	s.established(7)
	s.activeClose(7)
	s.wait(61 * sec) // the kernel's timers are not punctual
	equal(t, "told by arithmetic", len(s.ended), 1)

	s = newStory(t, timeline.Options{WholeTimeWait: true})
	s.established(7)
	s.activeClose(7)
	begun := s.now
	s.wait(20 * sec)
	s.smallSocketGone(events.TimeWait)
	s.wait(sec)
	tl := s.only()
	equal(t, "time in TIME_WAIT", tl.Teardown.TimeWaitNS, timeline.Some(s.now-sec-begun))
	equal(t, "state", tl.State, events.Close)
}

// TestSocketGoneAfterTheLine: the end of a TIME_WAIT that was written is an addendum if it is early.
func TestSocketGoneAfterTheLine(t *testing.T) {
	for _, c := range []struct {
		name    string
		after   uint64
		addenda int
	}{{"by its timer", 59 * sec, 0}, {"early", 10 * sec, 1}} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{Linger: sec})
			s.established(7)
			s.activeClose(7)
			s.wait(2 * sec)
			equal(t, "lines", len(s.ended), 1)
			s.wait(c.after - 2*sec)
			if c.addenda == 0 {
				s.wait(sec - 5000)
			}
			s.smallSocketGone(events.TimeWait)
			gone := s.now
			s.wait(sec)
			equal(t, "addenda", len(s.addenda), c.addenda)
			if c.addenda > 0 {
				last := s.addenda[0].Entries[len(s.addenda[0].Entries)-1]
				equal(t, "end", last.Time, gone)
				equal(t, "to", last.To, events.Close)
			}
			equal(t, "lines", len(s.ended), 1)
		})
	}
}

// TestReuseIsToldOnce: the kernel takes the old socket down, then answers the new SYN.
func TestReuseIsToldOnce(t *testing.T) {
	s := newStory(t, timeline.Options{Linger: sec})
	s.established(7)
	s.activeClose(7)
	s.wait(2 * sec)
	x, y = x+100000, y+100000
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
	asked := s.now
	s.smallSocketGone(events.TimeWait)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, x+1, 65160, mss1460scale7...)
	s.wait(sec)
	x, y = x-100000, y-100000
	equal(t, "addenda", len(s.addenda), 1)
	equal(t, "end", s.addenda[0].Entries[len(s.addenda[0].Entries)-1].Time, asked)
	s.take(s.a.Finish(s.now))
	equal(t, "lines", len(s.ended), 2)
	equal(t, "TIME_WAIT that was reused is known", s.ended[1].Handshake.ReusedNS.Known, true)
}

// TestClientReusesTimeWait: connect() takes the old socket down before the SYN is sent.
func TestClientReusesTimeWait(t *testing.T) {
	for _, c := range []struct {
		name   string
		after  uint64
		reused bool
	}{{"early", 10 * sec, true}, {"by its timer, meanwhile", 60*sec - 2000, false}} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{WholeTimeWait: true})
			s.established(7)
			s.activeClose(7)
			begun := s.now
			s.wait(c.after)
			s.state(8, events.Close, events.SynSent, 0)
			s.smallSocketGone(events.TimeWait)
			gone := s.now
			syn := gen.BPFEvent{Kind: uint8(events.KindTransmit), Sock: 8}
			syn.Of.Segment.TcpHeader[12], syn.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN)
			s.send(syn)
			s.take(s.a.Finish(s.now))
			equal(t, "lines", len(s.ended), 2)
			equal(t, "time in TIME_WAIT", s.ended[0].Teardown.TimeWaitNS, timeline.Some(gone-begun))
			want := s.ended[0].Teardown.TimeWaitNS
			if !c.reused {
				want.Known, want.Value = false, 0
			}
			equal(t, "reused", s.ended[1].Handshake.ReusedNS, want)
		})
	}
}

func TestOrphanEndsWhenItsSocketGoes(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.finWait2(7, 0)
	s.state(7, events.FinWait2, events.Close, events.NoteOrphan)
	s.wait(5 * sec)
	s.smallSocketGone(events.FinWait2)
	gone := s.now
	s.wait(sec)
	tl := s.only()
	equal(t, "state", tl.State, events.Close)
	equal(t, "end", tl.End, timeline.Some(gone))
}

// TestResetToldTwice: one that was told before anything here reacted to it is one all the same.
func TestResetToldTwice(t *testing.T) {
	reset := func(s *story, notes events.Notes) {
		r := gen.BPFEvent{Kind: uint8(events.KindReceive), Notes: uint8(notes)}
		r.Of.Segment.TcpHeader[12], r.Of.Segment.TcpHeader[13] = 5<<4, byte(events.RST)
		s.send(r)
		s.now -= 1000 // the same segment has the same time
	}
	for name, reaction := range map[string]func(*story){
		"closed by it": func(s *story) {
			reset(s, events.NoteUnconfirmed)
			reset(s, 0)
			s.now += 1000
			s.state(7, events.Established, events.Close, 0)
		},
		"TIME_WAIT ended by it": func(s *story) {
			s.activeClose(7)
			reset(s, events.NoteUnconfirmed)
			reset(s, 0)
			s.now += 1000
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, timeline.Options{Linger: sec / 2})
			reset(s, events.NoteUnconfirmed)
			equal(t, "of nobody", s.a.Live(), 0)

			s.established(7)
			reaction(s)
			s.wait(sec)
			resets := 0
			for _, e := range s.only().Entries {
				if e.Step == timeline.StepRST {
					resets++
				}
			}
			equal(t, "resets", resets, 1)
		})
	}
}
