package output

import (
	"strconv"

	"tcptrace/events"
	"tcptrace/timeline"
)

// negotiatedFields say what both sides made of their offers, queueFields how full the listener was.
var negotiatedFields = []Field{
	{Path: "handshake.ecn", Kind: Word, Optional: true, Doc: "Explicit Congestion Notification: `agreed`, `asked` (by the SYN, and not granted) or `not-asked`; null where SYN or SYN-ACK was not seen",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Handshake.ECN.String()...) }},
	{Path: "handshake.fast_open", Kind: Word, Optional: true, Doc: "TCP Fast Open: `accepted`, `refused` (a cookie, or the data that came with it), `granted` (a cookie, for the next time), `asked` (for one, and none came) or `none`; null where SYN or SYN-ACK was not seen",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Handshake.FastOpen.String()...) }},
	{Path: "handshake.accept_queue", Kind: Object, Optional: true, Doc: "server: the listener's queue for accept() when the SYN-ACK was sent, of several the fullest",
		present: func(s *Source) bool { return s.Timeline.Handshake.AcceptQueue.Known }},
	{Path: "handshake.accept_queue.waiting", Kind: Integer, Doc: "connections that wait for accept(); 65535 is that or more",
		value: func(b []byte, s *Source) []byte {
			return appendUint(b, s.Timeline.Handshake.AcceptQueue.Value.Waiting)
		}},
	{Path: "handshake.accept_queue.backlog", Kind: Integer, Doc: "how many may, as listen() asked for, at most net.core.somaxconn; 65534 is that or more",
		value: func(b []byte, s *Source) []byte {
			return appendUint(b, s.Timeline.Handshake.AcceptQueue.Value.Backlog)
		}},
	{Path: "handshake.overflow", Kind: Object, Optional: true, Doc: "server: what its last SYN found that came to a listener with a full queue; null where none did, or the kernel does not tell",
		present: func(s *Source) bool { return s.Timeline.Handshake.Overflows > 0 }},
	{Path: "handshake.overflow.syns", Kind: Integer, Doc: "SYNs of this connection that found one full",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Handshake.Overflows) }},
	queue("waiting", "connections that wait for accept()", func(q *events.Queues) uint32 { return q.Waiting }),
	queue("backlog", "how many may", func(q *events.Queues) uint32 { return q.Backlog }),
	queue("half_open", "connections that await the third ACK; at most as many as backlog, in newer kernels one more", func(q *events.Queues) uint32 { return q.HalfOpen }),
	queue("max_half_open", "net.ipv4.tcp_max_syn_backlog; without SYN cookies, strangers get three quarters of it", func(q *events.Queues) uint32 { return q.MaxHalfOpen }),
}

func queue(name, doc string, of func(*events.Queues) uint32) Field {
	return Field{Path: "handshake.overflow." + name, Kind: Integer, Doc: doc,
		value: func(b []byte, s *Source) []byte { return appendUint(b, of(&s.Timeline.Handshake.Queues.Value)) }}
}

var icmpFields = []Field{
	{Path: "icmp", Kind: Object, Optional: true, Doc: "the last ICMP error that came for what was sent",
		present: func(s *Source) bool { return s.Timeline.ICMP.Known }},
	{Path: "icmp.from", Kind: Word, Doc: "the host or router that says so",
		value: func(b []byte, s *Source) []byte { return appendAddr(b, s.Timeline.ICMP.Value.From) }},
	{Path: "icmp.type", Kind: Integer, Doc: "type, of ICMPv6 where `from` is an IPv6 address",
		value: func(b []byte, s *Source) []byte {
			return strconv.AppendUint(b, uint64(s.Timeline.ICMP.Value.Type), 10)
		}},
	{Path: "icmp.code", Kind: Integer, Doc: "code",
		value: func(b []byte, s *Source) []byte {
			return strconv.AppendUint(b, uint64(s.Timeline.ICMP.Value.Code), 10)
		}},
	{Path: "icmp.name", Kind: Word, Optional: true, Doc: "type and code by name, such as `host-unreachable`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.ICMP.Value.Name()...) }},
}

var retransmitFields = []Field{
	{Path: "traffic.retransmits_by", Kind: Object, Optional: true, Doc: "what had them sent again, as far as they were seen; null while it is open, and where the kernel does not tell",
		present: func(s *Source) bool { return s.Timeline.Traffic.RetransmitsBy.Known }},
	retransmitsBy("timeout", "the retransmission timer, or what was lost with it", events.RetransmitTimeout),
	retransmitsBy("fast", "fast recovery: duplicate ACKs, SACK or RACK", events.RetransmitFast),
	retransmitsBy("probe", "tail loss probe", events.RetransmitProbe),
	{Path: "traffic.duplicates", Kind: Integer, Optional: true, Doc: "segments that the other end says it got twice (DSACK): sent again in vain; null while it is open",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Traffic.Duplicates) }},
	dropped("in", func(t *timeline.Traffic) *timeline.Dropped { return &t.DroppedIn }),
	dropped("out", func(t *timeline.Traffic) *timeline.Dropped { return &t.DroppedOut }),
}

func retransmitsBy(name, doc string, kind events.RetransmitKind) Field {
	return Field{Path: "traffic.retransmits_by." + name, Kind: Integer, Doc: doc,
		value: func(b []byte, s *Source) []byte {
			return strconv.AppendUint(b, s.Timeline.Traffic.RetransmitsBy.Value[kind], 10)
		}}
}

func dropped(way string, of func(*timeline.Traffic) *timeline.Dropped) Field {
	return Field{Path: "traffic.dropped_" + way, Kind: Integer, Doc: "data segments that this host's kernel dropped on their way " + way + ", as far as they were seen",
		value: func(b []byte, s *Source) []byte {
			return strconv.AppendUint(b, of(&s.Timeline.Traffic).Segments, 10)
		}}
}

// appendResetReason appends the kernel's word for why this host, from either end, sent an RST, or its number where
// that has no name; where the kernel does not say, the word that it would have had.
func appendResetReason(b []byte, d *timeline.Teardown, o *Options) []byte {
	if d.ResetReason == 0 {
		return append(b, d.ResetCause.String()...)
	}
	if o.ResetReason != nil {
		if name := o.ResetReason(d.ResetReason); name != "" {
			return append(b, name...)
		}
	}
	return appendUint(b, d.ResetReason)
}
