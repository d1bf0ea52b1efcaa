package timeline

import (
	"slices"

	"golang.org/x/sys/unix"

	"tcptrace/events"
)

// ResetCause is why this host sent an RST, inferred from the socket and the segments. Its
// names are the kernel's (enum sk_rst_reason, without prefix), which older kernels have not.
type ResetCause uint8

const (
	ResetUnexplained ResetCause = iota
	// ResetUnread: closed with data that the application had not read.
	ResetUnread
	// ResetLingerZero: closed with SO_LINGER 0.
	ResetLingerZero
	// ResetTimeout: keepalives or TCP_USER_TIMEOUT ran out.
	ResetTimeout
	// ResetNoSocket: there is no socket for what came.
	ResetNoSocket
	// ResetAfterClose: data came that no application can read any more.
	ResetAfterClose
	// ResetBadACK: what came acknowledges something that was never sent.
	ResetBadACK
	// ResetMemory: no process held the socket any more, and there were too many such sockets or TCP's
	// memory was used up.
	ResetMemory
)

var resetCauseNames = []string{"", "TCP_ABORT_ON_CLOSE", "TCP_ABORT_ON_LINGER", "TCP_KEEPALIVE_TIMEOUT", "NO_SOCKET",
	"TCP_ABORT_ON_DATA", "TCP_INVALID_ACK_SEQUENCE", "TCP_ABORT_ON_MEMORY"}

func (c ResetCause) String() string { return name(resetCauseNames, c) }

// resetReason takes the kernel's word for an RST that has just been sent.
func (a *Assembler) resetReason(e *events.Event) {
	if t := a.find(e); t != nil && t.Teardown.ResetBy != SideRemote {
		t.resetFor(e.ResetReason())
	}
}

// resetFor keeps why this end sent its first RST; the other end, where that is on this host, is told.
func (t *Timeline) resetFor(reason uint32) {
	if reason == 0 || t.Teardown.ResetReason != 0 {
		return
	}
	t.Teardown.ResetReason = reason
	if p := t.track.peer; p != nil && p.ID == t.PeerID && p.Teardown.ResetReason == 0 && p.Teardown.ResetBy != SideLocal {
		p.Teardown.ResetReason = reason
		if r := t.EndingReset(); r != nil {
			p.track.explained = Some(resetID{r.Seq, r.Flags})
		}
	}
}

// EndingReset is the RST that Teardown.ResetBy is about: the first of that end; nil where none came or went.
func (t *Timeline) EndingReset() (found *Entry) {
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Step != StepRST || e.Type == EntryDrop && e.Dir == Rx {
			continue
		}
		if found == nil || found.Dir.side() != t.Teardown.ResetBy && e.Dir.side() == t.Teardown.ResetBy {
			found = e
		}
	}
	return found
}

// resetID tells an RST from another one of the same end.
type resetID struct {
	seq   uint32
	flags events.Flags
}

// isExplained: the other end's word is for the RST that ended the connection here, and not for one that was dropped on the way.
func (t *Timeline) isExplained() bool {
	known, came := t.track.explained, t.EndingReset()
	return !known.Known || came == nil || known.Value == resetID{came.Seq, came.Flags}
}

// resetCameLate: the socket was closed before the first RST came. Between close() and the RST that it sends there is time for that.
func (t *Timeline) resetCameLate() bool {
	came := t.EndingReset()
	return t.End.Known && came != nil && came.Time > t.End.Value
}

// inferReset says why this host sent the first RST, as far as what is known allows it.
func (t *Timeline) inferReset(s *summary) ResetCause {
	d := &t.Teardown
	if s.rst == nil || s.rst.Dir != Tx || d.ResetBy != SideLocal {
		return ResetUnexplained
	}
	errno := unix.Errno(t.track.errno)
	switch {
	case t.Role == RoleServer && t.Handshake.Outcome == OutcomeRefused:
		if s.synRx != nil && s.synRx.Type == EntryDrop {
			return ResetUnexplained // TCP never got the SYN: a firewall rejected it
		}
		return ResetNoSocket
	case !t.track.established && t.Handshake.Outcome != OutcomeUnobserved:
		if s.rst.Flags.Has(events.ACK) || s.closed != nil && s.closed.Time < s.rst.Time {
			return ResetNoSocket
		}
		return ResetBadACK
	case errno == unix.ETIMEDOUT:
		return ResetTimeout
	case t.track.orphaned && errno == 0 && s.rst.Flags.Has(events.ACK) && t.closing(s.rst):
		// One that answers a segment has no ACK, and what close() itself finds comes before its FIN.
		return ResetMemory
	case (t.track.aborted || s.rst.Flags.Has(events.ACK) && t.closing(s.rst)) && errno == 0 && d.Unread > 0:
		return ResetUnread
	case t.track.aborted && errno == 0 && d.LingerZero:
		return ResetLingerZero
	case t.track.aborted || errno != 0:
		return ResetUnexplained
	}
	switch before := t.stateBefore(s.rst); {
	case before == events.FinWait2, t.closing(s.rst):
		return ResetAfterClose
	case before == events.TimeWait, before == events.Close:
		return ResetNoSocket
	}
	return ResetUnexplained
}

// closing: this end's FIN was not acknowledged yet when a segment came or went.
func (t *Timeline) closing(segment *Entry) bool {
	switch t.stateBefore(segment) {
	case events.FinWait1, events.Closing, events.LastAck:
		return true
	}
	return false
}

// stateBefore is the state in which a segment came or went. The change to CLOSE that it made,
// or that made it, does not count.
func (t *Timeline) stateBefore(segment *Entry) events.State {
	state := t.State
	for i := len(t.Entries) - 1; i >= 0; i-- {
		e := &t.Entries[i]
		if e.Type != EntryState {
			continue
		}
		near := e.Time+timerSlack > segment.Time && e.To == events.Close
		if e.Time <= segment.Time && !near {
			return e.To
		}
		state = e.From
	}
	return state
}

// reopen: what has no socket had not ended: the RST that seemed to end it was dropped before TCP had it, or there is another SYN-ACK.
func (a *Assembler) reopen(t *Timeline, end uint64) {
	i := slices.IndexFunc(t.Entries, func(e Entry) bool {
		return e.Type == EntryState && e.Time == end && e.To == events.Close && (e.From == events.SynRecv || e.From == events.TimeWait)
	})
	if i < 0 || t.track.sock != 0 {
		return
	}
	t.State = t.Entries[i].From
	t.Entries = slices.Delete(t.Entries, i, i+1)
	a.entries--
	t.End = Maybe[uint64]{}
	t.track.timedOut = false
	if t.State == events.TimeWait {
		t.Teardown.TimeWaitNS = Maybe[uint64]{}
		a.stayInTimeWait(t)
		return
	}
	t.track.turn++ // out of its queue
	a.halfOpen.push(t)
	t.expectAnswer(&Entry{Dir: Tx, Time: t.track.local.lastSYN}, t.track.local.lastSYN)
}

// isAnsweredBy reports whether all that is known by t's name are RSTs that came since its connect(): netfilter rejects a SYN on its way out
// before anybody has told of it and its port.
func (t *Timeline) isAnsweredBy(old *Timeline) bool {
	return t.State == events.SynSent && old.track.sock == 0 && old.Start >= t.Start &&
		!slices.ContainsFunc(old.Entries, func(e Entry) bool { return e.Step != StepRST || e.Dir != Rx })
}

// rejected takes the drop of a SYN that the RSTs of answer refused, if there is nothing else by that name: netfilter sends one before it throws
// the SYN away (reject with tcp reset, on the way in), of which TCP's functions have told nothing. It had come by then, that is all that is known.
func (a *Assembler) rejected(answer *Timeline, e *events.Event) bool {
	h := e.Header()
	another := func(r Entry) bool { return r.Step != StepRST || r.Dir != Tx || r.Ack != h.Seq()+1+e.PayloadLen() }
	if !answer.track.withheld || !answer.hasSome() || !h.Flags().Has(events.SYN) || slices.ContainsFunc(answer.Entries, another) {
		return false
	}
	t := a.openServer(e, false)
	entry := a.place(t, answer.Start)
	t.describe(entry, e, Rx)
	t.dropped(entry, e)
	a.tell(t, entry)
	a.pair(t, entry)
	a.absorb(t, answer)
	return true
}

// absorb makes the segments of old, which leaves no trace, t's.
func (a *Assembler) absorb(t, old *Timeline) {
	peer := old.livingPeer()
	old.unlink()
	a.forget(old)
	a.stats.Timelines--
	for _, entry := range old.Entries {
		kept := a.place(t, entry.Time)
		*kept = entry
		t.relate(kept)
		a.tell(t, kept)
		a.resetSeen(t, entry.Dir, entry.Time)
	}
	if peer != nil {
		t.link(peer)
	}
}

// isForged: of t there is only an RST that went out, and it went to an endpoint of the same network namespace whose other end is not
// here. netfilter sent it in the other end's name (reject with tcp reset, on the way out); TCP of this host did not. The endpoint has received it.
func (a *Assembler) isForged(t *Timeline) bool {
	to := a.byTuple[t.track.tuple.Reverse()]
	if to == nil || !to.Complete {
		return false
	}
	if p := to.livingPeer(); to.PeerID != 0 && p != t && !to.track.peerElsewhere {
		return false
	}
	var rst *Entry
	for i := range t.Entries {
		if rst = &t.Entries[i]; rst.Step != StepRST || rst.Dir != Tx {
			return false
		}
	}
	return rst != nil && slices.ContainsFunc(to.Entries, func(e Entry) bool {
		return e.Step == StepRST && e.Dir == Rx && e.Seq == rst.Seq && e.Ack == rst.Ack && e.Time >= rst.Time
	})
}

// forwarded: a segment that was to be forwarded is dropped, and netfilter answered it in the name of the host that it was for (reject with
// tcp reset). What was taken for an endpoint of this host leaves no trace.
func (a *Assembler) forwarded(e *events.Event) {
	t := a.find(e)
	if t == nil || t.track.sock != 0 || t.track.countersFinal || t.track.established || t.State == events.TimeWait {
		return
	}
	t.unlink()
	a.forget(t)
	a.stats.Timelines--
}

// reveal tells what was withheld.
func (a *Assembler) reveal(t *Timeline) {
	if !t.track.withheld {
		return
	}
	t.track.withheld = false
	for i := range t.Entries {
		a.tell(t, &t.Entries[i])
	}
}
