package timeline

import "tcptrace/events"

const (
	// claimable is how long a loss waits for the timeline that it is of: a SYN that was lost comes again by then.
	claimable = 4 * firstRetry
	// maxUnclaimed bounds how many do.
	maxUnclaimed = 1 << 14
)

// Lost takes note that events of an endpoint were lost. Where nothing says which endpoint, it may have been any.
func (a *Assembler) Lost(l events.Loss) []Update {
	a.begin()
	t := a.bySock[l.Sock]
	if t == nil {
		t = a.byTuple[l.Tuple]
	}
	switch {
	case t != nil:
		a.gap(t, l.FirstNS, l.Records)
	case l.Tuple == events.Tuple{}:
		a.inDoubt = max(a.inDoubt, l.FirstNS)
		for t := a.live.first; t != nil; t = t.track.live.next {
			a.gap(t, l.FirstNS, 0)
		}
	case a.waits[l.Tuple] == nil: // of those the line was written
		if len(a.unclaimed) >= maxUnclaimed || l.FirstNS > a.unclaimedAt+claimable {
			clear(a.unclaimed)
		}
		l.Records += a.unclaimed[l.Tuple].Records
		a.unclaimed[l.Tuple] = l
		a.unclaimedAt = max(a.unclaimedAt, l.FirstNS)
	}
	return a.updates
}

// claim marks a timeline that begins with what was not an endpoint's first event, by what was lost before.
func (a *Assembler) claim(t *Timeline, e *events.Event) {
	if len(a.unclaimed) == 0 {
		return
	}
	tuple := *e.Tuple()
	l, found := a.unclaimed[tuple]
	if !found && e.Sock() != 0 {
		tuple.LocalPort = 0 // a client's, before it had one
		l, found = a.unclaimed[tuple]
		found = found && l.Sock == e.Sock()
	}
	if !found {
		return
	}
	delete(a.unclaimed, tuple)
	if l.FirstNS+claimable >= t.Start {
		a.lacksBeginning(t, e, l.Records)
	}
}

// lacksBeginning marks a timeline that begins with e by what was, or may have been, lost before. Where e may be no affair of
// this host's, that is told when e is.
func (a *Assembler) lacksBeginning(t *Timeline, e *events.Event, lost uint64) {
	t.track.unconfirmed = e.Notes().Has(events.NoteUnconfirmed)
	a.gap(t, t.Start, lost)
	t.track.unconfirmed = false
}

// gap marks what may be missing; lost 0 means that nobody knows how much.
func (a *Assembler) gap(t *Timeline, at, lost uint64) {
	t.Complete = false
	t.LostEvents += lost
	entry := a.place(t, max(at, t.Start))
	entry.Type, entry.Lost = EntryGap, lost
	a.tell(t, entry)
}
