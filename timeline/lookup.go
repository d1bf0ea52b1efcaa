package timeline

import "tcptrace/events"

// Which timeline an event belongs to, and when it begins one.

// find is the endpoint of an event, by its socket where it has one: the tuple
// of a socket on the wire may differ from its own (local DNAT), and has no port at first.
func (a *Assembler) find(e *events.Event) *Timeline {
	if s := e.Sock(); s != 0 {
		if t := a.bySock[s]; t != nil {
			return t
		}
	}
	return a.byTuple[*e.Tuple()]
}

// opens: it is a SYN that asks for a connection.
func opens(f events.Flags) bool { return f.Has(events.SYN) && !f.Has(events.ACK) }

// findSegment is find for a segment.
func (a *Assembler) findSegment(e *events.Event, dir Dir) *Timeline {
	t := a.find(e)
	if t == nil && dir == Rx && !e.Header().Flags().Has(events.SYN) {
		t = a.redirectedBefore(e)
	}
	return t
}

// ofSegment is the timeline that the segment belongs to, made if need be; nil where
// the segment was dealt with.
func (a *Assembler) ofSegment(e *events.Event, dir Dir) *Timeline {
	tuple, isSYN := e.Tuple(), opens(e.Header().Flags())
	t := a.findSegment(e, dir)

	if t != nil && isSYN && dir == Tx && t.isAnothers(e) {
		a.supersede(t)
		t = a.find(e)
	}
	if t != nil && t.track.replacesID != 0 {
		return a.ofReplacing(t, e, dir)
	}
	if t != nil && isSYN && dir == Rx {
		t = a.ofSYN(t, e)
	}
	if t != nil {
		if !t.track.bound || (t.track.tuple != *tuple && !t.track.hasAlias) {
			a.bind(t, tuple)
		}
		return t
	}
	if w := a.waitOf(tuple, e.Time()); w != nil {
		if isSYN && dir == Rx {
			n := a.openServer(e, true)
			n.track.replacesID = w.id
			return n
		}
		if !isSYN {
			a.afterwards(w, e, dir)
			return nil
		}
	}
	if isSYN && dir == Rx {
		return a.openServer(e, true)
	}
	return a.openBySegment(e, dir)
}

// ofReplacing is the timeline that a segment belongs to where t has begun on the tuple of one in TIME_WAIT; nil where
// the segment was dealt with.
func (a *Assembler) ofReplacing(t *Timeline, e *events.Event, dir Dir) *Timeline {
	flags := e.Header().Flags()
	// Where its SYN-ACK was missed, the ACK of it shows that there was one.
	acks := dir == Rx && !flags.Has(events.RST) && e.Header().Seq() == t.track.remote.isn+1
	if !flags.Has(events.SYN) && !acks {
		return a.giveBack(t, e, dir)
	}
	if !opens(flags) {
		a.reuse(t)
	}
	return t
}

// ofSYN is the timeline that a SYN that came in belongs to, where t has its tuple; nil where t is another connection, and over.
func (a *Assembler) ofSYN(t *Timeline, e *events.Event) *Timeline {
	switch {
	case t.State == events.TimeWait:
		// Whether it may have the tuple is for the answer to say.
		n := a.openServer(e, false)
		n.track.replacesID, n.track.replaces = t.ID, t
		return n
	case t.End.Known:
	case (t.track.cookie && !t.track.established || t.unanswered()) && t.track.remote.isn != e.Header().Seq():
		// Nothing is kept of a SYN that a cookie answered, or nobody: this is another connection.
		a.setState(t, e.Time(), events.Close, nil)
		t.track.timedOut = true
		t.End = Some(e.Time())
	default:
		return t
	}
	a.supersede(t)
	return nil
}

// unanswered: of this connection there were only SYNs, which this host dropped.
func (t *Timeline) unanswered() bool {
	return t.track.server && t.State == events.Close && t.track.sock == 0 && !t.End.Known
}

// isAnothers: a socket that sends this SYN is not the one that the timeline is of. The kernel has used its memory again, and
// neither the end of the one nor the beginning of the other was told.
func (t *Timeline) isAnothers(e *events.Event) bool {
	k := &t.track
	return k.sock != 0 && k.sock == e.Sock() && k.established && k.bound && k.tuple != *e.Tuple() && !(k.hasAlias && k.alias == *e.Tuple())
}

// openServer begins a server's timeline with the SYN that came in.
func (a *Assembler) openServer(e *events.Event, replace bool) *Timeline {
	t := a.open(e, e.Time())
	t.Role = RoleServer
	t.State = events.Close
	t.track.server = true
	a.claim(t, e)
	a.halfOpen.push(t)
	if replace {
		a.bind(t, e.Tuple())
	} else {
		t.track.tuple, t.track.bound = *e.Tuple(), true
		a.byTuple[*e.Tuple()] = t
	}
	return t
}

// openBySegment begins the timeline of a segment that belongs to none, other than a SYN that came in.
func (a *Assembler) openBySegment(e *events.Event, dir Dir) *Timeline {
	t := a.openBefore(e)
	switch flags := e.Header().Flags(); {
	case opens(flags):
		// Its connect() was not seen.
		t.Role = RoleClient
		t.State = events.SynSent
		a.halfOpen.push(t)
	case flags.Has(events.SYN):
		t.State = events.Close
		if dir == Rx {
			t.State = events.SynSent
		}
		a.halfOpen.push(t)
	default:
		t.track.withheld = flags.Has(events.RST) && e.Sock() == 0
		a.schedule(&a.strays, t, a.now+strayDelay)
	}
	a.bindSock(t, e.Sock())
	return t
}

// ofState is the timeline of the socket that changed its state, made if need be; nil where the change says nothing of it.
func (a *Assembler) ofState(e *events.Event) *Timeline {
	from := e.OldState()
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
		return nil
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
	return t
}

// givesUp: the kernel throws away a socket that it has just made of a half-open connection. Of two third ACKs that come at once on two
// processors each has one made, and one is kept (inet_ehash_nolisten()); the connection goes on. Where it does not, a RST says so.
func (t *Timeline) givesUp(e *events.Event) bool {
	return e.OldState() == events.SynRecv && e.NewState() == events.Close && e.Errno() == 0 && !e.Notes().Has(events.NoteByProcess) &&
		t.track.server && t.track.sock != e.Sock() && !t.track.countersFinal && !t.lastIsReset()
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
