// Package live is the live view: a model that is told what happens and which keys are pressed,
// and says what the screen shows. It knows no terminal and no clock; who draws it decides when.
package live

import (
	"iter"
	"slices"
	"time"

	"tcptrace/events"
	"tcptrace/output"
	"tcptrace/timeline"
)

// Options of a Model.
type Options struct {
	// Output is what ladders, explanations and JSON are written with. Its Color and ASCII are those
	// of the whole screen.
	Output output.Options
	// Find fills in a timeline's Findings; nil: it has none.
	Find func(*timeline.Timeline)
	// CloseWait is how long, in nanoseconds, CLOSE_WAIT and FIN_WAIT2 may last.
	CloseWait uint64
	// Filter and Attached say in words what is traced, and how.
	Filter, Attached string
	// Begin is when the tracing began, nanoseconds of CLOCK_BOOTTIME.
	Begin uint64
}

// Facts are what the model cannot know from updates.
type Facts struct {
	// Now is nanoseconds of CLOCK_BOOTTIME.
	Now uint64
	// Open are the connections that are watched, their IDs rising. They are valid until the next
	// change, and what is shown of them is read until the next Gather: if one has another ID by then, it is gone.
	Open iter.Seq[*timeline.Timeline]
	// Waiting is how many are in TIME_WAIT beside those.
	Waiting int
	// Lost is how many events were lost or missed so far.
	Lost uint64
}

// Model is the live view. It serves one goroutine.
type Model struct {
	o             Options
	width, height int

	rates  rates
	head   figures
	states [events.NewSynRecv + 1]int
	lost   uint64
	now    uint64 // of the last Gather

	live, before []row // by ID; before is the memory of the Gather before the last
	failed       ended
	closed       ended
	order        []*row           // what the table shows, all of it
	sections     [classes]int     // how many connections each has
	hidden       int              // kinds of failures that there is no room for
	alike        map[likeness]int // where in order those that failed are
	match        matcher

	sort         Sort
	failuresOnly bool
	filter       string
	typing       bool
	paused       bool

	selected uint64 // ID, 0: whatever is first
	index    int    // where that was in order
	top      int    // first line of the table that is shown

	page    page
	offset  int                // first line of the page that is shown
	subject *timeline.Timeline // what a ladder or an explanation is of
	message string
}

// page is what is shown below the head.
type page uint8

const (
	pageTable page = iota
	pageLadder
	pageExplain
	pageHelp
)

// New is a Model of a screen of 80 x 24.
func New(o Options) *Model {
	m := &Model{o: o, width: 80, height: 24, alike: map[likeness]int{}}
	m.rates.begun = o.Begin
	m.now = o.Begin
	m.failed = ended{stays: failedStays, most: failedMost}
	m.closed = ended{stays: closedStays, most: closedMost}
	return m
}

// ended are connections that have been told and stay on the screen for a while.
type ended struct {
	rows  []*row // oldest first
	stays uint64
	most  int
	last  uint64
	more  int // that there was no room for, of late
}

// expire forgets those that have stayed long enough.
func (e *ended) expire(now uint64) {
	n := 0
	for n < len(e.rows) && e.rows[n].t.WrittenAt+e.stays < now {
		n++
	}
	e.rows = slices.Delete(e.rows, 0, n)
	if n > 0 {
		e.more = 0
	}
}

// add keeps a copy. Where there is no room the oldest goes, but only so often: a flood of them is
// not read anyway, and to copy each would cost more than to trace it.
func (e *ended) add(t *timeline.Timeline, c class) {
	if len(e.rows) >= e.most {
		e.more++
		if t.WrittenAt-e.last < uint64(10*time.Millisecond) {
			return
		}
		e.rows = slices.Delete(e.rows, 0, 1)
	}
	e.last = t.WrittenAt
	e.rows = append(e.rows, &row{id: t.ID, t: t.Clone(), own: true, class: c, since: t.StateSince()})
}

// Update takes what the state machine tells, its entries too. It keeps nothing of it.
func (m *Model) Update(u *timeline.Update) {
	switch u.Kind {
	case timeline.UpdateEntry:
		m.entry(u.Timeline, u.Entry)
	case timeline.UpdateEnd:
		m.end(u.Timeline)
	}
}

func (m *Model) entry(t *timeline.Timeline, e *timeline.Entry) {
	switch {
	case e.Type == timeline.EntryState && (e.To == events.SynSent || e.To == events.SynRecv && e.From != events.SynSent):
		m.rates.add(e.Time, opens, 1)
	case e.Type != timeline.EntrySegment:
	case e.Retransmit && e.Dir == timeline.Tx:
		m.rates.add(e.Time, retransmits, 1)
	case e.Step == timeline.StepSYNACK && e.Dir == timeline.Rx, e.Step == timeline.StepACK && e.Dir == timeline.Rx:
		if ns, ok := sinceSYN(t, e); ok {
			m.rates.handshake(e.Time, ns)
		}
	}
}

// sinceSYN is how long a handshake took that this segment completes at this end.
func sinceSYN(t *timeline.Timeline, e *timeline.Entry) (ns uint64, ok bool) {
	syn := timeline.Tx // a client's, until its answer
	if e.Step == timeline.StepACK {
		syn = timeline.Rx
	}
	for i := range t.Entries {
		if s := &t.Entries[i]; s.Step == timeline.StepSYN && s.Dir == syn {
			return e.Time - min(e.Time, s.Time), true
		}
	}
	return 0, false
}

func (m *Model) end(t *timeline.Timeline) {
	c := endedClass(t)
	o := t.Handshake.Outcome
	if c == failed && o != timeline.OutcomeEstablished && o != timeline.OutcomeUnobserved {
		m.rates.add(t.WrittenAt, failures, 1)
	}
	if t.Teardown.Kind == timeline.TeardownReset {
		m.rates.add(t.WrittenAt, resets, 1)
	}
	if n := t.Traffic.Retransmits; n.Known && n.Value > 0 {
		again := ofData(t, uint32(n.Value))
		r := m.open(t.ID)
		if r != nil {
			again -= min(again, r.retransmits)
		}
		if t.Complete || r != nil && r.sampledAt != 0 { // else some may be of before the tracing
			m.rates.add(t.WrittenAt, retransmits, uint64(again))
		}
	}
	if c == failed {
		m.failed.add(t, c)
	} else {
		m.closed.add(t, c)
	}
}

// ofData is how many of a socket's retransmissions no entry tells of.
func ofData(t *timeline.Timeline, total uint32) uint32 { return total - min(total, t.SentAgain()) }

// open is the row of a connection that is watched, as of the last Gather; nil where there is none.
func (m *Model) open(id uint64) *row {
	i, found := slices.BinarySearchFunc(m.live, id, func(r row, id uint64) int {
		switch {
		case r.id < id:
			return -1
		case r.id > id:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &m.live[i]
}

// Gather looks at all that is open and puts the table in order. It takes the longer the more
// there is, some 100 ns for each.
func (m *Model) Gather(f Facts) {
	m.lost = f.Lost
	m.failed.expire(f.Now)
	m.closed.expire(f.Now)
	if m.paused {
		return
	}
	m.now = f.Now
	m.states = [len(m.states)]int{events.TimeWait: f.Waiting}
	m.before, m.live = m.live, m.before[:0]
	old := m.before
	for t := range f.Open {
		for len(old) > 0 && old[0].id < t.ID {
			old = old[1:]
		}
		r := row{id: t.ID, t: t, class: open}
		if len(old) > 0 && old[0].id == t.ID {
			r = old[0]
		}
		if again := r.look(f.Now, m.o.CloseWait); again > 0 {
			m.rates.add(f.Now, retransmits, uint64(again))
		}
		m.states[min(int(t.State), len(m.states)-1)]++
		m.live = append(m.live, r)
	}
	m.head = m.rates.figures(f.Now)
	m.arrange()
}

// arrange makes order of the rows that the filter leaves.
func (m *Model) arrange() {
	m.match.set(m.filter)
	m.order = m.order[:0]
	m.sections = [classes]int{}
	for i := range m.live {
		m.place(&m.live[i])
	}
	if m.sort == SortMatter {
		m.placeAlike(m.failed.rows)
	} else {
		for _, r := range m.failed.rows {
			m.place(r)
		}
	}
	for _, r := range m.closed.rows {
		m.place(r)
	}
	slices.SortFunc(m.order, m.sort.order)
	m.curb()
	m.settle()
}

// curb leaves room for what is open: of many kinds of failures only those that there are most of.
func (m *Model) curb() {
	m.hidden = 0
	if m.sort != SortMatter || m.failuresOnly {
		return
	}
	kinds, open := 0, len(m.order)
	for i, r := range m.order {
		if r.class == failed {
			kinds = i + 1
		}
		if r.class == closed {
			open = i
			break
		}
	}
	if most := max(3, m.room()/3); kinds > most && open > kinds {
		for i := most; i < kinds; i++ {
			if m.order[i].id == m.selected {
				m.order[most-1], m.order[i] = m.order[i], m.order[most-1]
			}
		}
		m.order = slices.Delete(m.order, most, kinds)
		m.hidden = kinds - most
	}
}

// place adds a row to the order, unless it is filtered out.
func (m *Model) place(r *row) {
	r.times, r.processes = 1, false
	if m.wanted(r) {
		m.sections[r.class]++
		m.order = append(m.order, r)
	}
}

func (m *Model) wanted(r *row) bool {
	switch {
	case m.failuresOnly && r.class > resending, !r.there():
		return false
	case m.match.matches(r.t):
		return true
	}
	// What is open has findings only when it is looked at.
	return !r.own && m.match.asksForFindings() && m.match.matches(m.copyOf(r))
}

// placeAlike adds one row for all that are alike: the newest, unless another of them is selected.
func (m *Model) placeAlike(rows []*row) {
	clear(m.alike)
	for _, r := range slices.Backward(rows) {
		r.times, r.processes = 1, false
		if !m.wanted(r) {
			continue
		}
		m.sections[r.class]++
		key := r.likeness()
		i, known := m.alike[key]
		if !known {
			m.alike[key] = len(m.order)
			m.order = append(m.order, r)
			continue
		}
		first := m.order[i]
		first.times++
		first.processes = first.processes || first.t.Process.PID != r.t.Process.PID
		if r.id == m.selected {
			r.times, r.processes = first.times, first.processes
			m.order[i] = r
		}
	}
}

// settle finds the selected row again, or, where it has gone, takes what is in its place now.
func (m *Model) settle() {
	if m.selected == 0 {
		m.index = 0
		return
	}
	if m.index < len(m.order) && m.order[m.index].id == m.selected {
		return
	}
	if i := slices.IndexFunc(m.order, func(r *row) bool { return r.id == m.selected }); i >= 0 {
		m.index = i
		return
	}
	m.index = max(0, min(m.index, len(m.order)-1))
	if len(m.order) > 0 {
		m.selected = m.order[m.index].id
	}
}

// heldMost is how many rows can be looked at while the view is paused.
const heldMost = 2000

// pause keeps what the screen shows, and what is near it, as it is.
func (m *Model) pause() {
	m.paused = true
	from := max(0, min(m.index-heldMost/2, len(m.order)-heldMost))
	held := make([]row, 0, min(heldMost, len(m.order)))
	for _, r := range m.order[from:min(from+heldMost, len(m.order))] {
		if t := m.copyOf(r); t != nil {
			kept := *r
			kept.t, kept.own = t, true
			held = append(held, kept)
		}
	}
	m.order = m.order[:0]
	for i := range held {
		m.order = append(m.order, &held[i])
	}
	m.index = 0
	m.settle()
}

// copyOf is a row's timeline as it would be told now, or nil where it is gone.
func (m *Model) copyOf(r *row) *timeline.Timeline {
	switch {
	case r.own:
		return r.t
	case !r.there():
		return nil
	}
	t := r.t.SoFar(m.now)
	if m.o.Find != nil {
		m.o.Find(t)
	}
	return t
}

// find is a connection by its ID, among all that there are, as it would be told now; nil where it is gone.
func (m *Model) find(id uint64) *timeline.Timeline {
	if id == 0 {
		return nil
	}
	if m.paused {
		if i := slices.IndexFunc(m.order, func(r *row) bool { return r.id == id }); i >= 0 {
			return m.order[i].t
		}
	}
	if r := m.open(id); r != nil && r.there() {
		return m.copyOf(r)
	}
	for _, rows := range [][]*row{m.failed.rows, m.closed.rows} {
		if i := slices.IndexFunc(rows, func(r *row) bool { return r.id == id }); i >= 0 {
			return rows[i].t
		}
	}
	return nil
}

// Resize says how large the screen is.
func (m *Model) Resize(width, height int) {
	m.width, m.height = max(width, 1), max(height, 1)
}

// Say shows a message until the next key.
func (m *Model) Say(message string) { m.message = message }
