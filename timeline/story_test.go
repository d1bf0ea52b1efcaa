package timeline_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// story makes events by hand, of a server end 192.0.2.2:80 with clients of 192.0.2.1, and
// sends them to an Assembler.
type story struct {
	t    *testing.T
	a    *timeline.Assembler
	now  uint64
	port uint16
	// ended are the timelines told so far, as they were then.
	ended   []timeline.Timeline
	addenda []timeline.Timeline
	entries int // told
}

func newStory(t *testing.T, o timeline.Options) *story {
	return &story{t: t, a: timeline.New(o), now: uint64(time.Hour), port: 40000}
}

const sec = uint64(time.Second)

func (s *story) take(updates []timeline.Update) {
	for _, u := range updates {
		copied := *u.Timeline
		copied.Entries = slices.Clone(u.Timeline.Entries)
		copied.Findings = slices.Clone(u.Timeline.Findings)
		copied.History = slices.Clone(u.Timeline.History)
		switch u.Kind {
		case timeline.UpdateEntry:
			s.entries++
		case timeline.UpdateEnd:
			s.ended = append(s.ended, copied)
		case timeline.UpdateAddendum:
			s.addenda = append(s.addenda, copied)
		}
	}
}

var serverAddr, clientAddr = netip.MustParseAddr("::ffff:192.0.2.2").As16(), netip.MustParseAddr("::ffff:192.0.2.1").As16()

func (s *story) send(r gen.BPFEvent) { s.sendOf(r, s.serverOf(80)) }

// serverOf is the server's end at that port.
func (s *story) serverOf(port uint16) gen.BPFTuple {
	return gen.BPFTuple{LocalAddr: serverAddr, RemoteAddr: clientAddr, LocalPort: port, RemotePort: s.port, Netns: 1}
}

// sendFromPeer is an event of the client's end, on this host too.
func (s *story) sendFromPeer(r gen.BPFEvent) {
	s.sendOf(r, gen.BPFTuple{LocalAddr: clientAddr, RemoteAddr: serverAddr, LocalPort: s.port, RemotePort: 80, Netns: 1})
}

func (s *story) sendOf(r gen.BPFEvent, tuple gen.BPFTuple) {
	s.now += 1000
	s.sendLate(r, tuple, s.now)
}

// sendLate is an event of a time that may have passed.
func (s *story) sendLate(r gen.BPFEvent, tuple gen.BPFTuple, at uint64) {
	r.TimeNs = at
	r.Family = 4
	r.Tuple = tuple
	e := events.View(unsafe.Slice((*byte)(unsafe.Pointer(&r)), events.Size))
	if e == nil {
		s.t.Fatal("not an event")
	}
	s.take(s.a.Add(e))
}

// wait lets time pass in which nothing happens.
func (s *story) wait(d uint64) {
	s.now += d
	s.take(s.a.Advance(s.now))
}

func (s *story) segment(kind events.Kind, flags events.Flags, seq, ack uint32, window uint16, options ...byte) {
	s.noted(kind, 0, flags, seq, ack, window, options...)
}

// noted is a segment with notes.
func (s *story) noted(kind events.Kind, notes events.Notes, flags events.Flags, seq, ack uint32, window uint16, options ...byte) {
	r := gen.BPFEvent{Kind: uint8(kind), Notes: uint8(notes)}
	h := r.Of.Segment.TcpHeader[:]
	h[4], h[5], h[6], h[7] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
	h[8], h[9], h[10], h[11] = byte(ack>>24), byte(ack>>16), byte(ack>>8), byte(ack)
	h[12] = byte(5+len(options)/4) << 4
	h[13] = byte(flags)
	h[14], h[15] = byte(window>>8), byte(window)
	copy(h[20:], options)
	s.send(r)
}

func (s *story) state(sock uint64, from, to events.State, notes events.Notes) {
	s.send(gen.BPFEvent{Kind: uint8(events.KindState), Sock: sock, OldState: uint8(from), NewState: uint8(to), Notes: uint8(notes)})
}

// The sequence numbers wrap within each connection: x+1 and y+1 are small.
var x, y uint32 = 0xffffffff, 0xfffffffe

var mss1460scale7 = []byte{2, 4, 5, 0xb4, 1, 3, 3, 7}

// established is a connection until the third ACK.
func (s *story) established(sock uint64) {
	s.segment(events.KindReceive, events.SYN, x, 0, 64240, mss1460scale7...)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160, mss1460scale7...)
	s.segment(events.KindReceive, events.ACK, 0, y+1, 1050)
	s.state(sock, events.SynRecv, events.Established, 0)
}

// finWait2: this end closes first, and the other has taken that; notes are of the last change.
func (s *story) finWait2(sock uint64, notes events.Notes) {
	s.state(sock, events.Established, events.FinWait1, 0)
	s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
	s.segment(events.KindReceive, events.ACK, 0, y+2, 1050)
	s.state(sock, events.FinWait1, events.FinWait2, notes)
}

// activeClose: this end closes first, up to TIME_WAIT.
func (s *story) activeClose(sock uint64) {
	s.finWait2(sock, 0)
	s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+2, 1050)
	s.segment(events.KindTransmit, events.ACK, y+2, 1, 509)
	s.state(sock, events.FinWait2, events.Close, events.NoteFINReceived)
}

func (s *story) only() *timeline.Timeline {
	s.t.Helper()
	if len(s.ended) != 1 {
		s.t.Fatalf("%d timelines ended, want 1", len(s.ended))
	}
	return &s.ended[0]
}

// way is the way through the states.
func way(tl *timeline.Timeline) string {
	var all []string
	for _, e := range tl.Entries {
		if e.Type == timeline.EntryState {
			if len(all) == 0 {
				all = append(all, e.From.String())
			}
			all = append(all, e.To.String())
		}
	}
	return strings.Join(all, " ")
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (s *story) unconfirmedSYN() { s.send(unconfirmed()) }

// unconfirmed is a SYN that may be for another host.
func unconfirmed() gen.BPFEvent {
	r := gen.BPFEvent{Kind: uint8(events.KindReceive), Notes: uint8(events.NoteUnconfirmed)}
	copy(r.Of.Segment.TcpHeader[4:], []byte{0xff, 0xff, 0xff, 0xff})
	r.Of.Segment.TcpHeader[12], r.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN)
	return r
}
