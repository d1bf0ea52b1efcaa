package timeline

import "tcptrace/events"

// stateChange takes what the kernel announces and makes of it the states that
// the connection was in (RFC 9293, section 3.3.2), which is not always the same.
func (a *Assembler) stateChange(e *events.Event) {
	now, to := e.Time(), e.NewState()

	if e.OldState() == to {
		return // ss -K of a listener has it closed twice
	}
	if to == events.SynSent {
		a.connecting(e)
		return
	}
	t := a.ofState(e)
	if t == nil {
		return
	}
	a.catchUp(t, e)
	if !t.track.bound && e.Tuple().LocalPort != 0 && (to != events.Close || a.byTuple[*e.Tuple()] == nil) {
		a.bind(t, e.Tuple())
	}
	a.bindSock(t, e.Sock())
	t.setCounters(e)

	var by *events.Event // the process whose call this is, not one that a segment interrupted
	if e.Notes().Has(events.NoteByProcess) {
		by = e
		a.closes(t, e)
	}
	switch to {
	case events.Established:
		t.track.established = true
		a.settled(t)
		a.setState(t, now, to, nil)
	case events.FinWait1, events.LastAck:
		a.settled(t)
		t.closedBy(by)
		a.setState(t, now, to, by)
	case events.Closing:
		t.track.visitedClosing = true
		a.setState(t, now, to, nil)
	case events.Close:
		a.closed(t, e, by)
	default:
		a.setState(t, now, to, nil)
	}
}

// catchUp brings the timeline to the state that the socket comes from: what led there may not have been told.
func (a *Assembler) catchUp(t *Timeline, e *events.Event) {
	now, from, to := e.Time(), e.OldState(), e.NewState()
	if t.track.replacesID != 0 {
		a.reuse(t) // it has a socket: its SYN was granted
	}
	if from == events.SynRecv && to != events.Close && t.State == events.Close && t.End.Known {
		// It has a socket after all: a RST answered an ACK that the SYN cookie did not fit, and then came one that it does.
		a.reopen(t, t.End.Value)
	}
	if t.State == events.StateUnknown {
		t.State = from // what was seen before this were segments
	}
	if t.unanswered() {
		// It has a socket, so it was answered, and that was not told.
		a.gap(t, now, 0)
		a.synReceived(t, now)
	}
	if t.State != from && (ownSocket(t.State) || t.State == events.SynRecv) && ownSocket(from) {
		// A change between them was not told: the kernel did not run the program.
		a.gap(t, now, 0)
		a.setState(t, now, from, nil)
	}
	if from == events.SynSent && to == events.Established && t.State == from && t.track.remote.synAt == 0 {
		// Its SYN-ACK was not told: a device gave it in another network namespace (macvlan), or TCP_REPAIR needed none.
		a.gap(t, now, 0)
		if e.Counters().SegmentsOut == 0 {
			t.Role = RoleUnknown // nor a SYN: it is one that goes on, whichever end it is
		}
	}
}

// ownSocket: in this state a connection has a socket, whose every change of state the kernel announces.
func ownSocket(s events.State) bool {
	switch s {
	case events.SynSent, events.Established, events.FinWait1, events.FinWait2, events.Closing, events.CloseWait, events.LastAck:
		return true
	}
	return false
}

// connecting is a client's begin: the local port may still be 0.
func (a *Assembler) connecting(e *events.Event) {
	if old := a.bySock[e.Sock()]; old != nil {
		a.supersede(old)
	}
	t := a.open(e, e.Time())
	t.Role = RoleClient
	t.State = events.Close
	a.halfOpen.push(t)
	a.bindSock(t, e.Sock())
	// Another connection that has the tuple keeps it until a SYN shows that it is gone: else connect() fails.
	if e.Tuple().LocalPort != 0 && a.byTuple[*e.Tuple()] == nil {
		a.bind(t, e.Tuple())
	}
	a.connects(t, e)
	a.setState(t, e.Time(), events.SynSent, e)
}

// closed is the kernel's CLOSE. From FIN_WAIT2 and CLOSING it only means that
// the big socket is gone: a small one keeps the connection in TIME_WAIT, or, for an
// orphan whose peer has not closed yet, still in FIN_WAIT2.
func (a *Assembler) closed(t *Timeline, e, by *events.Event) {
	now := e.Time()
	t.track.errno = e.Errno()
	t.track.orphaned = e.Notes().Has(events.NoteOrphan)
	t.track.ending = e.Ending()
	t.Teardown.Unread, t.Teardown.LingerZero = t.track.ending.Unread, t.track.ending.LingerZero
	a.mayHaveFailed(t, e)
	a.releaseSock(t)
	t.track.countersFinal = true
	reset := t.lastIsReset()

	switch from := e.OldState(); {
	case from == events.Closing && !reset && e.Errno() == 0 && !t.track.local.unanswered(),
		from == events.FinWait2 && !reset && e.Notes().Has(events.NoteFINReceived):
		a.enterTimeWait(t, now)
	case from == events.FinWait2 && !reset && e.Errno() == 0 && e.Notes().Has(events.NoteOrphan):
		t.track.orphanFinWait2, t.Teardown.Orphan = true, true
		a.schedule(&a.orphans, t, now+t.orphanStay())
	default:
		// A reset or an error that arrives while a process is at it is not its doing; ss -K is, whose RST leaves before (tcp_abort()).
		if by != nil && by.CloseCall() != events.CloseDestroy && (reset || e.Errno() != 0) {
			by = nil
		}
		if from != events.LastAck && by != nil {
			t.track.aborted = true
			t.closedBy(by)
		} else {
			by = nil
		}
		a.setState(t, now, events.Close, by)
		a.close(t, now)
	}
}

// lastIsReset: the last segment was a RST, so that this is what ended it.
func (t *Timeline) lastIsReset() bool {
	for i := len(t.Entries) - 1; i >= 0; i-- {
		if t.Entries[i].Type == EntrySegment {
			return t.Entries[i].Step == StepRST
		}
	}
	return false
}

// closedBy notes the process that closed, the first time.
func (t *Timeline) closedBy(by *events.Event) {
	if by == nil || t.ClosedBy.PID != 0 {
		return
	}
	t.ClosedBy.Actor = actorOf(by)
	t.ClosedBy.Call, t.ClosedBy.Signal = by.CloseCall(), by.CloseSignal()
}

// setState adds the change, unless the timeline is in that state already.
func (a *Assembler) setState(t *Timeline, at uint64, to events.State, by *events.Event) {
	if t.State == to {
		return
	}
	if t.State == events.StateUnknown {
		t.State = to // a change from nobody knows where is none to tell
		return
	}
	entry := a.place(t, at)
	entry.Type, entry.From, entry.To = EntryState, t.State, to
	if by != nil {
		entry.PID, entry.Comm = by.PID(), by.Comm()
	}
	t.State = to
	a.tell(t, entry)
}
