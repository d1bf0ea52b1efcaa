package timeline_test

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

func TestSequenceNumbersWrapAndWindowsScale(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.activeClose(7)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
	equal(t, "teardown", tl.Teardown.Kind, timeline.TeardownFourWay)
	for _, e := range tl.Entries {
		switch e.Step {
		case timeline.StepACK:
			equal(t, "third ACK's seq, relative", e.SeqRel, timeline.Some[uint32](1))
			equal(t, "third ACK's ack, relative", e.AckRel, timeline.Some[uint32](1))
			equal(t, "1050 × 2^7", e.WindowScaled, timeline.Some[uint32](134400))
		case timeline.StepSYN:
			equal(t, "a SYN's window is not scaled", e.WindowScaled, timeline.Some[uint32](64240))
		case timeline.StepFIN:
			equal(t, "FIN's seq, relative", e.SeqRel, timeline.Some[uint32](1))
		}
	}
	equal(t, "handshake", tl.Handshake.DurationNS, timeline.Some[uint64](2000))
}

func TestWindowsAreNotScaledUnlessBothOffer(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160, 2, 4, 5, 0xb4)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.take(s.a.Finish(s.now))
	for _, e := range s.only().Entries {
		if e.Step == timeline.StepACK {
			equal(t, "window", e.WindowScaled, timeline.Some[uint32](1050))
		}
	}
}

// TestHalfOpenIsGivenUp: the kernel says nothing when a request sock times out.
func TestHalfOpenIsGivenUp(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	for _, gap := range []uint64{1, 2, 4, 8, 16} {
		s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
		s.wait(gap * sec)
		equal(t, "ended", len(s.ended), 0)
	}
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.wait(32 * sec)
	equal(t, "ended", len(s.ended), 0)
	s.wait(10 * sec)
	s.wait(sec)
	tl := s.only()
	equal(t, "outcome", tl.Handshake.Outcome, timeline.OutcomeTimedOut)
	equal(t, "SYN-ACK retransmits", tl.Handshake.SYNACKRetransmits, 5)
	equal(t, "way", way(tl), "LISTEN SYN_RECV CLOSE")
}

// TestFloodIsBounded: half-open timelines go first, the oldest first; an established one stays.
func TestFloodIsBounded(t *testing.T) {
	const cap = 100
	s := newStory(t, timeline.Options{MaxLive: cap})
	s.established(7)
	for s.port = 1; s.port <= 5000; s.port++ {
		s.segment(events.KindReceive, events.SYN, uint32(s.port), 0, 64240)
		if n := s.a.Live(); n > cap {
			t.Fatalf("%d timelines live, at most %d", n, cap)
		}
	}
	stats := s.a.Stats()
	equal(t, "evicted", stats.Evicted, 5001-cap)
	equal(t, "written", len(s.ended), 5001-cap)
	for i, tl := range s.ended {
		if tl.Complete || tl.Remote.Port() != uint16(i+1) {
			t.Fatalf("evicted as number %d: %v, complete %v", i, tl.Remote, tl.Complete)
		}
	}
	s.port = 40000
	s.state(7, events.Established, events.CloseWait, 0)
	s.ended = nil
	s.take(s.a.Finish(s.now))
	equal(t, "the established one is still there", s.ended[0].State, events.CloseWait)
}

// TestEvictedFromTimeWait: it is written before it has lingered, and lacks nothing.
func TestEvictedFromTimeWait(t *testing.T) {
	s := newStory(t, timeline.Options{MaxLive: 2, Linger: sec})
	for range 3 {
		s.established(7)
		s.activeClose(7)
		s.port++
	}
	equal(t, "written", len(s.ended), 1)
	equal(t, "state", s.ended[0].State, events.TimeWait)
	equal(t, "complete", s.ended[0].Complete, true)
	s.port -= 3
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+2, 1050)
	s.wait(sec)
	equal(t, "addenda", len(s.addenda), 1)
}

// TestFloodOfForwardedIsNotEvicted: what would not have been told is not written early.
func TestFloodOfForwardedIsNotEvicted(t *testing.T) {
	s := newStory(t, timeline.Options{MaxLive: 100})
	for s.port = 1; s.port <= 300; s.port++ {
		s.unconfirmedSYN()
	}
	equal(t, "evicted", s.a.Stats().Evicted, 0)
	equal(t, "written", len(s.ended), 0)
	equal(t, "timelines", s.a.Stats().Timelines, 100)
}

// TestFloodOfOneIsBounded: the same SYN comes again and again.
func TestFloodOfOneIsBounded(t *testing.T) {
	const n, bound = 200000, 33000
	s := newStory(t, timeline.Options{MaxLive: 100})
	s.established(7)
	s.port++
	kept := func() (entries int) {
		for tl := range s.a.All() {
			entries += len(tl.Entries)
		}
		return entries
	}
	most, lines := 0, uint64(0)
	for i := range n {
		s.segment(events.KindReceive, events.SYN, x, 0, 64240)
		if i%1000 == 0 {
			most = max(most, kept())
		}
		lines += uint64(len(s.ended))
		s.ended = s.ended[:0]
	}
	if most > bound || lines == 0 {
		t.Errorf("%d entries were kept, want at most %d; %d lines were written early", most, bound, lines)
	}
	equal(t, "evicted", s.a.Stats().Evicted, lines)
	s.port--
	s.state(7, events.Established, events.CloseWait, 0)
	s.take(s.a.Finish(s.now))
	equal(t, "the established one is still there, and complete", s.ended[0].Complete, true)
}

func TestTimeWaitIsWaitedOut(t *testing.T) {
	s := newStory(t, timeline.Options{WholeTimeWait: true})
	s.established(7)
	s.activeClose(7)
	s.wait(59 * sec)
	equal(t, "ended early", len(s.ended), 0)
	s.wait(2 * sec)
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE")
	equal(t, "2MSL", tl.Teardown.TimeWaitNS, timeline.Some(60*sec))
	equal(t, "ended", tl.End.Known, true)
}

// TestFINStartsTimeWaitAnew: RFC 9293, section 3.10.7.4.
func TestFINStartsTimeWaitAnew(t *testing.T) {
	s := newStory(t, timeline.Options{WholeTimeWait: true})
	s.established(7)
	s.activeClose(7)
	s.wait(30 * sec)
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+2, 1050)
	s.segment(events.KindTransmit, events.ACK, y+2, 1, 509)
	s.wait(31 * sec)
	equal(t, "ended early", len(s.ended), 0)
	s.wait(30 * sec)
	tl := s.only()
	equal(t, "FIN retransmits", tl.Teardown.FINRetransmits, 1)
	equal(t, "time-wait > 60 s", tl.Teardown.TimeWaitNS.Value > 89*sec, true)
}

// TestResetEndsTimeWait, before its line was written and after.
func TestResetEndsTimeWait(t *testing.T) {
	s := newStory(t, timeline.Options{WholeTimeWait: true})
	s.established(7)
	s.activeClose(7)
	s.segment(events.KindReceive, events.RST, 1, 0, 0)
	s.wait(sec)
	tl := s.only()
	equal(t, "state", tl.State, events.Close)
	equal(t, "kind is the close's", tl.Teardown.Kind, timeline.TeardownFourWay)

	s = newStory(t, timeline.Options{})
	s.established(7)
	s.activeClose(7)
	s.wait(sec)
	id := s.only().ID
	s.segment(events.KindReceive, events.RST, 1, 0, 0)
	s.wait(sec)
	if len(s.addenda) != 1 || s.addenda[0].ID != id || way(&s.addenda[0]) != "TIME_WAIT CLOSE" {
		t.Errorf("addenda: %+v", s.addenda)
	}
}

// TestOrphanInFinWait2 moves to a smaller socket: the kernel says CLOSE, but the peer's FIN is
// still to come.
func TestOrphanInFinWait2(t *testing.T) {
	open := func() *story {
		s := newStory(t, timeline.Options{})
		s.established(7)
		s.finWait2(7, events.NoteOrphan)
		s.state(7, events.FinWait2, events.Close, events.NoteOrphan)
		return s
	}
	s := open()
	s.wait(10 * sec)
	equal(t, "ended", len(s.ended), 0)
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+2, 1050)
	s.segment(events.KindTransmit, events.ACK, y+2, 1, 509)
	s.wait(2 * sec)
	equal(t, "way", way(s.only()), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")

	s = open()
	s.wait(61 * sec)
	s.wait(sec)
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
	equal(t, "kind", tl.Teardown.Kind, timeline.TeardownTimedOut)
}

// TestRefusedByTimeWait: a SYN that TIME_WAIT answers with an ACK opens nothing.
func TestRefusedByTimeWait(t *testing.T) {
	for _, linger := range []uint64{0, 100 * sec} {
		s := newStory(t, timeline.Options{Linger: linger})
		s.established(7)
		s.activeClose(7)
		s.wait(sec)
		s.segment(events.KindReceive, events.SYN, x, 0, 64240)
		s.segment(events.KindTransmit, events.ACK, y+2, 1, 509)
		s.take(s.a.Finish(s.now))
		id := s.only().ID
		told := s.addenda
		if linger > 0 {
			told = s.ended
		}
		equal(t, "told", len(told), 1)
		equal(t, "of", told[0].ID, id)
		n := len(told[0].Entries)
		equal(t, "SYN", told[0].Entries[n-2].Step, timeline.StepSYN)
		equal(t, "timelines", s.a.Stats().Timelines, 1)
	}
}

// TestTrafficSoFarIsASnapshots: the counters of the last change of state are not those of the end.
func TestTrafficSoFarIsASnapshots(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.take(s.a.Finish(s.now))
	equal(t, "traffic is known", s.only().Traffic.TxBytes.Known, false)
}

// TestSocketReused: where a socket's end was missed, its memory is another connection's next.
func TestSocketReused(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.port++
	s.established(7)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	for i, tl := range s.ended {
		equal(t, "way", way(&tl), "LISTEN SYN_RECV ESTABLISHED")
		equal(t, "complete", tl.Complete, i == 1)
	}
}

// TestUnconfirmedIsNotTold: SYNs that nothing here reacted to may have been forwarded.
func TestUnconfirmedIsNotTold(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.unconfirmedSYN()
	s.wait(60 * sec)
	s.wait(sec)
	equal(t, "told", len(s.ended), 0)
	equal(t, "timelines", s.a.Stats().Timelines, 0)

	s.unconfirmedSYN()
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "entries", len(tl.Entries), 4)
	equal(t, "SYN retransmits", tl.Handshake.SYNRetransmits, 1)
}

// TestTimeWaitsAreSmall: what is kept of 100,000 written connections in TIME_WAIT.
func TestTimeWaitsAreSmall(t *testing.T) {
	const n = 60000
	s := newStory(t, timeline.Options{})
	round := func(from, to uint16) {
		for s.port = from; s.port < to; s.port++ {
			s.established(7)
			s.activeClose(7)
			s.wait(100)
			s.ended = s.ended[:0]
		}
	}
	round(1, 100) // what is there once
	before := heap()
	round(100, n)
	each := (heap() - before) / (n - 100)
	t.Logf("%d bytes for each", each)
	if each > 600 {
		t.Errorf("%d bytes for each connection in TIME_WAIT, want at most 600", each)
	}
	runtime.KeepAlive(s)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestReuseAsTheLineFallsDue: the SYN-ACK that grants the ports of a connection in TIME_WAIT comes with the
// event at which its line is due: it is told once.
func TestReuseAsTheLineFallsDue(t *testing.T) {
	s := newStory(t, timeline.Options{Linger: 1500})
	s.established(7)
	s.activeClose(7)
	s.segment(events.KindReceive, events.SYN, x+100000, 0, 64240)
	equal(t, "told before it is due", len(s.ended), 0)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y+100000, x+100001, 65160)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	equal(t, "addenda", len(s.addenda), 1)
	if s.ended[0].ID == s.ended[1].ID {
		t.Errorf("timeline %d is told twice", s.ended[0].ID)
	}
}

// TestRedirectedToThisHost: the device has another name for the connection than its socket. Both ways it is one.
func TestRedirectedToThisHost(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160, mss1460scale7...)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	own := s.serverOf(8080)
	change := func(from, to events.State) {
		s.sendOf(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(from), NewState: uint8(to)}, own)
	}
	change(events.SynRecv, events.Established)
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
	change(events.Established, events.CloseWait)
	change(events.CloseWait, events.LastAck)
	s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 1, 509)
	s.segment(events.KindReceive, events.ACK, 1, y+2, 1050)
	change(events.LastAck, events.Close)
	s.wait(sec)
	tl := s.only()
	equal(t, "local port", tl.Local.Port(), 8080)
	equal(t, "states", way(tl), "LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE")
	equal(t, "complete", tl.Complete, true)
	equal(t, "teardown", tl.Teardown.Kind, timeline.TeardownThreeSegment)

	// The same of one that was there before.
	for _, c := range []struct {
		name   string
		ports  []uint16
		others uint32 // how far the second one's numbers are from the first one's
		want   int
	}{
		{"one", []uint16{8080}, 0, 1},
		{"two from that remote port", []uint16{8080, 81}, 1 << 31, 2},
		{"two from that remote port, of near numbers", []uint16{8080, 81}, 0, 3},
	} {
		s = newStory(t, timeline.Options{})
		for i, port := range c.ports {
			apart := uint32(i) * c.others
			s.heldAt(port, 7+uint64(i), 0, events.Established, none, gen.BPFEarlier{
				SndNxt: y + 1 + apart, SndUna: y + 1 + apart, RcvNxt: x + 1 + apart, Notes: uint8(gen.BPFEarlierNoteEARLIER_STEADY),
			})
		}
		s.segment(events.KindReceive, events.FIN|events.ACK, 1, y+1, 1050)
		change(events.Established, events.CloseWait)
		s.take(s.a.Finish(s.now))
		equal(t, c.name+": timelines", len(s.ended), c.want)
	}

	// Two are half open from the same remote port: which of them it is nobody knows.
	s = newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160, mss1460scale7...)
	other := own
	other.LocalPort = 81
	syn := gen.BPFEvent{Kind: uint8(events.KindReceive)}
	syn.Of.Segment.TcpHeader[12], syn.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN)
	s.sendOf(syn, other)
	syn.Kind, syn.Of.Segment.TcpHeader[13] = uint8(events.KindTransmit), byte(events.SYN|events.ACK)
	s.sendOf(syn, other)
	change(events.SynRecv, events.Established)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 3)
}

// TestTupleInUse: connect() fails where another connection has the tuple, and that goes on.
func TestTupleInUse(t *testing.T) {
	s := newStory(t, timeline.Options{})
	client := func(sock uint64, from, to events.State) {
		s.sendFromPeer(gen.BPFEvent{Kind: uint8(events.KindState), Sock: sock, OldState: uint8(from), NewState: uint8(to)})
	}
	client(7, events.Close, events.SynSent)
	answer := gen.BPFEvent{Kind: uint8(events.KindReceive)}
	answer.Of.Segment.TcpHeader[12], answer.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN|events.ACK)
	s.sendFromPeer(answer)
	client(7, events.SynSent, events.Established)
	client(8, events.Close, events.SynSent)
	client(8, events.SynSent, events.Close)
	s.wait(sec)
	tl := s.only()
	equal(t, "failed", way(tl), "CLOSE SYN_SENT CLOSE")
	equal(t, "its port", tl.Local.Port(), s.port)
	s.ended = nil
	client(7, events.Established, events.CloseWait)
	s.take(s.a.Finish(s.now))
	equal(t, "the other", way(s.only()), "CLOSE SYN_SENT ESTABLISHED CLOSE_WAIT")
	equal(t, "complete", s.only().Complete, true)
}

// TestDropIsOfItsSegment: what is dropped may be the same as a segment that was told and left, sent again.
func TestDropIsOfItsSegment(t *testing.T) {
	stamped := func(at byte) []byte { return []byte{1, 1, 8, 10, 0, 0, 0, at, 0, 0, 0, 0} }
	for _, c := range []struct {
		name    string
		after   uint64
		notes   events.Notes
		options []byte
		want    string
	}{
		{"the same", 0, 0, stamped(1), "drop"},
		{"before a device had it", 0, events.NoteUntold, stamped(1), "segment drop"},
		{"another timestamp", 0, 0, stamped(2), "segment drop"},
		{"a second later", sec, 0, stamped(1), "segment drop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			s.segment(events.KindTransmit, events.SYN, x, 0, 64240, stamped(1)...)
			s.wait(c.after)
			s.noted(events.KindDrop, events.NoteOutbound|c.notes, events.SYN, x, 0, 64240, c.options...)
			s.take(s.a.Finish(s.now))
			var got []string
			for _, e := range s.only().Entries {
				got = append(got, e.Type.String())
			}
			equal(t, "told", strings.Join(got, " "), c.want)
		})
	}
}

// TestBytesThatNeverLeft: the kernel counts what its own host drops as sent, and once more when it goes again.
func TestBytesThatNeverLeft(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.state(7, events.Established, events.CloseWait, 0)
	s.state(7, events.CloseWait, events.LastAck, 0)
	s.segment(events.KindTransmit, events.FIN|events.ACK, y+1+100, 0, 509) // after 100 bytes
	end := gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(events.LastAck), NewState: uint8(events.Close)}
	*(*gen.BPFChange)(unsafe.Pointer(&end.Of)) = gen.BPFChange{Counters: gen.BPFCounters{BytesSent: 160, BytesRetransmitted: 10}}
	s.send(end)
	s.wait(sec)
	equal(t, "sent before a FIN", s.only().Traffic.TxBytes, timeline.Some[uint64](100))

	for _, c := range []struct {
		name   string
		from   events.State
		fin    uint32 // after so many bytes; 0 none went
		sndNxt uint32
		want   uint64
	}{
		{"before a RST", events.Established, 0, y + 1 + 100, 100},
		{"not known", events.Established, 0, 0, 150},
		{"before a FIN that left, and a RST", events.FinWait1, 100, y + 1 + 101, 100},
		{"before a FIN that was dropped, and a RST", events.FinWait1, 100, y + 1 + 80, 80},
		{"before a FIN that was acknowledged", events.FinWait2, 100, 60000, 100}, // the time that it may last
	} {
		s = newStory(t, timeline.Options{})
		s.established(7)
		if c.fin != 0 {
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1+c.fin, 0, 509)
		}
		s.segment(events.KindReceive, events.RST, 0, 0, 0)
		end.OldState = uint8(c.from)
		(*gen.BPFChange)(unsafe.Pointer(&end.Of)).FinTimeoutOrSndNxt = c.sndNxt
		s.send(end)
		s.wait(sec)
		equal(t, "sent "+c.name, s.only().Traffic.TxBytes, timeline.Some(c.want))
	}
}

// TestDroppedAfterTheLine: what is dropped while TIME_WAIT lasts is a drop in its addendum, too.
func TestDroppedAfterTheLine(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.activeClose(7)
	s.wait(sec)
	s.segment(events.KindDrop, events.RST, 1, 0, 0)
	if len(s.addenda) != 1 || s.addenda[0].Entries[0].Type != timeline.EntryDrop || way(&s.addenda[0]) != "" {
		t.Errorf("addenda: %+v", s.addenda)
	}
}

// TestCookieIsForgotten: a SYN with another number, on the tuple of one that a cookie answered, is another connection.
func TestCookieIsForgotten(t *testing.T) {
	s := newStory(t, timeline.Options{})
	for _, isn := range []uint32{x, x + 1000} {
		s.segment(events.KindReceive, events.SYN, isn, 0, 64240)
		s.segment(events.KindReceive, events.SYN, isn, 0, 64240)
		s.noted(events.KindTransmit, events.NoteSYNCookie, events.SYN|events.ACK, y+isn, isn+1, 65160)
	}
	s.segment(events.KindReceive, events.ACK, x+1001, y+x+1001, 1050)
	s.state(7, events.SynRecv, events.Established, 0)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	equal(t, "first", way(&s.ended[0]), "LISTEN SYN_RECV CLOSE")
	equal(t, "first's outcome", s.ended[0].Handshake.Outcome, timeline.OutcomeTimedOut)
	equal(t, "second", way(&s.ended[1]), "LISTEN SYN_RECV ESTABLISHED")
	equal(t, "complete", s.ended[0].Complete && s.ended[1].Complete, true)
}

// TestOrphanMakesRoom: a new connection takes the place of an orphan in FIN_WAIT2, which ends with that.
func TestOrphanMakesRoom(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.finWait2(7, 0)
	s.state(7, events.FinWait2, events.Close, events.NoteOrphan)
	s.wait(sec)
	s.state(8, events.Close, events.SynSent, 0)
	synSent := gen.BPFEvent{Kind: uint8(events.KindTransmit), Sock: 8}
	copy(synSent.Of.Segment.TcpHeader[4:], []byte{0, 0, 1, 0})
	synSent.Of.Segment.TcpHeader[12], synSent.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN)
	s.send(synSent)
	tl := s.only()
	equal(t, "way", way(tl), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
	equal(t, "complete", tl.Complete && tl.End.Known, true)
}
