package output

import (
	"fmt"
	"strings"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// entry puts a step in words. Steps are told in order: the later refer to the earlier.
func (l *teller) entry(e *timeline.Entry) string {
	switch e.Type {
	case timeline.EntryState:
		words := l.change(e)
		l.state = e
		return words
	case timeline.EntryOwner:
		return fmt.Sprintf("The socket has passed to %s: %s.", human.Process(e.Comm.String(), e.PID), passed[e.Source])
	case timeline.EntryGap:
		if e.Lost == 0 {
			return "Events were lost about here, perhaps of this connection."
		}
		if e.Lost == 1 {
			return "An event of this connection was lost about here."
		}
		return string(human.AppendCount(nil, e.Lost, "event")) + " of this connection were lost about here."
	case timeline.EntryDrop:
		words := l.segment(e)
		reason := string(appendDropReason(nil, e.DropReason, l.options))
		switch {
		case reason == "":
			reason = "no reason given"
		case reason[0] <= '9':
			reason = "reason " + reason
		}
		way := "in"
		if e.Dir == timeline.Tx {
			way = "out"
		}
		return words + " But this host's kernel threw it away on the way " + way + ": " + reason + "."
	}
	return l.segment(e)
}

// passed is how it is known that a socket has passed to another process.
var passed = map[events.OwnerSource]string{
	events.SourceAccept:    "it called accept()",
	events.SourceIO:        "it uses it now",
	events.SourceSnapshot:  "it alone holds it",
	events.SourceInherited: "the former owner does not hold it any more",
}

// by is the process that caused a change, or the one that owns the socket.
func (l *teller) by(e *timeline.Entry) string {
	if e.PID != 0 {
		return human.Process(e.Comm.String(), e.PID)
	}
	return "The application"
}

// change puts a change of state in words.
func (l *teller) change(e *timeline.Entry) string {
	to := e.From.String() + " -> " + e.To.String() + ". "
	switch e.To {
	case events.SynSent:
		return to + l.by(e) + " calls connect(): a SYN is to be sent."
	case events.SynRecv:
		if e.From == events.SynSent {
			return to + "A SYN came instead of a SYN-ACK: both ends open at the same time."
		}
		return to + "The SYN has come: the connection is half-open until its sender proves, by the third ACK, that it hears the answer."
	case events.Established:
		if e.From == events.SynSent || l.t.Role == timeline.RoleSimultaneous {
			return to + "Both directions are proven, connect() returns."
		}
		return to + "Both directions are proven; the connection waits for accept()."
	case events.FinWait1:
		return to + l.by(e) + " closes first: it has no more to send, and its FIN waits to be acknowledged."
	case events.FinWait2:
		return to + "The FIN is acknowledged. " + title(l.names[timeline.Rx]) + " may go on sending until it closes too."
	case events.CloseWait:
		return to + "The FIN of " + l.names[timeline.Rx] + " is taken: nothing more will come, and the application here is to close."
	case events.LastAck:
		return to + l.by(e) + " closes too: only the ACK of its FIN is still to come."
	case events.Closing:
		return to + "The FINs crossed: each end closed before it had heard of the other's close."
	case events.TimeWait:
		return to + "Both directions are closed. Who closed first keeps the ports for 2MSL, on Linux a minute: " +
			"it may have to repeat its last ACK, and no stray segment shall reach a new connection."
	case events.Close:
		return to + l.toClose(e)
	}
	return strings.TrimSpace(to)
}

func (l *teller) toClose(e *timeline.Entry) string {
	h := &l.t.Handshake
	switch e.From {
	case events.TimeWait:
		return "TIME_WAIT is over; the ports are free."
	case events.LastAck:
		if l.t.Teardown.Errno == 0 {
			return "The last FIN is acknowledged: nothing is left of the connection."
		}
	case events.SynSent:
		if h.Errno != 0 {
			return "connect() fails with " + string(human.AppendErrno(nil, h.Errno)) + "."
		}
		return l.by(e) + " ends it before it was established."
	case events.SynRecv:
		return "The half-open connection is given up."
	}
	switch {
	case e.PID != 0:
		return l.by(e) + " aborts the connection: the other end is to learn it by an RST."
	case l.t.Teardown.Errno != 0:
		return "The connection ends with " + string(human.AppendErrno(nil, l.t.Teardown.Errno)) + "."
	}
	return "The connection is over."
}

// segment puts a segment in words.
func (l *teller) segment(e *timeline.Entry) string {
	from, to := l.names[e.Dir], l.names[3-e.Dir]
	own, other := l.letter[e.Dir], l.letter[3-e.Dir]
	before := l.last[e.Dir]
	if e.Step == timeline.StepSYN || e.Step == timeline.StepSYNACK || e.Step == timeline.StepFIN {
		l.last[e.Dir] = e
	}
	number, again := l.numbers.of(e)
	if e.Retransmit && l.last[e.Dir] == e {
		return l.again(e, before)
	}
	if number != "" {
		number += " "
	}
	simultaneous := l.t.Role == timeline.RoleSimultaneous
	switch e.Step {
	case timeline.StepSYN:
		return number + fmt.Sprintf("SYN: %s chose the initial sequence number (ISN) %08x = %s. %s", from, e.Seq, own, offers(&e.Options))
	case timeline.StepSYNACK:
		if simultaneous {
			return fmt.Sprintf("SYN+ACK: %s sends its SYN again, and acknowledges %s.", from, l.acknowledged(e, other))
		}
		return number + fmt.Sprintf("SYN+ACK: %s chose ISN %08x = %s and acknowledged %s, since a SYN takes one sequence number. %s",
			from, e.Seq, own, l.acknowledged(e, other), offers(&e.Options))
	case timeline.StepACK:
		if again {
			return "ACK again: " + from + " answers a repeated SYN+ACK."
		}
		s := fmt.Sprintf("ACK: %s acknowledged %s.", from, l.acknowledged(e, other))
		if e.Len > 0 {
			s += " It carries the first " + bytesOf(e.Len) + "."
		}
		return number + s
	case timeline.StepFIN:
		s := name(e) + ": "
		if e.FINACK {
			s += fmt.Sprintf("%s acknowledged %s, the number after the FIN, and closed its own direction in the same segment", from, l.acknowledged(e, other))
		} else {
			s += from + " has no more to send"
		}
		if e.SeqRel.Known {
			s += fmt.Sprintf("; its FIN takes the number %s+%d", own, e.SeqRel.Value+e.Len)
			if sent := l.sent(e); sent > 0 {
				s += ", after " + string(human.AppendCount(nil, sent, "byte"))
			}
		}
		return number + s + "."
	case timeline.StepFINACK:
		return number + fmt.Sprintf("ACK: %s acknowledged %s, the number after the FIN: that direction is closed.", from, l.acknowledged(e, other))
	case timeline.StepRST:
		return name(e) + ": " + l.rst(e, from, to)
	}
	if e.Len > 0 {
		s := name(e) + ": " + bytesOf(e.Len) + " from " + from
		if e.SeqRel.Known {
			s += fmt.Sprintf(", from %s+%d on", own, e.SeqRel.Value)
		}
		return s + "."
	}
	return fmt.Sprintf("%s: %s acknowledged %s.", name(e), from, l.acknowledged(e, other))
}

// sent is how many bytes came before a FIN. Its number says so but for what goes beyond
// 32 bits, which the counters must confirm; 0 where that is not known.
func (l *teller) sent(e *timeline.Entry) uint64 {
	c := l.t.Traffic.TxBytes
	if e.Dir == timeline.Rx {
		c = l.t.Traffic.RxBytes
	}
	if !c.Known || uint32(c.Value) != e.SeqRel.Value+e.Len-1 {
		return 0
	}
	return c.Value
}

// shortestWait is TCP_RTO_MIN: no timer has anything sent again before.
const shortestWait = 200e6 // nanoseconds

// again is a SYN, SYN-ACK or FIN that was sent before.
func (l *teller) again(e, before *timeline.Entry) string {
	s := name(e) + " again"
	after := uint64(0)
	if before != nil {
		after = e.Time - min(e.Time, before.Time)
		s += ", " + span(after) + " after the last one"
	}
	switch {
	case e.Step == timeline.StepFIN && e.Dir == timeline.Rx && (before == nil || l.state != nil && l.state.To == events.TimeWait):
		s += ": the last ACK did not arrive, and is to be repeated"
	case after >= shortestWait:
		s += ": " + l.names[e.Dir] + " had no answer to it"
	}
	return s + "."
}

// rst says what an RST comes to, by where the connection is.
func (l *teller) rst(e *timeline.Entry, from, to string) string {
	switch {
	case l.t.Handshake.Outcome == timeline.OutcomeRefused:
		s := from + " has no socket that listens there, and refuses"
		if e.Flags.Has(events.ACK) {
			s += "; by acknowledging " + l.acknowledged(e, l.letter[3-e.Dir]) + " it shows which SYN it means"
		}
		return s + "."
	case l.state != nil && l.state.To == events.TimeWait:
		return from + " knows nothing of the connection any more."
	case l.state != nil && l.state.To == events.Close || e.Dir == timeline.Tx:
		return from + " tells " + to + " that the connection is gone; what was under way is lost."
	}
	return from + " breaks the connection off; what was under way is lost."
}

// acknowledged is "f5756038 = x+1".
func (l *teller) acknowledged(e *timeline.Entry, letter string) string {
	s := fmt.Sprintf("%08x", e.Ack)
	if e.AckRel.Known {
		s += fmt.Sprintf(" = %s+%d", letter, e.AckRel.Value)
	}
	return s
}

// name is a segment's flags as people write them: SYN+ACK. An ACK goes without saying in FIN and RST.
func name(e *timeline.Entry) string {
	f := e.Flags &^ events.PSH
	if f.Has(events.FIN) && !e.FINACK || f.Has(events.RST) {
		f &^= events.ACK
	}
	if e.FINACK {
		return "FIN+ACK"
	}
	switch {
	case f.Has(events.SYN | events.ACK):
		return "SYN+ACK"
	case f == events.ACK && e.Len > 0:
		return "Data"
	case f == 0:
		return "A segment without flags"
	}
	return strings.ReplaceAll(flagWords[f], ",", "+")
}

// offers says what the options of a SYN or SYN-ACK offer.
func offers(o *events.Options) string {
	var all []string
	if o.Present.Has(events.OptionMSS) {
		all = append(all, fmt.Sprintf("segments of up to %d bytes", o.MSS))
	}
	if o.Present.Has(events.OptionWScale) {
		all = append(all, fmt.Sprintf("windows in units of %d bytes", 1<<min(o.WScale, 14)))
	}
	if o.Present.Has(events.OptionSACKPermitted) {
		all = append(all, "selective ACKs")
	}
	if o.Present.Has(events.OptionTimestamps) {
		all = append(all, "timestamps")
	}
	if o.Present.Has(events.OptionFastOpen) {
		all = append(all, "Fast Open")
	}
	if o.Present.Has(events.OptionMPTCP) {
		all = append(all, "Multipath TCP")
	}
	switch n := len(all); n {
	case 0:
		return "It offers no options."
	case 1:
		return "It offers " + all[0] + "."
	default:
		return "It offers " + strings.Join(all[:n-1], ", ") + " and " + all[n-1] + "."
	}
}

func bytesOf(n uint32) string { return string(human.AppendCount(nil, uint64(n), "byte")) }
