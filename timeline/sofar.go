package timeline

import (
	"iter"

	"tcptrace/events"
)

// All are the timelines that are kept at the moment, oldest first, their IDs rising. They belong
// to the Assembler, and are valid until its next call.
func (a *Assembler) All() iter.Seq[*Timeline] {
	return func(yield func(*Timeline) bool) {
		for t := a.live.first; t != nil; t = t.track.live.next {
			if !t.track.unconfirmed && !t.track.withheld && !yield(t) {
				return
			}
		}
	}
}

// Waiting is how many connections are in TIME_WAIT whose timeline was told already.
func (a *Assembler) Waiting() int { return len(a.waits) }

// SoFar is a copy to keep of what is known at now, nanoseconds of CLOCK_BOOTTIME, concluded as if
// it were told then. The Assembler knows nothing of it.
func (t *Timeline) SoFar(now uint64) *Timeline {
	c := t.Clone()
	c.track = t.track
	c.track.countersKnown = t.CountersKnown()
	c.WrittenAt = now
	c.conclude()
	c.track = tracking{}
	return c
}

// CountersKnown tells whether Counters are those of a moment ago, not of the last change of state: since
// then it may have sent more.
func (t *Timeline) CountersKnown() bool {
	return t.track.countersKnown && (t.track.countersFinal || t.track.sampled)
}

// Counters are the socket's own when the kernel last told them. Those of a timeline that was told are in
// its Traffic.
func (t *Timeline) Counters() *events.Counters { return &t.track.counters }

// SentAgain is how many of its entries are segments that this end sent again. Those of a half-open server side no counter of a socket has.
func (t *Timeline) SentAgain() (n uint32) {
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Retransmit && e.Dir == Tx {
			n++
		}
	}
	return n
}

// StateSince is when it came into its State, nanoseconds of CLOCK_BOOTTIME; its Start where that was not seen.
func (t *Timeline) StateSince() uint64 {
	for i := len(t.Entries) - 1; i >= 0; i-- {
		if e := &t.Entries[i]; e.Type == EntryState {
			return e.Time
		}
	}
	return t.Start
}
