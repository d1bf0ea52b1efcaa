package output

import (
	"strconv"

	"tcptrace/events"
	"tcptrace/timeline"
)

// EntryTypes is a set of types of entries.
type EntryTypes uint8

// The types of entries that have a field.
const (
	inState   EntryTypes = 1 << timeline.EntryState
	inSegment EntryTypes = 1 << timeline.EntrySegment
	inDrop    EntryTypes = 1 << timeline.EntryDrop
	inGap     EntryTypes = 1 << timeline.EntryGap
	inOwner   EntryTypes = 1 << timeline.EntryOwner
	inHeader             = inSegment | inDrop
	inAll                = inState | inSegment | inDrop | inGap | inOwner
)

// Has reports whether the set holds the type.
func (s EntryTypes) Has(t timeline.EntryType) bool { return s&(1<<t) != 0 }

// EntryFields are all facts of a timeline's entries, in the order in which they are shown.
var EntryFields = []Field{
	{Path: "t_ns", Kind: Integer, In: inAll, Doc: "nanoseconds since the timeline's `start`",
		value: func(b []byte, s *Source) []byte {
			return strconv.AppendInt(b, int64(s.Entry.Time-s.Timeline.Start), 10)
		}},
	{Path: "type", Kind: Word, In: inAll, Doc: "`state`, `segment`, `drop`, `gap` or `owner`: the socket has passed to another process",
		value: func(b []byte, s *Source) []byte { return append(b, s.Entry.Type.String()...) }},

	{Path: "from", Kind: Word, In: inState, Doc: "the state left",
		value: func(b []byte, s *Source) []byte { return append(b, s.Entry.From.String()...) }},
	{Path: "to", Kind: Word, In: inState, Doc: "the state entered",
		value: func(b []byte, s *Source) []byte { return append(b, s.Entry.To.String()...) }},
	{Path: "pid", Kind: Integer, In: inState | inOwner, Optional: true, Doc: "the process that caused it, absent where the kernel did; of `owner`: the one that has the socket now",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Entry.PID) }},
	{Path: "comm", Kind: Text, In: inState | inOwner, Optional: true, Doc: "its name",
		value: func(b []byte, s *Source) []byte {
			if s.Entry.PID == 0 {
				return b
			}
			return appendComm(b, &s.Entry.Comm)
		}},

	{Path: "source", Kind: Word, In: inOwner, Doc: "how that is known, as in `process.source`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Entry.Source.String()...) }},

	{Path: "reason", Kind: Text, In: inDrop, Optional: true, Doc: "why this host's kernel threw the segment away, in its word, or the word's number",
		value: func(b []byte, s *Source) []byte { return appendDropReason(b, s.Entry.DropReason, s.Options) }},
	{Path: "dir", Kind: Word, In: inHeader, Doc: "`tx` or `rx`, as this end sees it",
		value: func(b []byte, s *Source) []byte { return append(b, s.Entry.Dir.String()...) }},
	{Path: "flags", Kind: Words, In: inHeader, Doc: "the control bits that are set, of `FIN SYN RST PSH ACK URG ECE CWR`",
		value: func(b []byte, s *Source) []byte { return append(b, flagWords[s.Entry.Flags]...) }},
	{Path: "seq", Kind: Integer, In: inHeader, Doc: "sequence number, as on the wire",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Entry.Seq) }},
	{Path: "ack", Kind: Integer, In: inHeader, Doc: "acknowledgment number, as on the wire; it means something only with the ACK flag",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Entry.Ack) }},
	{Path: "seq_rel", Kind: Integer, In: inHeader, Optional: true, Doc: "`seq` relative to its sender's initial sequence number",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Entry.SeqRel) }},
	{Path: "ack_rel", Kind: Integer, In: inHeader, Optional: true, Doc: "`ack` relative to the other end's initial sequence number",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Entry.AckRel) }},
	{Path: "window", Kind: Integer, In: inHeader, Doc: "the window field, as on the wire",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Entry.Window) }},
	{Path: "window_scaled", Kind: Integer, In: inHeader, Optional: true, Doc: "the window that it stands for, bytes; absent where the scale is not known",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Entry.WindowScaled) }},
	{Path: "len", Kind: Integer, In: inHeader, Doc: "payload, bytes",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Entry.Len) }},

	{Path: "options", Kind: Object, In: inHeader, Optional: true, Doc: "the header's options, those that it has",
		present: func(s *Source) bool { return s.Entry.Options.Present != 0 }},
	{Path: "options.mss", Kind: Integer, In: inHeader, Optional: true, Doc: "maximum segment size, bytes",
		value: func(b []byte, s *Source) []byte { return appendMSS(b, &s.Entry.Options) }},
	{Path: "options.wscale", Kind: Integer, In: inHeader, Optional: true, Doc: "window scale, shift count as sent",
		value: func(b []byte, s *Source) []byte { return appendWScale(b, &s.Entry.Options) }},
	hasOption("sack_permitted", events.OptionSACKPermitted, "true: selective acknowledgments are permitted"),
	{Path: "options.ts_val", Kind: Integer, In: inHeader, Optional: true, Doc: "timestamp value, as on the wire",
		value: func(b []byte, s *Source) []byte {
			if !s.Entry.Options.Present.Has(events.OptionTimestamps) {
				return b
			}
			return appendUint(b, s.Entry.Options.TSVal)
		}},
	{Path: "options.ts_ecr", Kind: Integer, In: inHeader, Optional: true, Doc: "timestamp echo reply, as on the wire",
		value: func(b []byte, s *Source) []byte {
			if !s.Entry.Options.Present.Has(events.OptionTimestamps) {
				return b
			}
			return appendUint(b, s.Entry.Options.TSEcr)
		}},
	hasOption("fast_open", events.OptionFastOpen, "true: TCP Fast Open, with or without a cookie"),
	hasOption("mptcp", events.OptionMPTCP, "true: Multipath TCP"),
	hasOption("malformed", events.OptionMalformed, "true: the options could not be read to their end"),

	{Path: "step", Kind: Word, In: inHeader, Optional: true, Doc: "the part it plays: `syn`, `syn-ack`, `ack` (third of the handshake), `fin`, `fin-ack` (the ACK of a FIN), `rst`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Entry.Step.String()...) }},
	{Path: "also", Kind: Word, In: inHeader, Optional: true, Doc: "`fin-ack`: a FIN that also acknowledges the other end's FIN",
		value: func(b []byte, s *Source) []byte {
			if !s.Entry.FINACK {
				return b
			}
			return append(b, timeline.StepFINACK.String()...)
		}},
	{Path: "retransmit", Kind: Bool, In: inHeader, Doc: "its sequence space was sent before",
		value: func(b []byte, s *Source) []byte { return strconv.AppendBool(b, s.Entry.Retransmit) }},

	{Path: "one_way_ns", Kind: Integer, In: inSegment, Optional: true, Doc: "of a received segment whose sender is on this host: from when that sent it, nanoseconds; absent where it is not known which one it is",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Entry.OneWayNS) }},

	{Path: "lost", Kind: Integer, In: inGap, Optional: true, Doc: "events of this timeline that were lost here; absent where nobody knows whose they were",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Entry.Lost) }},
}

func hasOption(name string, option events.OptionSet, doc string) Field {
	return Field{Path: "options." + name, Kind: Bool, In: inHeader, Optional: true, Doc: doc,
		value: func(b []byte, s *Source) []byte {
			if !s.Entry.Options.Present.Has(option) {
				return b
			}
			return append(b, "true"...)
		}}
}

// appendDropReason appends the kernel's word, or its number where that has no name.
func appendDropReason(b []byte, reason uint32, o *Options) []byte {
	if reason == 0 {
		return b
	}
	if o.DropReason != nil {
		if name := o.DropReason(reason); name != "" {
			return append(b, name...)
		}
	}
	return appendUint(b, reason)
}

// flagWords are all combinations of flags, joined by commas.
var flagWords = func() (words [256]string) {
	for i := range words {
		words[i] = events.Flags(i).String()
	}
	return words
}()
