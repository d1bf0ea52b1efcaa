package timeline

import "tcptrace/events"

// The event that tells of a process is believed for what it saw that process do.

// Confidence in a Process.
type Confidence uint8

const (
	ConfidenceUnknown Confidence = iota
	// Likely: it holds the listening socket, or is one of several that hold the connection's.
	Likely
	// Certain: it was seen at the socket (connect, accept, read, write), or was found to be the only one
	// that holds it.
	Certain
)

var confidenceNames = []string{"unknown", "likely", "certain"}

func (c Confidence) String() string { return name(confidenceNames, c) }

// Confidence is how sure it is that the socket is this process's.
func (p *Process) Confidence() Confidence {
	switch {
	case p.Source == events.SourceUnknown:
		return ConfidenceUnknown
	case p.Source == events.SourceListen || p.Shared:
		return Likely
	}
	return Certain
}

func processOf(e *events.Event) Process {
	return Process{
		PID:      e.PID(),
		UID:      e.UID(),
		TID:      e.TID(),
		Start:    e.ProcessStart(),
		CgroupID: e.CgroupID(),
		Comm:     e.Comm(),
		Source:   e.Source(),
		Shared:   e.Notes().Has(events.NoteShared),
	}
}

func actorOf(e *events.Event) Actor { return Actor{PID: e.PID(), Comm: e.Comm()} }

// belongs makes p the owner. That the socket has passed to another process is an entry.
func (a *Assembler) belongs(t *Timeline, at uint64, p Process) {
	known := t.Process
	t.Process = p
	if known.Source == events.SourceUnknown || known.PID == p.PID {
		return
	}
	entry := a.place(t, max(at, t.Start))
	entry.Type, entry.PID, entry.Comm, entry.Source = EntryOwner, p.PID, p.Comm, p.Source
	a.tell(t, entry)
}

// connects: e's process called connect().
func (a *Assembler) connects(t *Timeline, e *events.Event) {
	if e.Source() == events.SourceUnknown {
		return
	}
	t.OpenedBy = actorOf(e)
	a.belongs(t, e.Time(), processOf(e))
}

// listens: the connection is the listener's until it is accepted.
func (a *Assembler) listens(t *Timeline, e *events.Event) {
	if e.Source() == events.SourceListen && t.Process.Source == events.SourceUnknown {
		t.Process = processOf(e)
	}
}

// accepts: e's process has the connection from accept().
func (a *Assembler) accepts(t *Timeline, e *events.Event) {
	t.AcceptedBy = actorOf(e)
	t.track.acceptedAt = e.Time()
	if t.Process.Source <= events.SourceSnapshot {
		a.belongs(t, e.Time(), processOf(e))
	}
}

// uses: e's process has read or written, as the last of those that do.
func (a *Assembler) uses(t *Timeline, e *events.Event) {
	p := processOf(e)
	if t.Process.PID == p.PID && t.Process.Source >= events.SourceAccept {
		return // it uses what it opened or accepted
	}
	a.belongs(t, e.Time(), p)
}

// closes: e's process has closed or shut down. That need not be the owner: a child that was forked
// meanwhile may have been the last to hold the socket, and who destroys it (ss -K) need not hold it at all.
func (a *Assembler) closes(t *Timeline, e *events.Event) {
	known, user := t.Process, e.UserPID()
	switch {
	case known.Source >= events.SourceAccept, e.CloseCall() == events.CloseDestroy:
	case user != 0 && user == known.PID:
		// Not told when it happened, since the listener's process was thought to be the owner.
		if known.Source == events.SourceListen {
			t.Process.Source, t.Process.Shared = events.SourceIO, false
		}
	case user != 0 && user != e.PID():
		// Another one used it, of which the record was lost.
	default:
		p := processOf(e)
		p.Shared = known.Shared && known.Source == events.SourceSnapshot
		a.belongs(t, e.Time(), p)
	}
}

// holds: the socket is in the files of e's process. Who else holds it is told by other events.
func (a *Assembler) holds(t *Timeline, e *events.Event) {
	if e.Source() == events.SourceUnknown {
		return
	}
	p, k := processOf(e), &t.track
	if e.Notes().Has(events.NoteLast) {
		if k.holder.PID != 0 && k.holder.PID != p.PID {
			p.Shared = true
		}
		k.holder = p
		k.ownerHolds = k.ownerHolds || p.PID == t.Process.PID
		return
	}
	switch known := &t.Process; {
	case known.Source == events.SourceUnknown, known.Source == events.SourceListen && p.Source == events.SourceSnapshot:
		*known = p
	case known.Source == events.SourceSnapshot && known.PID != p.PID:
		known.Shared = true
	}
}

// inherits settles, when all holders were told, who has a socket that its owner does not hold any more.
func (a *Assembler) inherits(t *Timeline, at uint64) {
	k := &t.track
	if k.holder.PID == 0 || k.ownerHolds {
		return
	}
	p := k.holder
	if t.Process.Source != events.SourceUnknown && t.Process.Source != events.SourceListen {
		p.Source = events.SourceInherited
	}
	a.belongs(t, at, p)
}
