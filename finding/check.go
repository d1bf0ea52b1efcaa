package finding

import (
	"tcptrace/events"
	"tcptrace/timeline"
)

// transitions are the changes of state that RFC 9293, figure 5, has, and those with
// which Linux leaves any state for CLOSE.
var transitions = map[events.State][]events.State{
	events.Close:       {events.SynSent, events.Listen, events.SynRecv},
	events.Listen:      {events.SynRecv, events.SynSent, events.Close},
	events.SynSent:     {events.Established, events.SynRecv, events.Close},
	events.SynRecv:     {events.Established, events.FinWait1, events.CloseWait, events.Close},
	events.Established: {events.FinWait1, events.CloseWait, events.Close},
	events.FinWait1:    {events.FinWait2, events.Closing, events.TimeWait, events.Close},
	events.FinWait2:    {events.TimeWait, events.Close},
	events.Closing:     {events.TimeWait, events.Close},
	events.TimeWait:    {events.Close},
	events.CloseWait:   {events.LastAck, events.Close},
	events.LastAck:     {events.Close},
}

func legal(from, to events.State) bool {
	for _, s := range transitions[from] {
		if s == to {
			return true
		}
	}
	return false
}

// selfCheck verifies the rules of handshake and close (RFC 9293, sections 3.4 to 3.6). Where
// something was not seen nothing can be broken.
func (f *Finder) selfCheck() {
	t := f.t
	if !t.Complete || t.LostEvents > 0 || t.Local == t.Remote {
		return
	}
	c := checker{f: f}
	for i := range t.Entries {
		switch e := &t.Entries[i]; e.Type {
		case timeline.EntryState:
			c.change(e)
		case timeline.EntrySegment, timeline.EntryDrop:
			c.segment(e)
		}
	}
	c.end()
}

// checker walks along a connection.
type checker struct {
	f     *Finder
	state events.State
	// visited says which states it was in.
	visited uint16
	// finEnd is the sequence number after each side's FIN, relative.
	finEnd   [timeline.Rx + 1]timeline.Maybe[uint32]
	acked    bool // the third ACK was seen
	reset    bool
	received [timeline.StepRST + 1]bool // and not dropped
}

func (c *checker) change(e *timeline.Entry) {
	if !legal(e.From, e.To) {
		c.f.add("transition-illegal", "From %s to %s at %s: there is no such change.", e.From, e.To, c.f.at(e.Time))
	}
	c.state = e.To
	c.visited |= 1 << e.To
	if e.To == events.Established && c.f.t.Role == timeline.RoleClient && !c.received[timeline.StepSYNACK] &&
		c.f.t.Handshake.Kind == timeline.HandshakeThreeWay {
		c.f.add("state-disagrees", "ESTABLISHED at %s, though no SYN-ACK had come.", c.f.at(e.Time))
	}
}

func (c *checker) segment(e *timeline.Entry) {
	has := e.Flags.Has
	if !has(events.ACK) && !has(events.SYN) && !has(events.RST) {
		c.f.add("ack-flag-missing", "A segment %s at %s without the ACK flag: %s.", sentOrCame(e.Dir), c.f.at(e.Time), flags(e.Flags))
	}
	dropped := e.Type == timeline.EntryDrop
	if has(events.RST) {
		c.reset = c.reset || !dropped
		return
	}
	if dropped && e.Dir == rx {
		return // nothing came of it
	}
	c.received[e.Step] = c.received[e.Step] || e.Dir == rx
	c.numbers(e)
	c.agreement(e)
}

// numbers checks x+1 and y+1, and that SYN and FIN take one sequence number each.
func (c *checker) numbers(e *timeline.Entry) {
	t := c.f.t
	h := &t.Handshake
	fastOpen := h.Kind == timeline.HandshakeFastOpen // its SYN carried data
	switch e.Step {
	case timeline.StepSYNACK:
		if !fastOpen && e.AckRel.Known && e.AckRel.Value != 1 && t.Role != timeline.RoleSimultaneous {
			c.f.add("ack-number-wrong", "The SYN-ACK at %s acknowledges x%+d, not x+1.", c.f.at(e.Time), int32(e.AckRel.Value))
		}
	case timeline.StepACK:
		if c.acked || fastOpen {
			break
		}
		c.acked = true
		// A server that needs no cookie (net.ipv4.tcp_fastopen) sends before it, though the SYN brought none.
		early := h.FastOpen == timeline.FastOpenAsked || h.FastOpen == timeline.FastOpenGranted
		if e.AckRel.Known && e.AckRel.Value != 1 && !early {
			c.f.add("ack-number-wrong", "The third ACK, at %s, acknowledges y%+d, not y+1.", c.f.at(e.Time), int32(e.AckRel.Value))
		}
		// What comes here first need not be what was sent first.
		if e.Dir == tx && e.SeqRel.Known && e.SeqRel.Value != 1 {
			c.f.add("sequence-number-wrong", "The third ACK, at %s, has sequence number x%+d, not x+1: a SYN takes one.", c.f.at(e.Time), int32(e.SeqRel.Value))
		}
	}
	if !e.SeqRel.Known || e.Flags.Has(events.SYN) {
		return
	}
	end := e.SeqRel.Value + e.Len
	if e.Flags.Has(events.FIN) {
		end++
	}
	if own := c.finEnd[e.Dir]; own.Known && int32(end-own.Value) > 0 {
		c.f.add("sequence-number-wrong", "A segment %s at %s with sequence numbers up to %d, though the FIN had ended at %d.",
			sentOrCame(e.Dir), c.f.at(e.Time), end, own.Value)
	} else if e.Flags.Has(events.FIN) {
		c.finEnd[e.Dir] = timeline.Some(end)
	}
	if other := c.finEnd[tx+rx-e.Dir]; other.Known && e.AckRel.Known && int32(e.AckRel.Value-other.Value) > 0 {
		c.f.add("ack-number-wrong", "A segment %s at %s acknowledges %d, though the FIN had ended at %d: it takes one number.",
			sentOrCame(e.Dir), c.f.at(e.Time), e.AckRel.Value, other.Value)
	}
}

// agreement checks that a segment is one that the state may send.
func (c *checker) agreement(e *timeline.Entry) {
	if e.Dir != tx || e.Retransmit || c.f.t.Role == timeline.RoleSimultaneous {
		return
	}
	ok := true
	switch e.Step {
	case timeline.StepSYN:
		ok = c.state == events.SynSent
	case timeline.StepSYNACK:
		ok = c.state == events.SynRecv || c.state == events.Established
	case timeline.StepFIN:
		ok = c.state == events.FinWait1 || c.state == events.Closing || c.state == events.LastAck || c.reset
	}
	if !ok {
		c.f.add("state-disagrees", "%s was sent at %s in %s.", flags(e.Flags), c.f.at(e.Time), c.state)
	}
}

// end checks that a FIN that was taken led on.
func (c *checker) end() {
	d := &c.f.t.Teardown
	orderly := d.Kind == timeline.TeardownFourWay || d.Kind == timeline.TeardownThreeSegment || d.Kind == timeline.TeardownSimultaneous
	const led = 1<<events.CloseWait | 1<<events.Closing | 1<<events.TimeWait
	if orderly && c.received[timeline.StepFIN] && c.visited&led == 0 {
		c.f.add("state-disagrees", "A FIN was received, but the connection never came to CLOSE_WAIT, CLOSING or TIME_WAIT.")
	}
}

// flags are the header's.
func flags(f events.Flags) string {
	if f == 0 {
		return "a segment without flags"
	}
	return f.String()
}
