package timeline

import (
	"slices"
	"time"

	"tcptrace/events"
)

// requestLife is how long a request sock lives that nobody answers: 5 SYN-ACKs are repeated after 1, 2, 4, 8
// and 16 s, and 32 s later it goes (tcp_synack_retries).
const requestLife = uint64(64 * time.Second)

// snapshot is a socket that was there before, or at the end its last counters.
func (a *Assembler) snapshot(e *events.Event) {
	if e.NewState() == events.TimeWait {
		a.waitedBefore(e)
		return
	}
	t := a.find(e)
	if t == nil {
		if e.Notes().Has(events.NoteLast) && a.stats.Evicted > 0 {
			return // its line was written before its time
		}
		t = a.openBefore(e)
	}
	if t.State == events.StateUnknown {
		a.wasEarlier(t, e)
	}
	a.bindSock(t, e.Sock())
	a.holds(t, e)
	if !t.track.countersFinal && e.NewState() != events.NewSynRecv {
		t.setCounters(e)
		t.track.sampled = true
	}
}

// wasEarlier takes over where the connection stood when the tracer came.
func (a *Assembler) wasEarlier(t *Timeline, e *events.Event) {
	was := e.Earlier()
	t.State = e.NewState()
	t.track.earlier = true
	end := otherEnd(&t.track.tuple)
	if known, found := a.earlier[end]; found && known == nil || len(known) == mostEarlier {
		a.earlier[end] = nil
	} else {
		a.earlier[end] = append(known, t)
	}
	local, remote := &t.track.local, &t.track.remote
	if was.Scaled {
		local.scale, remote.scale = was.RcvScale, was.SndScale
		local.scaleKnown, remote.scaleKnown = true, true
	}
	switch t.State {
	case events.NewSynRecv:
		t.State = events.SynRecv
		t.Role, t.track.server = RoleServer, true
		t.track.giveUp = e.Time() + requestLife
		a.halfOpen.push(t)
		local.isn, local.isnKnown = was.SndNxt-1, true
		remote.isn, remote.isnKnown = was.RcvNxt-1, true
	case events.SynSent:
		t.Role = RoleClient
		a.halfOpen.push(t)
		if was.Steady {
			local.isn, local.isnKnown = was.SndUna, true
		}
		return
	case events.Established, events.CloseWait, events.FinWait2:
		if was.Steady {
			t.findBeginning(e.Counters(), &was)
		}
	}
	if was.Steady {
		local.next, local.nextKnown = was.SndNxt, true
		remote.next, remote.nextKnown = was.RcvNxt, true
	}
}

// mostEarlier bounds those of one other end that are told apart: a server that this host's clients use may have thousands.
const mostEarlier = 8

// remoteEnd names the other end of a connection of a network namespace.
type remoteEnd struct {
	addr  [16]byte
	port  uint16
	netns uint32
}

func otherEnd(t *events.Tuple) remoteEnd { return remoteEnd{t.RemoteAddr, t.RemotePort, t.Netns} }

// redirectedBefore is the connection that was there before and that a segment from the device belongs to, though the device
// has another name for this end: netfilter redirects it, see redirected. Nil where that is not certain: the segment goes on where one
// connection alone of the other end's stood.
func (a *Assembler) redirectedBefore(e *events.Event) (found *Timeline) {
	if a.waits[*e.Tuple()] != nil {
		return nil
	}
	for _, t := range a.earlier[otherEnd(e.Tuple())] {
		if t.track.sock == 0 || t.track.hasAlias || !t.goesOn(e.Header()) {
			continue
		}
		if found != nil {
			return nil
		}
		found = t
	}
	if found != nil {
		a.bind(found, e.Tuple())
	}
	return found
}

// goesOn: the received segment's numbers are not below those where the connection stood when the tracer came.
func (t *Timeline) goesOn(h events.Header) bool {
	local, remote := &t.track.local, &t.track.remote
	return remote.nextKnown && reached(h.Seq(), remote.next) &&
		(!h.Flags().Has(events.ACK) || !local.nextKnown || int32(h.Ack()-local.next) > -1<<30)
}

// forgetEarlier takes the timeline from those that were there before.
func (a *Assembler) forgetEarlier(t *Timeline) {
	if !t.track.earlier {
		return
	}
	end := otherEnd(&t.track.tuple)
	known := a.earlier[end]
	if known == nil {
		return
	}
	left := slices.DeleteFunc(known, func(other *Timeline) bool { return other == t })
	if len(left) == 0 {
		delete(a.earlier, end)
	} else {
		a.earlier[end] = left
	}
}

// findBeginning counts back to the initial sequence numbers, which the kernel does not keep. Those that
// were sent are found by two counts, which differ by the SYN where this side was the client; if
// they differ otherwise, neither is believed.
func (t *Timeline) findBeginning(c events.Counters, was *events.Earlier) {
	local, remote := &t.track.local, &t.track.remote
	remote.isn, remote.isnKnown = was.RcvNxt-1-uint32(c.BytesReceived), true

	sent := uint32(c.BytesSent - c.BytesRetransmitted)
	if t.State == events.FinWait2 {
		sent++ // the FIN
	}
	isn := was.SndNxt - 1 - sent
	switch acked := was.SndUna - isn - 1; uint32(was.BytesAcked) {
	case acked:
		t.Role = RoleServer
	case acked + 1:
		t.Role = RoleClient
	default:
		return
	}
	local.isn, local.isnKnown = isn, true
}

// waitedBefore remembers a connection that was in TIME_WAIT before. It has no line unless something happens
// to it.
func (a *Assembler) waitedBefore(e *events.Event) {
	tuple := *e.Tuple()
	if a.byTuple[tuple] != nil || a.waits[tuple] != nil || len(a.waits) >= 4*a.opts.MaxLive {
		return // the hooks told of it
	}
	was := e.Earlier()
	a.nextID++
	w := &timeWait{id: a.nextID, tuple: tuple, start: was.TimeWait, begun: was.TimeWait, untold: true}
	if w.begun == 0 {
		w.start = a.now
	}
	w.expires = w.start + timeWaitLen
	w.local.finEnd, w.local.finSent, w.local.finAcked = was.SndNxt, true, true
	w.remote.finEnd, w.remote.finSent, w.remote.finAcked = was.RcvNxt, true, true
	a.waits[tuple] = w
	a.expiring.push(w, w.expires, w.turn)
}

// tellWait tells what happened in TIME_WAIT: as an addendum to the line that was written, or, of one that was
// there before the tracer, as the line itself.
func (a *Assembler) tellWait(w *timeWait, t *Timeline) {
	if !w.untold {
		a.updates = append(a.updates, Update{Kind: UpdateAddendum, Timeline: t})
		return
	}
	w.untold = false
	if last := &t.Entries[len(t.Entries)-1]; last.Type == EntryState {
		t.State, t.End = last.To, Some(last.Time)
	}
	t.WrittenAt = a.now
	t.conclude()
	a.stats.Timelines++
	a.stats.Written++
	a.updates = append(a.updates, Update{Kind: UpdateEnd, Timeline: t})
}
