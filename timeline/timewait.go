package timeline

import (
	"time"

	"tcptrace/events"
)

// timeWait is the little that is kept of a connection in TIME_WAIT after its
// timeline was written: enough to tell what still happens to it.
type timeWait struct {
	id, start     uint64
	begun         uint64 // when it entered TIME_WAIT
	gone          uint64 // when the kernel took it down before its time, 0 not yet
	tuple         events.Tuple
	process       Process
	local, remote waitHalf
	expires       uint64
	turn          uint32
	untold        bool  // it was there before the tracer, and has no line yet
	late          *late // the segment that came last, if it is not told yet
}

type waitHalf struct {
	isn, finEnd                             uint32
	isnKnown, finSent, finAcked, scaleKnown bool
	scale                                   uint8
}

func (k *waitHalf) keep(h *half) {
	*k = waitHalf{isn: h.isn, isnKnown: h.isnKnown, scale: h.scale, scaleKnown: h.scaleKnown,
		finEnd: h.finEnd, finSent: h.finSent, finAcked: h.finAcked}
}

func (k *waitHalf) give(h *half) {
	*h = half{isn: k.isn, isnKnown: k.isnKnown, scale: k.scale, scaleKnown: k.scaleKnown,
		finEnd: k.finEnd, finSent: k.finSent, finArrived: k.finSent, finAcked: k.finAcked}
}

func (w *timeWait) currentTurn() uint32 { return w.turn }

func (a *Assembler) enterTimeWait(t *Timeline, now uint64) {
	t.track.timeWaitStart, t.track.timeWaitEnd = now, now+timeWaitLen
	a.setState(t, now, events.TimeWait, nil)
	a.settled(t)
	a.stayInTimeWait(t)
}

// stayInTimeWait: it is told when TIME_WAIT is over, or before.
func (a *Assembler) stayInTimeWait(t *Timeline) {
	if a.opts.WholeTimeWait {
		a.schedule(&a.waiting, t, t.track.timeWaitEnd)
	} else {
		a.schedule(&a.lingering, t, a.now+a.opts.Linger)
	}
}

// endTimeWait: the timer has run out, or something ended it before.
func (a *Assembler) endTimeWait(t *Timeline, at uint64) {
	a.setState(t, at, events.Close, nil)
	t.Teardown.TimeWaitNS = Some(at - t.track.timeWaitStart)
	t.End = Some(at)
}

// smallSocketGone: the kernel has taken down what stood for the connection in TIME_WAIT, or for an
// orphan in FIN_WAIT2.
func (a *Assembler) smallSocketGone(e *events.Event) {
	now, tuple := e.Time(), e.Tuple()
	t, w := a.byTuple[*tuple], a.waits[*tuple]
	switch {
	case t != nil && t.track.replacesID != 0:
		a.reuse(t)
	case t != nil && t.State == events.TimeWait:
		t.track.vanished = now+timerSlack < t.track.timeWaitEnd
		a.endTimeWait(t, now)
		a.schedule(&a.settling, t, now+settle)
	case t != nil && t.track.orphanFinWait2:
		a.orphanGone(t, now)
	case w != nil && now+timerSlack < w.expires:
		// Not by its timer. Who takes its place shows itself at once, or nobody does.
		w.gone = now
		w.turn++
		a.vanished.push(w, now+settle, w.turn)
	case w != nil:
		delete(a.waits, *tuple)
	}
}

// waitVanished ends a remembered TIME_WAIT that nobody took the place of.
func (a *Assembler) waitVanished(w *timeWait) {
	if a.waits[w.tuple] != w {
		return
	}
	a.settleLate(w)
	if a.waits[w.tuple] != w {
		return
	}
	t := a.wake(w)
	a.endWait(w, t, w.gone)
	a.tellWait(w, t)
}

// orphanStay is how long an orphan's small socket stays in FIN_WAIT2. Of a longer net.ipv4.tcp_fin_timeout
// the big one has waited out what is more.
func (t *Timeline) orphanStay() uint64 {
	if ms := t.track.ending.FINTimeoutMS; ms != 0 {
		return min(uint64(ms)*uint64(time.Millisecond), timeWaitLen)
	}
	return finTimeout
}

// orphanTakesFIN: the peer's FIN came to an orphan. One after data that nobody can read any more is answered with a RST.
func (a *Assembler) orphanTakesFIN(t *Timeline) {
	t.track.orphanFinWait2 = false
	a.enterTimeWait(t, t.track.orphanFINAt)
}

// orphanGone: the peer's FIN never came.
func (a *Assembler) orphanGone(t *Timeline, at uint64) {
	t.track.orphanFinWait2 = false
	t.track.orphanExpired = true
	a.setState(t, at, events.Close, nil)
	a.close(t, at)
}

// rearmTimeWait: a FIN that comes again starts 2MSL anew (tcp_timewait_state_process).
func (a *Assembler) rearmTimeWait(t *Timeline, now uint64) {
	t.track.timeWaitEnd = now + timeWaitLen
	if a.opts.WholeTimeWait {
		a.schedule(&a.waiting, t, t.track.timeWaitEnd)
	}
}

func (a *Assembler) rememberTimeWait(t *Timeline) {
	if len(a.waits) >= 4*a.opts.MaxLive {
		a.stats.Forgotten++
		return
	}
	w := &timeWait{
		id: t.ID, start: t.Start, tuple: t.track.tuple, process: t.Process,
		begun: t.track.timeWaitStart, expires: t.track.timeWaitEnd,
	}
	w.local.keep(&t.track.local)
	w.remote.keep(&t.track.remote)
	a.waits[w.tuple] = w
	a.expiring.push(w, w.expires, w.turn)
}

// wake makes a timeline of a remembered TIME_WAIT again, to hold what an addendum tells.
func (a *Assembler) wake(w *timeWait) *Timeline {
	t := &Timeline{
		ID: w.id, Start: w.start, Netns: w.tuple.Netns,
		Local: w.tuple.Local(), Remote: w.tuple.Remote(),
		State: events.TimeWait, Process: w.process,
	}
	w.local.give(&t.track.local)
	w.remote.give(&t.track.remote)
	t.track.tuple = w.tuple
	return t
}

// waitOf is who is in TIME_WAIT by that name at a time. Of those that were there before the tracer, which end in any
// order, some may be remembered for longer.
func (a *Assembler) waitOf(tuple *events.Tuple, now uint64) *timeWait {
	w := a.waits[*tuple]
	if w != nil {
		a.settleLate(w)
		w = a.waits[*tuple] // if that did not end it
	}
	if w != nil && w.gone == 0 && w.expires < now {
		delete(a.waits, *tuple)
		return nil
	}
	return w
}

// late is a segment that came for a connection in TIME_WAIT whose timeline was written, as the addendum that it may come to. It
// is not told at once: netfilter may yet drop it.
type late struct {
	w *timeWait
	t *Timeline
}

func (*late) currentTurn() uint32 { return 0 }

// afterwards is a segment, or the drop of one, of a connection whose timeline was written in TIME_WAIT.
func (a *Assembler) afterwards(w *timeWait, e *events.Event, dir Dir) {
	t := a.wake(w)
	entry := a.place(t, e.Time())
	t.describe(entry, e, dir)
	if e.Kind() == events.KindDrop {
		t.dropped(entry, e)
	}
	if entry.Type == EntryDrop || dir == Tx {
		a.tellLate(w, t)
		return
	}
	w.late = &late{w, t}
	a.late.push(w.late, a.now+settle, 0)
}

// settleLate: what came last was not dropped.
func (a *Assembler) settleLate(w *timeWait) {
	if l := w.late; l != nil {
		a.tellLate(w, l.t)
	}
}

// settleLates: no drop followed up to then.
func (a *Assembler) settleLates(now uint64) {
	for l, ok := a.late.due(now); ok; l, ok = a.late.due(now) {
		if l.w.late == l {
			a.tellLate(l.w, l.t)
		}
	}
}

// dropsLate: the drop is of the segment that came last.
func (a *Assembler) dropsLate(e *events.Event) bool {
	w := a.waits[*e.Tuple()]
	if w == nil || w.late == nil {
		return false
	}
	t := w.late.t
	if s := &t.Entries[0]; s.isOf(e) {
		t.dropped(s, e)
		a.tellLate(w, t)
		return true
	}
	return false
}

// tellLate tells of a segment in TIME_WAIT, and does what it means for that.
func (a *Assembler) tellLate(w *timeWait, t *Timeline) {
	w.late = nil
	w.local.keep(&t.track.local)
	w.remote.keep(&t.track.remote)
	switch entry := t.Entries[0]; {
	case entry.Type == EntryDrop || entry.Dir == Tx:
	case entry.Flags.Has(events.RST):
		// RFC 1337 warns of it; Linux lets a RST end TIME_WAIT unless net.ipv4.tcp_rfc1337 is set.
		a.endWait(w, t, entry.Time)
	case entry.Flags.Has(events.FIN):
		w.expires = entry.Time + timeWaitLen
		w.turn++
		a.expiring.push(w, w.expires, w.turn)
	}
	a.tellWait(w, t)
}

// endWait adds the end of TIME_WAIT to its addendum.
func (a *Assembler) endWait(w *timeWait, t *Timeline, at uint64) {
	t.Entries = append(t.Entries, Entry{Time: at, Type: EntryState, From: events.TimeWait, To: events.Close})
	w.turn++
	if a.waits[w.tuple] == w {
		delete(a.waits, w.tuple)
	}
}
