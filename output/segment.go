package output

import (
	"strconv"

	"tcptrace/events"
	"tcptrace/timeline"
)

// flagsWidth is that of SYN,ACK.
const flagsWidth = 7

// appendSegment appends a segment in at most room columns: its flags, and then as
// much as there is room for, in order of importance. What goes without saying is
// not said: that a SYN's relative sequence number is 0, what a SYN-ACK acknowledges,
// a length of 0. Numbers are relative where the initial ones are known.
func appendSegment(b []byte, e *timeline.Entry, room int) []byte {
	p := parts{b: b, start: len(b), room: room, fits: true}
	p.b = append(p.b, flagWords[e.Flags]...)
	p.b = pad(p.b, len(p.b)-p.start, flagsWidth)
	syn, ack := e.Flags.Has(events.SYN), e.Flags.Has(events.ACK)
	if e.Retransmit {
		p.word("retrans")
	}
	switch {
	case e.Step == timeline.StepFINACK:
		p.word("of FIN")
	case e.FINACK:
		p.word("acks FIN")
	}
	if syn {
		if e.Len > 0 {
			p.number("len", e.Len)
		}
		if e.SeqRel.Known && e.SeqRel.Value != 0 {
			p.number("seq", e.SeqRel.Value)
		}
		if ack && e.AckRel.Known && e.AckRel.Value != 1 {
			p.number("ack", e.AckRel.Value)
		}
		if e.Options.Present.Has(events.OptionMSS) {
			p.number("mss", uint32(e.Options.MSS))
		}
		if e.Options.Present.Has(events.OptionWScale) {
			p.number("wscale", uint32(e.Options.WScale))
		}
	} else {
		p.number("seq", relative(e.Seq, e.SeqRel))
		if ack {
			p.number("ack", relative(e.Ack, e.AckRel))
		}
		if e.Len > 0 {
			p.number("len", e.Len)
		}
	}
	if e.WindowScaled.Known && !e.Flags.Has(events.RST) {
		p.number("win", e.WindowScaled.Value)
	}
	return p.b
}

func relative(absolute uint32, rel timeline.Maybe[uint32]) uint32 {
	if rel.Known {
		return rel.Value
	}
	return absolute
}

// parts appends one after the other until one does not fit.
type parts struct {
	b     []byte
	start int
	room  int
	fits  bool
}

func (p *parts) word(s string) {
	if p.fits = p.fits && len(p.b)-p.start+1+len(s) <= p.room; p.fits {
		p.b = append(append(p.b, ' '), s...)
	}
}

func (p *parts) number(name string, v uint32) {
	before := len(p.b)
	if p.word(name); !p.fits {
		return
	}
	p.b = strconv.AppendUint(append(p.b, ' '), uint64(v), 10)
	if len(p.b)-p.start > p.room {
		p.b, p.fits = p.b[:before], false
	}
}

// appendSegmentWide appends all there is: numbers as on the wire and, in
// parentheses, what they come to.
func appendSegmentWide(b []byte, e *timeline.Entry) []byte {
	start := len(b)
	b = append(b, flagWords[e.Flags]...)
	b = pad(b, len(b)-start, flagsWidth)
	if e.Step != timeline.StepNone {
		b = append(append(b, ' '), e.Step.String()...)
	}
	if e.FINACK {
		b = append(b, "+fin-ack"...)
	}
	if e.Retransmit {
		b = append(b, " retrans"...)
	}
	b = appendBoth(b, " seq ", e.Seq, e.SeqRel)
	if e.Flags.Has(events.ACK) {
		b = appendBoth(b, " ack ", e.Ack, e.AckRel)
	}
	b = appendBoth(b, " win ", uint32(e.Window), e.WindowScaled)
	b = appendUint(append(b, " len "...), e.Len)
	return appendOptions(b, &e.Options)
}

func appendBoth(b []byte, name string, raw uint32, meaning timeline.Maybe[uint32]) []byte {
	b = appendUint(append(b, name...), raw)
	if meaning.Known {
		b = append(appendUint(append(b, " ("...), meaning.Value), ')')
	}
	return b
}

// appendOptions appends the options in tcpdump's words, between angle brackets.
func appendOptions(b []byte, o *events.Options) []byte {
	if o.Present == 0 {
		return b
	}
	b = append(b, " <"...)
	if o.Present.Has(events.OptionMSS) {
		b = append(appendUint(append(b, "mss "...), o.MSS), ", "...)
	}
	if o.Present.Has(events.OptionSACKPermitted) {
		b = append(b, "sackOK, "...)
	}
	if o.Present.Has(events.OptionTimestamps) {
		b = appendUint(append(b, "TS val "...), o.TSVal)
		b = append(appendUint(append(b, " ecr "...), o.TSEcr), ", "...)
	}
	if o.Present.Has(events.OptionWScale) {
		b = append(strconv.AppendUint(append(b, "wscale "...), uint64(o.WScale), 10), ", "...)
	}
	if o.Present.Has(events.OptionFastOpen) {
		b = append(b, "tfo, "...)
	}
	if o.Present.Has(events.OptionMPTCP) {
		b = append(b, "mptcp, "...)
	}
	if o.Present.Has(events.OptionMalformed) {
		b = append(b, "malformed, "...)
	}
	return append(b[:len(b)-len(", ")], '>')
}
