package output

import (
	"testing"

	"tcptrace/events"
	"tcptrace/timeline"
)

func TestHappened(t *testing.T) {
	o := &Options{DropReason: func(uint32) string { return "NETFILTER_DROP" }}
	for _, c := range []struct {
		entry timeline.Entry
		room  int
		want  string
	}{
		{timeline.Entry{Type: timeline.EntryState, To: events.CloseWait}, 20, "-> CLOSE_WAIT"},
		{timeline.Entry{Type: timeline.EntrySegment, Dir: timeline.Tx, Flags: events.SYN}, 20, "> SYN"},
		{timeline.Entry{Type: timeline.EntrySegment, Dir: timeline.Rx, Flags: events.SYN, Retransmit: true}, 20, "< SYN     retrans"},
		{timeline.Entry{Type: timeline.EntryDrop, Dir: timeline.Rx, Flags: events.SYN, DropReason: 8}, 40, "DROP rx SYN NETFILTER_DROP"},
		{timeline.Entry{Type: timeline.EntryDrop, Dir: timeline.Rx, Flags: events.SYN, DropReason: 8}, 16, "DROP rx SYN NET~"},
		{timeline.Entry{Type: timeline.EntryGap, Lost: 1}, 20, "GAP 1 event lost"},
		{timeline.Entry{}, 20, ""},
	} {
		if got := Happened(&c.entry, c.room, o); got != c.want {
			t.Errorf("%+v in %d columns: %q, want %q", c.entry, c.room, got, c.want)
		}
	}
}

func TestCleanKeepsTheTerminalSafe(t *testing.T) {
	if got, want := Clean("a\x1b[2Jb", 0), `a\x1b[2Jb`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := Clean("abcdef", 4), "abc~"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRetransmitsWithoutASocket: a half-open server side has no counter, and sends its SYN-ACK again.
func TestRetransmitsWithoutASocket(t *testing.T) {
	var s sums
	again := timeline.Entry{Type: timeline.EntrySegment, Dir: timeline.Tx, Step: timeline.StepSYNACK, Retransmit: true}
	received := timeline.Entry{Type: timeline.EntrySegment, Dir: timeline.Rx, Step: timeline.StepSYN, Retransmit: true}
	s.add(&timeline.Timeline{Entries: []timeline.Entry{again, again, received}})
	s.add(&timeline.Timeline{Entries: []timeline.Entry{again}, Traffic: timeline.Traffic{Retransmits: timeline.Some(uint64(4))}})
	if s.retransmits != 6 {
		t.Errorf("%d retransmits, want 6", s.retransmits)
	}
}

func TestLife(t *testing.T) {
	dropped := timeline.Timeline{Start: 5, State: events.Close, Entries: []timeline.Entry{{Time: 5, Type: timeline.EntryDrop}}}
	if ns, ok := life(&dropped); ok {
		t.Errorf("one SYN that was dropped: a life of %d ns", ns)
	}
	dropped.Entries = append(dropped.Entries, timeline.Entry{Time: 7, Type: timeline.EntryDrop})
	if ns, ok := life(&dropped); !ok || ns != 2 {
		t.Errorf("two: %d ns, known %v", ns, ok)
	}
	refused := timeline.Timeline{Start: 5, State: events.Close, End: timeline.Some(uint64(5)), Entries: []timeline.Entry{{Time: 5}}}
	if ns, ok := life(&refused); !ok || ns != 0 {
		t.Errorf("refused at once: %d ns, known %v", ns, ok)
	}
}
