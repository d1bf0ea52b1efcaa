package finding

import (
	"fmt"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// opened reports whether there was a connection that could be closed or reset.
func (f *Finder) opened() bool {
	o := f.t.Handshake.Outcome
	return o == timeline.OutcomeEstablished || o == timeline.OutcomeUnobserved
}

// resets tells who reset a connection, in which state, and why.
func (f *Finder) resets() {
	t, rst := f.t, f.s.rst
	if rst == nil || !f.opened() {
		return
	}
	if t.Teardown.Kind != timeline.TeardownReset {
		over := t.State == events.Close || t.State == events.TimeWait
		if over && f.s.last == nil {
			f.strayReset()
		} else if over {
			f.add("reset-after-close", "A RST %s at %s, in %s: both sides had closed already.",
				sentOrCame(rst.Dir), f.at(rst.Time), f.s.beforeRST)
		}
		return
	}
	why := f.inferredReason()
	if r := t.Teardown.ResetReason; r != 0 && rst.Dir == rx {
		why = f.resetReason() + ", in the word of its kernel, which is this one"
	} else if r != 0 {
		why = f.saidReason(why)
	}
	if rst.Dir == tx && f.outOfMemory() {
		f.orphanLimit()
	} else if rst.Dir == tx {
		f.add("reset-sent", "%s reset the connection with %s at %s, in %s: %s.",
			f.resetter(), t.Remote, f.at(rst.Time), f.s.beforeRST, why)
	} else {
		f.add("reset-received", "%s reset the connection at %s, in %s: %s.",
			t.Remote, f.at(rst.Time), f.s.beforeRST, why)
	}
}

// strayReset tells of a RST of a connection of which no state was seen.
func (f *Finder) strayReset() {
	rst, why := f.s.rst, ", or its firewall rejects what came"
	if f.t.Teardown.ResetReason != 0 {
		why = " (" + f.resetReason() + ", in the kernel's word)"
	}
	if rst.Dir == tx {
		f.add("reset-stray", "This host answered a segment of %s with an RST at %s: it had no such connection, or none any more%s.", f.t.Remote, f.at(rst.Time), why)
	} else {
		f.add("reset-stray", "%s sent an RST at %s, and no socket was seen here for the connection.", f.t.Remote, f.at(rst.Time))
	}
}

// outOfMemory: TCP had too much to remember to go on closing this.
func (f *Finder) outOfMemory() bool {
	d := &f.t.Teardown
	return d.ResetCause == timeline.ResetMemory || f.resetReason() == timeline.ResetMemory.String()
}

func (f *Finder) orphanLimit() {
	word := "inferred"
	if name := timeline.ResetMemory.String(); f.resetReason() == name {
		word = name + ", in the kernel's word"
	}
	f.add("orphan-limit", "The kernel reset the connection with %s at %s, in %s: no process held it any more, and there were too many "+
		"of that kind or too little memory for TCP (%s).", f.t.Remote, f.at(f.s.rst.Time), f.s.beforeRST, word)
}

// resetter is the process whose call made the RST, or this host.
func (f *Finder) resetter() string {
	if e := f.aborted(); e != nil && !f.hadNoSocket() {
		return human.Process(e.Comm.String(), e.PID)
	}
	return "This host"
}

// aborted is the change to CLOSE that a process made, with nothing of a close before it.
func (f *Finder) aborted() *timeline.Entry {
	if l := f.s.last; l != nil && l.To == events.Close && l.PID != 0 {
		return l
	}
	return nil
}

// inferredReason says why there was an RST, as far as what is known allows it.
func (f *Finder) inferredReason() string {
	t, s := f.t, &f.s
	if s.rst.Dir == rx {
		switch s.beforeRST {
		case events.CloseWait, events.LastAck:
			return "it had sent its FIN, its application was gone, and what came after that was refused (inferred)"
		case events.FinWait1, events.FinWait2, events.Closing:
			return "it came after this end's FIN; its application closed with data unread, or was gone (inferred)"
		}
		return "its application aborted (data unread at close, SO_LINGER 0), nobody there knew the connection any more, or something on the way sent it (inferred)"
	}
	d := &t.Teardown
	switch {
	case f.destroyed():
		return "the socket was destroyed from outside, as ss -K does (inferred)"
	case f.disconnected():
		return "the application disconnected it, connect() to AF_UNSPEC (inferred)"
	case d.ResetCause == timeline.ResetTimeout:
		return "keepalives or TCP_USER_TIMEOUT ran out (inferred)"
	case d.ResetCause == timeline.ResetUnread && t.Traffic.RxBytes.Known:
		return fmt.Sprintf("closed with %s of the %s received left unread (inferred)", size(uint64(d.Unread)), size(t.Traffic.RxBytes.Value))
	case d.ResetCause == timeline.ResetUnread:
		return fmt.Sprintf("closed with %s left unread (inferred)", size(uint64(d.Unread)))
	case d.ResetCause == timeline.ResetLingerZero:
		return "closed with SO_LINGER 0 (inferred)"
	case d.ResetCause == timeline.ResetAfterClose:
		return "data came though the application had closed (inferred)"
	case f.aborted() == nil:
		return "the kernel, or its firewall, did it on its own (reason not known)"
	}
	return "closed with data unread, or with SO_LINGER 0 (inferred)"
}

// destroyed: a process ended the socket from outside (tcp_abort()).
func (f *Finder) destroyed() bool { return unix.Errno(f.t.Teardown.Errno) == unix.ECONNABORTED }

// disconnected: connect() to AF_UNSPEC ended the connection.
func (f *Finder) disconnected() bool {
	c := &f.t.ClosedBy
	e := f.aborted()
	return e != nil && c.Call == events.CloseDisconnect && c.PID == e.PID
}

// hadNoSocket: by the kernel's word the socket was gone when this host sent the RST.
func (f *Finder) hadNoSocket() bool {
	return f.t.Teardown.ResetReason != 0 && f.resetReason() == timeline.ResetNoSocket.String()
}

// saidReason is the kernel's word, with what is inferred where that says more, and not something else.
func (f *Finder) saidReason(inferred string) string {
	word := f.resetReason() + ", in the kernel's word"
	if f.hadNoSocket() || f.t.Teardown.ResetCause == timeline.ResetUnexplained && !f.destroyed() && !f.disconnected() {
		return word
	}
	return inferred[:len(inferred)-len(" (inferred)")] + " (" + word + ")"
}

// resetReason is the kernel's word for an RST that this host sent, or its number.
func (f *Finder) resetReason() string {
	r := f.t.Teardown.ResetReason
	if f.o.ResetReason != nil {
		if name := f.o.ResetReason(r); name != "" {
			return name
		}
	}
	return fmt.Sprintf("reset reason %d", r)
}

// closing tells what was unusual between the first FIN and the end.
func (f *Finder) closing() {
	t, s := f.t, &f.s
	if !f.opened() {
		return
	}
	d := &t.Teardown
	f.finsAgain()
	if s.lateFIN != nil {
		f.add("late-fin", "The FIN came again at %s, in TIME_WAIT, and was answered again: the last ACK had been lost.", f.at(s.lateFIN.Time))
	}
	if d.HalfClosedNS.Known && d.HalfClosedNS.Value >= second {
		who, other := "This end", "the other"
		if d.Initiator == timeline.SideRemote {
			who, other = "The other end", "this one"
		}
		f.add("half-closed", "%s sent its FIN first, %s %s later.", who, other, span(d.HalfClosedNS.Value))
	}
	f.closeWait()
	f.unanswered()
	if v := t.Handshake.ReusedNS; v.Known {
		f.add("time-wait-reused", "The connection before it on the same addresses and ports was in TIME_WAIT, for %s already.", span(v.Value))
	}
	c := &t.Traffic
	control := uint64(s.syn[tx].repeats + s.synack[tx].repeats + s.fin[tx].repeats)
	if c.Retransmits.Known && c.Retransmits.Value > control {
		f.add("data-retransmitted", "%s sent again, SYN, SYN-ACK and FIN not counted; %s sent in all.%s",
			were(c.Retransmits.Value-control, "segment"), were(c.TxSegments.Value, "segment"), f.whyAgain())
	}
	over := t.End.Known || t.State == events.TimeWait
	if over && t.Complete && t.Handshake.Outcome == timeline.OutcomeEstablished &&
		c.TxBytes == timeline.Some(uint64(0)) && c.RxBytes == timeline.Some(uint64(0)) {
		f.add("no-data", "Established and closed without a byte in either direction.")
	}
}

func (f *Finder) finsAgain() {
	for _, d := range [...]timeline.Dir{tx, rx} {
		p := &f.s.fin[d]
		if p.repeats == 0 || d == rx && f.s.lateFIN != nil {
			continue
		}
		f.add("fin-retransmitted", "The FIN %s %d times, %s%s.", sentOrCame(d), p.n, f.times(d, timeline.StepFIN), f.dropped(d, timeline.StepFIN))
	}
}

// closeWait tells of an application that does not close.
func (f *Finder) closeWait() {
	entered := uint64(0)
	for i := range f.t.Entries {
		e := &f.t.Entries[i]
		if e.Type != timeline.EntryState {
			continue
		}
		if e.To == events.CloseWait {
			entered = e.Time
		} else if e.From == events.CloseWait && entered != 0 {
			if age := e.Time - entered; age >= uint64(f.o.CloseWait) {
				f.add("close-wait-leak", "The other end closed at %s; %s closed %s later.", f.at(entered), f.process(), span(age))
			}
			return
		}
	}
	if f.t.State != events.CloseWait {
		return
	}
	switch now := f.t.WrittenAt; {
	case entered == 0:
		if age := now - min(now, f.t.Start); age >= uint64(f.o.CloseWait) {
			f.add("close-wait-leak", "The other end closed before tracing began; %s has not closed in the %s since.", f.process(), span(age))
		}
	case now-min(now, entered) >= uint64(f.o.CloseWait):
		f.add("close-wait-leak", "The other end closed at %s; %s has not closed in the %s since.", f.at(entered), f.process(), span(now-entered))
	}
}

// unanswered tells of a close that the other end took no part in.
func (f *Finder) unanswered() {
	t, s := f.t, &f.s
	fins := s.fin[tx]
	state := t.State // in which it waits, or waited last
	if state == events.Close && s.last != nil {
		state = s.last.From
	}
	waited := t.WrittenAt
	if t.End.Known {
		waited = t.End.Value
	}
	switch state {
	case events.FinWait1, events.LastAck, events.Closing:
		if fins.n > 0 && (f.timedOut() || f.destroyed() && t.Teardown.Kind == timeline.TeardownUnobserved || !t.End.Known && fins.repeats > 0) {
			f.add("fin-unacknowledged", "%s sent, %s%s, and no ACK came in %s%s%s.", were(uint64(fins.n), "FIN"),
				f.times(tx, timeline.StepFIN), f.dropped(tx, timeline.StepFIN), span(waited-min(waited, fins.first.Time)), errno(t.Teardown.Errno), f.icmp())
			return
		}
	case events.FinWait2:
		if since := f.entered(events.FinWait2); t.Teardown.Orphan && waited-min(waited, since) >= second {
			f.add("fin-wait2-orphan", "The application has closed, the FIN was acknowledged at %s, and the other end has not closed in the %s since.",
				f.at(since), span(waited-since))
			return
		}
	}
	if f.timedOut() {
		f.add("connection-timed-out", "The kernel gave up in %s at %s%s: the other end had acknowledged nothing new for too long%s.",
			state, f.at(waited), errno(t.Teardown.Errno), f.icmp())
	}
}

// entered is when the connection last came into a state.
func (f *Finder) entered(state events.State) uint64 {
	at := f.t.Start
	for i := range f.t.Entries {
		if e := &f.t.Entries[i]; e.Type == timeline.EntryState && e.To == state {
			at = e.Time
		}
	}
	return at
}
