package output

import (
	"slices"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// Ladder is a connection as textbooks draw it: an end on each side, time downwards,
// an arrow for each segment. It is made once; Lines, SVG and Mermaid draw it.
type Ladder struct {
	// Ends are the left and the right one. An end without a Timeline is not on this
	// host (or was not seen): its states and times are not known.
	Ends [2]LadderEnd
	Rows []LadderRow
	// Start is when the first row was, in nanoseconds of CLOCK_BOOTTIME.
	Start uint64

	options *Options
}

// LadderEnd is one end of the connection.
type LadderEnd struct {
	// Name is its address and port; Who its process, as far as known, and its role.
	Name, Who string
	Timeline  *timeline.Timeline
}

// RowKind is what a row of a ladder is.
type RowKind uint8

const (
	// RowSegment is a segment from one end to the other.
	RowSegment RowKind = iota
	// RowDepart and RowArrive are one that something else happened in between of.
	RowDepart
	RowArrive
	// RowState is a change of state that no segment in the rows beside it caused or announces.
	RowState
	// RowFold stands for data.
	RowFold
	// RowGap is where events were lost.
	RowGap
	// RowWait is TIME_WAIT that went on when the ladder was drawn.
	RowWait
)

// Fate is what became of a segment.
type Fate uint8

const (
	// FateArrived: it arrived, or nobody here can know.
	FateArrived Fate = iota
	// FateDroppedOut and FateDroppedIn: this host's kernel threw it away, at its sender or its receiver.
	FateDroppedOut
	FateDroppedIn
	// FateLost: the other end, which is on this host too, never got it.
	FateLost
)

// LadderRow is one moment, or one segment.
type LadderRow struct {
	Kind RowKind
	// At is when it was (sent), and Since how long after the row before; nanoseconds
	// from the ladder's Start.
	At, Since uint64
	// States are those that the left and the right end entered here; nil: none.
	States [2]*timeline.Entry

	// Of a segment: who sent it (0 left, 1 right), what it was, as the end that saw it has it.
	From    int
	Segment *timeline.Entry
	Number  string // "1/3"
	Again   bool   // sent before
	Fate    Fate
	// DelayNS is how long it was on its way, where both ends are on this host.
	DelayNS timeline.Maybe[uint64]
	// Pair is the index of the row with the other half, of RowDepart and RowArrive.
	Pair int

	// Of a fold: payload bytes to the right and to the left, segments (0: not counted)
	// and segments sent again, and for how long.
	ToRight, ToLeft  uint64
	Segments, Resent uint64
	LastedNS         uint64

	// Side is the end that a state, a gap or TIME_WAIT is of.
	Side int
	Lost uint64 // events; 0: not known whose
}

// NewLadder makes the ladder of a timeline, the local end to the left. Where peer,
// the timeline of the other end, is given, the end that opened the connection is to the left.
// It points into both.
func NewLadder(t, peer *timeline.Timeline, o *Options) *Ladder {
	if peer != nil && (peer.Role == timeline.RoleClient && t.Role != timeline.RoleClient ||
		peer.Role == t.Role && peer.ID < t.ID) {
		t, peer = peer, t
	}
	l := &Ladder{options: o, Start: t.Start}
	l.Ends[0] = newEnd(t, o)
	if peer == nil {
		l.Ends[1] = farEnd(t)
	} else {
		l.Ends[1] = newEnd(peer, o)
		l.Start = min(t.Start, peer.Start)
	}
	l.Rows = collapse(l.moments())
	l.fold()
	l.wait()
	l.number()
	return l
}

func newEnd(t *timeline.Timeline, o *Options) LadderEnd {
	e := LadderEnd{Name: t.Local.String(), Timeline: t}
	var b []byte
	if p := &t.Process; p.Source != events.SourceUnknown {
		b, _ = appendClean(b, []byte(human.Process(p.Comm.String(), p.PID)), 0)
	}
	e.Who = join(string(b), roleWord(t.Role))
	return e
}

// farEnd is the other end of a timeline, of which only its part is known.
func farEnd(t *timeline.Timeline) LadderEnd {
	e := LadderEnd{Name: t.Remote.String()}
	switch t.Role {
	case timeline.RoleClient:
		e.Who = roleWord(timeline.RoleServer)
	case timeline.RoleServer:
		e.Who = roleWord(timeline.RoleClient)
	}
	return e
}

func roleWord(r timeline.Role) string {
	if r == timeline.RoleClient || r == timeline.RoleServer {
		return r.String()
	}
	return ""
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// moment is something that happened at one end.
type moment struct {
	at    uint64
	side  int
	entry *timeline.Entry
	other int // the moment at which the same segment left, or reached, the other end; -1: none
}

func (m *moment) sent() bool    { return m.entry.Dir == timeline.Tx }
func (m *moment) segment() bool { return m.entry.Dir != 0 }

// sender is the end that sent a segment.
func (m *moment) sender() int {
	if m.sent() {
		return m.side
	}
	return 1 - m.side
}

// segmentKey is what a segment has in common at both ends, though data be cut or joined on its way.
type segmentKey struct {
	sender   int
	flags    events.Flags
	end, ack uint32
	stamp    uint32 // tells a segment from the same sent again
}

func (m *moment) key() segmentKey {
	e := m.entry
	k := segmentKey{sender: m.sender(), flags: e.Flags & (events.SYN | events.FIN | events.RST | events.ACK), end: e.Seq + e.Len}
	if e.Flags.Has(events.ACK) {
		k.ack = e.Ack
	}
	if e.Options.Present.Has(events.OptionTimestamps) {
		k.stamp = e.Options.TSVal
	}
	return k
}

// moments are those of both ends in order of time, the same segment's paired.
func (l *Ladder) moments() []moment {
	var all []moment
	for side := range l.Ends {
		t := l.Ends[side].Timeline
		if t == nil {
			continue
		}
		for i := range t.Entries {
			e := &t.Entries[i]
			all = append(all, moment{at: e.Time, side: side, entry: e, other: -1})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	if l.Ends[1].Timeline == nil {
		return all
	}
	left := make(map[segmentKey][]int) // sent and not yet arrived
	for i := range all {
		m := &all[i]
		switch {
		case !m.segment(), m.sent() && m.entry.Type == timeline.EntryDrop:
		case m.sent():
			left[m.key()] = append(left[m.key()], i)
		default:
			// The latest: an earlier one of the same was lost.
			if waiting := left[m.key()]; len(waiting) > 0 {
				j := waiting[len(waiting)-1]
				left[m.key()] = waiting[:len(waiting)-1]
				m.other, all[j].other = j, i
			}
		}
	}
	return all
}

// number gives the steps their numbers, the fates and the times since the row before.
func (l *Ladder) number() {
	n := newNumbering(l.numbered())
	before := uint64(0)
	for i := range l.Rows {
		r := &l.Rows[i]
		r.At -= min(r.At, l.Start)
		r.Since = r.At - min(r.At, before)
		before = max(before, r.At)
		switch r.Kind {
		case RowSegment, RowDepart:
			e := *r.Segment
			e.Dir = timeline.Tx
			if r.From == 1 {
				e.Dir = timeline.Rx
			}
			r.Number, r.Again = n.of(&e)
			if r.Kind == RowDepart {
				l.Rows[r.Pair].Number, l.Rows[r.Pair].Again = r.Number, r.Again
			}
			l.lost(r)
		}
	}
}

// numbered is the timeline that knows best how the connection was closed.
func (l *Ladder) numbered() *timeline.Timeline {
	t := l.Ends[0].Timeline
	if peer := l.Ends[1].Timeline; peer != nil && t.Teardown.Kind == timeline.TeardownNone {
		return peer
	}
	return t
}

// lost marks a segment that the other end should have seen and did not. Of those without
// a step, data above all, an end does not tell each.
func (l *Ladder) lost(r *LadderRow) {
	receiver := l.Ends[1-r.From].Timeline
	e := r.Segment
	if receiver == nil || l.Ends[r.From].Timeline == nil || r.Kind != RowSegment || r.Fate != FateArrived || r.DelayNS.Known ||
		e.Dir != timeline.Tx || !receiver.Complete || len(receiver.Entries) == 0 {
		return
	}
	switch e.Step {
	case timeline.StepSYN, timeline.StepSYNACK, timeline.StepFIN, timeline.StepRST:
	default:
		return
	}
	seen := receiver.Entries[len(receiver.Entries)-1].Time // until then it tells of all there was
	if receiver.State != events.Close {
		seen = max(seen, receiver.WrittenAt-min(receiver.WrittenAt, together))
	}
	if e.Time < seen {
		r.Fate = FateLost
	}
}
