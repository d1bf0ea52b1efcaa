package timeline

import (
	"slices"
	"time"

	"tcptrace/events"
)

// strayDelay: a segment of no known connection waits this long for its socket to show itself.
const strayDelay = uint64(time.Second)

// dropDelay bounds how long after it was told a segment is dropped (in a full queue of a device). It is less than
// what passes before the same segment is sent again, which may be dropped where nobody told of it yet.
const dropDelay = uint64(100 * time.Millisecond)

// segment takes a segment that TCP of this host sent or received.
func (a *Assembler) segment(e *events.Event, dir Dir) {
	if a.isNobodys(e) {
		return
	}
	t := a.ofSegment(e, dir)
	if t == nil || t.hasReset(e, dir) {
		return
	}
	if e.Notes().Has(events.NoteUnconfirmed) {
		t.track.unconfirmed = t.track.unconfirmed || !t.hasSome()
	} else {
		a.confirm(t)
	}
	a.listens(t, e)
	entry := a.put(t, e, dir)
	t.timeOneWay(entry)
	a.tell(t, entry)
	a.react(t, entry, e)
}

// hasSome: something was seen of it, not only that something may be missing.
func (t *Timeline) hasSome() bool {
	return slices.ContainsFunc(t.Entries, func(e Entry) bool { return e.Type != EntryGap })
}

// isNobodys: a RST that may be another host's, for no connection that is known here.
func (a *Assembler) isNobodys(e *events.Event) bool {
	return e.Notes().Has(events.NoteUnconfirmed) && e.Header().Flags().Has(events.RST) &&
		a.findSegment(e, Rx) == nil && a.waits[*e.Tuple()] == nil
}

// hasReset: a RST that was told unconfirmed is told again when TCP of this host reacts to it. What it
// ended, and what came since, may stand behind it by then.
func (t *Timeline) hasReset(e *events.Event, dir Dir) bool {
	if !e.Header().Flags().Has(events.RST) {
		return false
	}
	for i := len(t.Entries) - 1; i >= 0 && t.Entries[i].Time >= e.Time(); i-- {
		known := &t.Entries[i]
		if known.Time == e.Time() && known.Dir == dir && known.Flags.Has(events.RST) &&
			(known.Type == EntrySegment || known.Type == EntryDrop) {
			return true
		}
	}
	return false
}

// put adds the entry of a segment, and before it the state that a SYN-ACK shows. It is yet to be told.
func (a *Assembler) put(t *Timeline, e *events.Event, dir Dir) *Entry {
	if dir == Tx && e.Header().Flags().Has(events.SYN|events.ACK) {
		a.synReceived(t, e.Time())
	}
	entry := a.place(t, e.Time())
	t.describe(entry, e, dir)
	return entry
}

// synReceived: this host answers a SYN. The connection is in SYN_RECV since that
// came; the kernel has only a request sock for it, and announces nothing.
func (a *Assembler) synReceived(t *Timeline, now uint64) {
	if t.track.timedOut && t.End.Known {
		a.reopen(t, t.End.Value) // it had not been given up
	}
	if t.State != events.Close {
		return
	}
	if at := t.track.remote.synAt; at != 0 {
		now = at
	}
	t.State = events.Listen
	a.setState(t, now, events.SynRecv, nil)
}

// react does what the segment means for the connection's state where the kernel
// does not say it.
func (a *Assembler) react(t *Timeline, entry *Entry, e *events.Event) {
	now := entry.Time
	switch entry.Step {
	case StepSYN:
		a.pair(t, entry)
		t.expectAnswer(entry, max(a.now, now))
		if entry.Dir == Tx {
			a.endWaitByReuse(t, &t.track.tuple, now)
		} else {
			t.track.overflowed = false
		}
	case StepSYNACK:
		t.compareOffers()
		if entry.Dir == Tx {
			t.track.doubtfulReset = 0
			t.synACKSent(e)
			t.expectAnswer(entry, now)
		}
	case StepACK:
		if entry.Dir == Rx {
			t.mayBeDeferred()
		}
	case StepRST:
		by := t.Teardown.ResetBy
		if entry.Dir == Rx && t.mayRefuseReset(entry) {
			t.track.doubtfulReset = now
		} else {
			a.resetSeen(t, entry.Dir, now)
		}
		if entry.Dir == Tx && by != SideLocal && t.Teardown.ResetBy == SideLocal {
			t.resetFor(e.ResetReason()) // what a later one answers is not why there was the first
		}
	case StepFIN:
		if entry.Dir == Rx && t.track.orphanFinWait2 {
			t.track.orphanFINAt = now // the answer shows whether it was taken
		} else if entry.Dir == Rx && entry.Retransmit && t.State == events.TimeWait {
			a.rearmTimeWait(t, now)
		}
	case StepFINACK:
		if entry.Dir == Tx && t.track.orphanFinWait2 && t.track.orphanFINAt != 0 {
			// The small socket goes from FIN_WAIT2 to TIME_WAIT; the kernel announces nothing.
			a.orphanTakesFIN(t)
		}
	}
	if t.track.countersFinal {
		t.countExtra(entry.Dir)
	}
}

// resetSeen ends what has no socket that would say so.
func (a *Assembler) resetSeen(t *Timeline, dir Dir, now uint64) {
	if t.Teardown.ResetBy == SideUnknown || dir == Tx && t.resetCameLate() {
		t.Teardown.ResetBy = dir.side()
	}
	switch {
	case t.End.Known || t.track.sock != 0:
		return
	case t.State == events.TimeWait:
		if dir == Rx {
			a.endTimeWait(t, now)
			a.schedule(&a.settling, t, now+settle)
		}
		return
	case dir == Rx && t.State == events.SynSent:
		return // its socket will say
	}
	a.setState(t, now, events.Close, nil)
	a.close(t, now)
}

// mayRefuseReset: a half-open server side may answer the RST by a challenge ACK and go on (RFC 5961, section 3.2): it has not the very number
// that is expected, as where data before it was not taken. Newer kernels do, others believe it; what follows shows which.
func (t *Timeline) mayRefuseReset(rst *Entry) bool {
	k := &t.track
	return k.server && k.sock == 0 && t.State == events.SynRecv && k.remote.isnKnown && rst.Seq != k.remote.isn+1
}

// mayBeDeferred: the third ACK came to a half-open server side. Where that has TCP_DEFER_ACCEPT it waits for data, and sends
// no SYN-ACK meanwhile.
func (t *Timeline) mayBeDeferred() {
	if k := &t.track; k.giveUp != 0 && k.local.synAt != 0 {
		k.giveUp = max(k.giveUp, k.local.synAt+halfOpenStay)
	}
}

// expectAnswer sets when a half-open server side is given up: a repetition comes
// after twice the time that the last one took. One that was told unconfirmed was told when the next had come.
func (t *Timeline) expectAnswer(entry *Entry, told uint64) {
	if !t.track.server || t.track.established {
		return
	}
	gap := firstRetry
	if h, _ := t.side(entry.Dir); h.prevSYN != 0 {
		gap = max(gap, entry.Time-h.prevSYN)
	}
	gap = max(gap, told-entry.Time)
	t.track.giveUp = told + 2*gap + firstRetry
}

// countExtra counts a segment that the kernel handled without the socket.
func (t *Timeline) countExtra(dir Dir) {
	if dir == Tx {
		t.track.extraTx++
	} else {
		t.track.extraRx++
	}
}

// reuse: the SYN was granted the tuple of a connection in TIME_WAIT.
func (a *Assembler) reuse(t *Timeline) {
	old := t.replaced()
	t.track.replacesID, t.track.replaces = 0, nil
	if old != nil {
		t.Handshake.ReusedNS = Some(t.Start - min(t.Start, old.track.timeWaitStart))
		a.endTimeWait(old, t.Start)
		a.write(old)
		return
	}
	a.endWaitByReuse(t, &t.track.tuple, t.Start)
}

// endWaitByReuse ends the TIME_WAIT of whoever had the tuple that by has now.
func (a *Assembler) endWaitByReuse(by *Timeline, tuple *events.Tuple, at uint64) {
	if w := a.waitOf(tuple, at); w != nil {
		if w.gone != 0 {
			at = min(at, w.gone)
		}
		if w.begun != 0 {
			by.Handshake.ReusedNS = Some(at - min(at, w.begun))
		}
		t := a.wake(w)
		a.endWait(w, t, at)
		a.tellWait(w, t)
	}
}

// replaced is the timeline that t would replace, if it still is in TIME_WAIT and unwritten.
func (t *Timeline) replaced() *Timeline {
	old := t.track.replaces
	// live: it may have been written by what fell due with this very event.
	if old == nil || old.ID != t.track.replacesID || old.State != events.TimeWait || !old.track.live.in {
		return nil
	}
	return old
}

// giveBack: the SYN was refused the tuple, by an ACK out of TIME_WAIT. What
// looked like a new connection belongs to the old one.
func (a *Assembler) giveBack(n *Timeline, e *events.Event, dir Dir) *Timeline {
	old := n.replaced()
	w := a.waits[n.track.tuple]
	if old == nil && w == nil {
		n.track.replacesID = 0
		return n
	}
	// n leaves no trace.
	n.unlink()
	a.forget(n)
	a.stats.Timelines--

	to := old
	if to == nil {
		to = a.wake(w)
	} else if k := &old.track; k.tuple == n.track.tuple || k.hasAlias && k.alias == n.track.tuple {
		a.byTuple[n.track.tuple] = old
	}
	to.LostEvents += n.LostEvents
	to.Complete = to.Complete && n.Complete
	for _, entry := range n.Entries {
		if entry.Type == EntrySegment || entry.Type == EntryDrop {
			to.relate(&entry)
		}
		if old != nil {
			kept := a.place(old, entry.Time)
			*kept = entry
			a.tell(old, kept)
		} else {
			to.Entries = append(to.Entries, entry)
		}
	}
	if old != nil {
		return old
	}
	to.describe(a.place(to, e.Time()), e, dir)
	a.tellWait(w, to)
	return nil
}

// drop takes a segment that the kernel threw away: one that was just told as sent or
// received, or one that never got so far.
func (a *Assembler) drop(e *events.Event) {
	dir := Rx
	if e.Notes().Has(events.NoteOutbound) {
		dir = Tx
	}
	t := a.find(e)
	if t != nil {
		a.confirm(t)
	}
	if t != nil && !e.Notes().Has(events.NoteUntold) {
		for i := len(t.Entries) - 1; i >= 0 && i >= len(t.Entries)-8; i-- {
			s := &t.Entries[i]
			if s.Type != EntrySegment || s.Dir != dir || !s.isOf(e) || e.Time() > s.Time+dropDelay {
				continue
			}
			t.dropped(s, e)
			a.tell(t, s)
			if s.Step == StepRST && dir == Rx {
				a.reopen(t, s.Time)
			}
			return
		}
	}
	if dir == Rx && (t == nil && a.dropsLate(e) || t != nil && a.rejected(t, e)) {
		return
	}
	if t = a.ofSegment(e, dir); t == nil {
		return
	}
	entry := a.put(t, e, dir)
	t.dropped(entry, e)
	a.tell(t, entry)
	if entry.Step == StepSYN {
		a.pair(t, entry)
		t.expectAnswer(entry, entry.Time)
	}
}

// isOf reports whether the segment is the one of the event, as far as its header tells: its timestamp
// differs from that of one that is sent again.
func (s *Entry) isOf(e *events.Event) bool {
	h := e.Header()
	return s.Seq == h.Seq() && s.Ack == h.Ack() && s.Flags == h.Flags() && s.Len == e.PayloadLen() &&
		s.Options.TSVal == h.Options().TSVal
}

// dropped makes the entry of a segment one of its drop.
func (t *Timeline) dropped(entry *Entry, e *events.Event) {
	entry.Type, entry.DropReason = EntryDrop, e.DropReason()
	t.undo(entry)
}

// undo takes back what a segment was thought to have achieved.
func (t *Timeline) undo(s *Entry) {
	from, to := t.side(s.Dir)
	switch s.Step {
	case StepACK:
		from.owesACK = true
	case StepFINACK:
		to.finAcked = false
	case StepFIN:
		from.finArrived = false
		if s.FINACK {
			to.finAcked = false
		}
	case StepRST:
		t.Teardown.ResetBy = SideUnknown
		for i := range t.Entries { // another one may have come before
			if e := &t.Entries[i]; e.Type == EntrySegment && e.Step == StepRST {
				t.Teardown.ResetBy = e.Dir.side()
				break
			}
		}
	}
}

// describe fills in the entry of a segment: which part it plays, how its numbers
// relate to the connection's; and remembers what the next ones need.
func (t *Timeline) describe(entry *Entry, e *events.Event, dir Dir) {
	h := e.Header()
	entry.Type = EntrySegment
	entry.Dir = dir
	entry.Flags = h.Flags()
	entry.Seq, entry.Ack = h.Seq(), h.Ack()
	entry.Window = h.Window()
	entry.Len = e.PayloadLen()
	entry.Options = h.Options()
	from, to := t.side(dir)
	f := entry.Flags
	end := entry.Seq + entry.Len
	if f.Has(events.SYN) {
		end++
		entry.Retransmit = t.synSeen(entry, from, to)
	}
	acks := f.Has(events.ACK) && !f.Has(events.SYN)
	coversFIN := acks && to.finSent && to.finArrived && !to.finAcked && reached(entry.Ack, to.finEnd)
	switch {
	case f.Has(events.RST):
		entry.Step = StepRST
	case f.Has(events.SYN | events.ACK):
		entry.Step = StepSYNACK
		to.owesACK = true
		if dir == Tx && t.track.server {
			t.answers(entry.Ack - 1)
		}
	case f.Has(events.SYN):
		entry.Step = StepSYN
	case f.Has(events.FIN):
		end++
		entry.Step = StepFIN
		entry.FINACK = coversFIN
		entry.Retransmit = from.finSent && from.finEnd == end
		from.finSent, from.finArrived, from.finAcked, from.finEnd = true, true, false, end
	case acks && from.owesACK && (!to.isnKnown || reached(entry.Ack, to.isn+1)),
		acks && to.synAgain && entry.Len == 0 && entry.Seq == from.isn+1 && entry.Ack == to.isn+1:
		entry.Step = StepACK
	case coversFIN:
		entry.Step = StepFINACK
	}
	if entry.Len > 0 && from.nextKnown && reached(from.next, end) {
		entry.Retransmit = true
	}
	if acks {
		from.owesACK = false
	}
	if coversFIN && entry.Step != StepRST {
		to.finAcked = true
	}
	if !f.Has(events.RST) && (!from.nextKnown || reached(end, from.next)) {
		from.next, from.nextKnown = end, true
	}
	t.relate(entry)
}

// synSeen learns from a SYN or SYN-ACK, and reports whether it was sent before.
func (t *Timeline) synSeen(entry *Entry, from, to *half) (retransmit bool) {
	// The SYN-ACK of a simultaneous open sends the SYN again, but is the first of its kind.
	kind := entry.Flags & (events.SYN | events.ACK)
	again := from.synAt != 0 && from.isn == entry.Seq
	retransmit = again && from.synFlags == kind
	from.synAgain = from.synAgain || retransmit
	from.synFlags = kind
	// A half-open connection keeps the number that was answered, until another SYN is.
	another := entry.Dir == Rx && t.track.server && to.synAt != 0 && from.isnKnown && from.isn != entry.Seq
	if !again && !t.track.established && !another {
		from.isn, from.isnKnown = entry.Seq, true
		from.synAt = entry.Time
		from.offered = entry.Options
		from.next, from.nextKnown = entry.Seq+1, true
	}
	from.prevSYN, from.lastSYN = from.lastSYN, entry.Time
	if to.synAt != 0 {
		// RFC 7323, section 2.2: scaling is on only if both sides offered it, at most 14.
		scaled := from.offered.Present.Has(events.OptionWScale) && to.offered.Present.Has(events.OptionWScale)
		for _, h := range []*half{from, to} {
			h.scaleKnown, h.scale = true, 0
			if scaled {
				h.scale = min(h.offered.WScale, 14)
			}
		}
	}
	return retransmit
}

// answers: of several SYNs on the same ports, this host's SYN-ACK is for the one with that number.
func (t *Timeline) answers(isn uint32) {
	peer := &t.track.remote
	if !peer.isnKnown || peer.isn == isn {
		return
	}
	peer.isn, peer.next = isn, isn+1
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Step == StepSYN && e.Dir == Rx && e.Seq == isn {
			peer.offered = e.Options
		}
		t.relate(e)
	}
}

// relate fills in the numbers relative to the connection's own.
func (t *Timeline) relate(entry *Entry) {
	from, to := t.side(entry.Dir)
	if from.isnKnown {
		entry.SeqRel = Some(entry.Seq - from.isn)
	}
	if to.isnKnown && entry.Flags.Has(events.ACK) {
		entry.AckRel = Some(entry.Ack - to.isn)
	}
	// RFC 7323, section 2.2: the window of a SYN is never scaled.
	if entry.Flags.Has(events.SYN) {
		entry.WindowScaled = Some(uint32(entry.Window))
	} else if from.scaleKnown {
		entry.WindowScaled = Some(uint32(entry.Window) << from.scale)
	}
}
