package output

import (
	"slices"

	"tcptrace/events"
	"tcptrace/timeline"
)

// collapse makes rows of moments: a segment's leaving and arriving are one where nothing
// happened in between, and a state stands beside the segment that brought it or that announces it.
func collapse(all []moment) []LadderRow {
	var rows []LadderRow
	at := make([]int, len(all)) // of each moment, its row
	var changes []int           // moments
	for i := range all {
		m := &all[i]
		switch {
		case m.entry.Type == timeline.EntryGap:
			rows = append(rows, LadderRow{Kind: RowGap, At: m.at, Side: m.side, Lost: m.entry.Lost})
		case !m.segment():
			r := LadderRow{Kind: RowState, At: m.at, Side: m.side}
			r.States[m.side] = m.entry
			changes = append(changes, len(rows))
			rows = append(rows, r)
		case !m.sent() && m.other >= 0 && rows[at[m.other]].Kind == RowSegment:
			at[i] = at[m.other] // in the row of its leaving
			continue
		default:
			rows = append(rows, segmentRow(all, i))
			if k := m.other; !m.sent() && k >= 0 {
				rows[at[k]].Pair, rows[len(rows)-1].Pair = len(rows)-1, at[k]
			}
		}
		at[i] = len(rows) - 1
	}
	gone := make([]bool, len(rows))
	for _, i := range changes {
		gone[i] = beside(rows, gone, i)
	}
	return without(rows, gone)
}

// segmentRow is the row of a moment at which a segment left or arrived.
func segmentRow(all []moment, i int) LadderRow {
	m := &all[i]
	r := LadderRow{Kind: RowSegment, At: m.at, From: m.sender(), Segment: m.entry}
	if m.entry.Type == timeline.EntryDrop {
		r.Fate = FateDroppedIn
		if m.sent() {
			r.Fate = FateDroppedOut
		}
	}
	if m.other < 0 {
		return r
	}
	from, to := m, &all[m.other]
	if !m.sent() {
		from, to = to, from
		r.Kind = RowArrive
	} else if between := all[i+1 : m.other]; slices.ContainsFunc(between, func(b moment) bool { return b.segment() || b.side != m.side }) {
		r.Kind = RowDepart
	}
	r.DelayNS = timeline.Some(to.at - from.at)
	if to.entry.Type == timeline.EntryDrop {
		r.Fate = FateDroppedIn
		if r.Kind != RowDepart {
			drop := *from.entry
			drop.DropReason = to.entry.DropReason
			r.Segment = &drop
		}
	}
	return r
}

// together is how near in time a state and a segment are that stand in one row.
const together = 10e6 // nanoseconds

// beside moves a change of state to the segment that belongs to it, and tells whether there was one.
func beside(rows []LadderRow, gone []bool, i int) bool {
	change := &rows[i]
	side, e := change.Side, change.States[change.Side]
	fits := func(j int) bool {
		r := &rows[j]
		if r.Segment == nil || r.States[side] != nil {
			return false
		}
		later, earlier := max(r.At, change.At), min(r.At, change.At)
		if r.Kind == RowSegment && r.From != side && change.At > r.At {
			earlier += min(r.DelayNS.Value, later-earlier)
		}
		return later-earlier <= together
	}
	leaves := func(r *LadderRow) bool { return r.From == side && r.Kind != RowArrive }
	arrives := func(r *LadderRow) bool {
		return r.From != side && r.Kind != RowDepart && (r.Fate == FateArrived || e.To == events.SynRecv)
	}
	announced := announced(e)
	if !announced {
		for j := i - 1; j >= 0; j-- {
			if r := &rows[j]; r.Segment != nil && (arrives(r) || e.To == events.TimeWait && leaves(r)) {
				if fits(j) && !between(rows, j, i, side) {
					rows[j].States[side] = e
					return true
				}
				break
			}
		}
	}
	for j := i + 1; j < len(rows); j++ {
		if gone[j] {
			continue
		}
		r := &rows[j]
		if r.Kind == RowState && r.Side == side || r.Kind == RowGap {
			break
		}
		if r.Segment == nil || !leaves(r) && !arrives(r) {
			continue
		}
		if (announced && leaves(r) || !announced && arrives(r) && r.At == change.At) && fits(j) {
			rows[j].States[side] = e
			return true
		}
		break
	}
	return false
}

// announced tells whether a state is entered before the segment that belongs to it is sent.
func announced(e *timeline.Entry) bool {
	switch e.To {
	case events.SynSent, events.FinWait1, events.LastAck:
		return true
	}
	return e.To == events.Close && e.PID != 0
}

// between tells whether the end entered another state between two rows.
func between(rows []LadderRow, j, i, side int) bool {
	for k := j + 1; k < i; k++ {
		if rows[k].States[side] != nil {
			return true
		}
	}
	return false
}

// without leaves rows out, and keeps the halves of segments pointing at one another.
func without(rows []LadderRow, gone []bool) []LadderRow {
	moved := make([]int, len(rows))
	n := 0
	for i := range rows {
		moved[i] = n
		if !gone[i] {
			n++
		}
	}
	kept := make([]LadderRow, 0, n+2)
	for i := range rows {
		if gone[i] {
			continue
		}
		if r := &rows[i]; r.Kind == RowDepart || r.Kind == RowArrive {
			r.Pair = moved[r.Pair]
		}
		kept = append(kept, rows[i])
	}
	return kept
}

// insert puts a row before another.
func (l *Ladder) insert(i int, r LadderRow) {
	for j := range l.Rows {
		if o := &l.Rows[j]; (o.Kind == RowDepart || o.Kind == RowArrive) && o.Pair >= i {
			o.Pair++
		}
	}
	l.Rows = slices.Insert(l.Rows, i, r)
}

// longRun is how many segments of data make a run that is folded.
const longRun = 5

// fold puts one row in the place of data: of the segments that were told, where they are
// many, else before the close of what the sockets counted.
func (l *Ladder) fold() {
	told := false
	gone := make([]bool, len(l.Rows))
	for i := 0; i < len(l.Rows); i++ {
		j := i
		for j < len(l.Rows) && plainData(&l.Rows[j]) {
			told = told || l.Rows[j].Segment.Len > 0
			j++
		}
		if j-i < longRun {
			i = max(i, j-1)
			continue
		}
		f := LadderRow{Kind: RowFold, At: l.Rows[i].At, LastedNS: l.Rows[j-1].At - l.Rows[i].At}
		for k := i; k < j; k++ {
			r := &l.Rows[k]
			gone[k] = k > i
			if r.Kind == RowArrive {
				continue
			}
			f.Segments++
			if r.From == 0 {
				f.ToRight += uint64(r.Segment.Len)
			} else {
				f.ToLeft += uint64(r.Segment.Len)
			}
		}
		l.Rows[i] = f
		i = j - 1
	}
	l.Rows = without(l.Rows, gone)
	if !told {
		l.foldCounted()
	}
}

// plainData is a row with a segment of neither handshake nor close, sent and received once.
func plainData(r *LadderRow) bool {
	return r.Segment != nil && r.Segment.Step == timeline.StepNone && !r.Segment.Retransmit &&
		(r.Fate == FateArrived) && r.States == [2]*timeline.Entry{}
}

// foldCounted is for data of which only the sockets' counters tell.
func (l *Ladder) foldCounted() {
	t, right := l.Ends[0].Timeline, false
	if peer := l.Ends[1].Timeline; peer != nil && !t.Traffic.TxBytes.Known {
		t, right = peer, true
	}
	c := &t.Traffic
	f := LadderRow{Kind: RowFold, ToRight: c.TxBytes.Value, ToLeft: c.RxBytes.Value}
	if right {
		f.ToRight, f.ToLeft = f.ToLeft, f.ToRight
	}
	h := &t.Handshake
	if f.ToRight+f.ToLeft == 0 || h.Outcome != timeline.OutcomeEstablished && h.Outcome != timeline.OutcomeUnobserved {
		return
	}
	if control := uint64(h.SYNRetransmits + h.SYNACKRetransmits + t.Teardown.FINRetransmits); c.Retransmits.Value > control {
		f.Resent = c.Retransmits.Value - control
	}
	i := slices.IndexFunc(l.Rows, func(r LadderRow) bool {
		return r.Segment != nil && closes(r.Segment) ||
			slices.ContainsFunc(r.States[:], func(e *timeline.Entry) bool { return e != nil && closes(e) })
	})
	until := t.WrittenAt
	if i < 0 {
		i = len(l.Rows)
	} else {
		until = l.Rows[i].At
	}
	f.At = t.Start
	if i > 0 {
		f.At = l.Rows[i-1].At
	}
	f.LastedNS = until - min(until, f.At)
	l.insert(i, f)
}

// wait ends the ladder with TIME_WAIT, where that went on.
func (l *Ladder) wait() {
	for side := range l.Ends {
		t := l.Ends[side].Timeline
		if t == nil || t.State != events.TimeWait {
			continue
		}
		since := uint64(0)
		for i := range t.Entries {
			if e := &t.Entries[i]; e.Type == timeline.EntryState && e.To == events.TimeWait {
				since = e.Time
			}
		}
		r := LadderRow{Kind: RowWait, Side: side, At: max(t.WrittenAt, since), LastedNS: max(t.WrittenAt, since) - since}
		l.Rows = append(l.Rows, r)
	}
}
