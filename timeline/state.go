package timeline

import (
	"golang.org/x/sys/unix"

	"tcptrace/events"
)

// stateChange takes what the kernel announces and makes of it the states that
// the connection was in (RFC 9293, section 3.3.2), which is not always the same.
func (a *Assembler) stateChange(e *events.Event) {
	now, from, to := e.Time(), e.OldState(), e.NewState()

	if from == to {
		return // ss -K of a listener has it closed twice
	}
	if to == events.SynSent {
		a.connecting(e)
		return
	}
	if old := a.bySock[e.Sock()]; old != nil && old.track.bound && old.track.tuple != *e.Tuple() {
		if from == events.SynSent && old.State == events.SynSent && !old.track.hasAlias {
			a.rename(old, e.Tuple())
		} else {
			// The kernel has reused the memory for another connection: the old one's end was not seen.
			a.supersede(old)
		}
	}
	t := a.find(e)
	if t != nil && t.givesUp(e) {
		return
	}
	if t != nil && (t.track.countersFinal || t.track.sock != 0 && t.track.sock != e.Sock()) {
		// Another socket has this tuple now.
		a.supersede(t)
		t = nil
	}
	if t == nil && from == events.SynRecv {
		t = a.redirected(e)
	}
	if t == nil {
		t = a.openBefore(e)
		t.State = from
	}
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
	if !t.track.bound && e.Tuple().LocalPort != 0 && (to != events.Close || a.byTuple[*e.Tuple()] == nil) {
		a.bind(t, e.Tuple())
	}
	a.bindSock(t, e.Sock())
	t.setCounters(e)

	var by *events.Event // the process whose call this is, not one that a segment interrupted
	if e.Notes().Has(events.NoteByProcess) {
		by = e
		if !isAbort(e) {
			a.closes(t, e)
		}
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

// givesUp: the kernel throws away a socket that it has just made of a half-open connection. Of two third ACKs that come at once on two
// processors each has one made, and one is kept (inet_ehash_nolisten()); the connection goes on. Where it does not, a RST says so.
func (t *Timeline) givesUp(e *events.Event) bool {
	return e.OldState() == events.SynRecv && e.NewState() == events.Close && e.Errno() == 0 && !e.Notes().Has(events.NoteByProcess) &&
		t.track.server && t.track.sock != e.Sock() && !t.track.countersFinal && !t.lastIsReset()
}

// ownSocket: in this state a connection has a socket, whose every change of state the kernel announces.
func ownSocket(s events.State) bool {
	switch s {
	case events.SynSent, events.Established, events.FinWait1, events.FinWait2, events.Closing, events.CloseWait, events.LastAck:
		return true
	}
	return false
}

// redirected is the half-open connection that this new socket is of, renamed: netfilter gave it another local
// name than the device knows it by, where tracepoints saw its SYN. Nil where that is not certain: only one may be half open
// between this host and that remote port.
func (a *Assembler) redirected(e *events.Event) (found *Timeline) {
	own := e.Tuple()
	for t := a.halfOpen.first; t != nil; t = t.track.half.next {
		wire := &t.track.tuple
		if t.State != events.SynRecv || t.track.sock != 0 || t.track.hasAlias || wire.Netns != own.Netns ||
			wire.RemotePort != own.RemotePort || wire.RemoteAddr != own.RemoteAddr {
			continue
		}
		if found != nil {
			return nil
		}
		found = t
	}
	if found != nil {
		a.rename(found, own)
	}
	return found
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
		// A reset or an error that arrives while a process is at it is not its doing; ss -K is (tcp_abort).
		if (reset || e.Errno() != 0) && !isAbort(e) {
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
	if !isAbort(by) {
		t.ClosedBy.Call, t.ClosedBy.Signal = by.CloseCall(), by.CloseSignal()
	}
}

// isAbort: the process destroys a socket that need not be its own, as ss -K does (tcp_abort()).
func isAbort(e *events.Event) bool {
	return e.NewState() == events.Close && unix.Errno(e.Errno()) == unix.ECONNABORTED && e.Notes().Has(events.NoteByProcess)
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

// openBefore begins the timeline of a connection whose own beginning was not seen.
func (a *Assembler) openBefore(e *events.Event) *Timeline {
	t := a.open(e, e.Time())
	t.Complete = false
	a.claim(t, e)
	if e.Tuple().LocalPort != 0 {
		a.bind(t, e.Tuple())
		if !e.Notes().Has(events.NoteUnconfirmed) {
			a.meetByTuple(t, e.Tuple())
		}
	}
	return t
}
