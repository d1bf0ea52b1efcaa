/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which segments are told: those that control the connection, of endpoints on
 * this host, once each.
 */
#ifndef TCPTRACE_FLOW_H
#define TCPTRACE_FLOW_H

#include "config.h"
#include "maps.h"
#include "record.h"
#include "segment.h"

/* Sightings of an skb on two devices within this time are one segment (bond over NIC, bridge over port). */
#define SAME_SEGMENT_NS 1000000

/* a >= b, in sequence space (RFC 9293, section 3.4) */
static __always_inline bool reached(__u32 a, __u32 b) { return (__s32)(a - b) >= 0; }

/* The sequence number after the segment. */
static __always_inline __u32 segment_end(const struct segment *s)
{
	return s->seq + s->payload_len + !!(s->flags & TCP_SYN) + !!(s->flags & TCP_FIN);
}

/*
 * Whether the segment is surely no control segment. The flow is left as it is: were each data
 * segment to write to it, its memory would go to and fro between the processors of both directions.
 */
static __always_inline bool is_data(const struct flow *f, const struct segment *s)
{
	return !all_segments && !(s->flags & (TCP_SYN | TCP_FIN | TCP_RST)) && !(f->bits & FLOW_AWAITS);
}

/*
 * Whether the segment is a control segment, and what the flow expects after it.
 * An ACK counts once for each SYN-ACK or FIN that it answers.
 */
static __always_inline bool controls(struct flow *f, const struct segment *s)
{
	__u16 bits = f->bits;
	bool told = s->flags & (TCP_SYN | TCP_FIN | TCP_RST);

	if (s->flags & TCP_ACK && !(s->flags & TCP_SYN)) {
		__u8 ack_bit = s->outbound ? FLOW_OWES_ACK : FLOW_DUE_ACK;
		__u8 fin_bit = s->outbound ? FLOW_OWES_FINACK : FLOW_DUE_FINACK;
		__u32 fin_end = s->outbound ? f->remote_fin_end : f->local_fin_end;

		if (bits & ack_bit && (s->outbound || reached(s->ack, f->local_isn + 1))) {
			bits &= ~ack_bit;
			told = true;
		}
		if (bits & fin_bit && reached(s->ack, fin_end)) {
			bits &= ~fin_bit;
			told = true;
		}
		/* SYN-ACKs and their ACKs may cross: each of the ACKs says the same. */
		if (bits & (s->outbound ? FLOW_SYNACK_CAME_AGAIN : FLOW_SYNACK_WENT_AGAIN) &&
		    !s->payload_len &&
		    s->seq == (s->outbound ? f->local_isn : f->remote_isn) + 1 &&
		    s->ack == (s->outbound ? f->remote_isn : f->local_isn) + 1)
			told = true;
	}
	if (s->flags & TCP_SYN) {
		__u32 *isn = s->outbound ? &f->local_isn : &f->remote_isn;

		if (s->flags & TCP_ACK) {
			bits |= s->outbound ? FLOW_DUE_ACK : FLOW_OWES_ACK;
			if (*isn == s->seq)
				bits |= s->outbound ? FLOW_SYNACK_WENT_AGAIN : FLOW_SYNACK_CAME_AGAIN;
		}
		*isn = s->seq;
	}
	if (s->flags & TCP_FIN) {
		if (s->outbound) {
			f->local_fin_end = segment_end(s);
			bits |= FLOW_DUE_FINACK;
		} else {
			f->remote_fin_end = segment_end(s);
			bits |= FLOW_OWES_FINACK;
		}
	}
	f->last_bits = f->bits;
	f->bits = bits;
	return told;
}

static __always_inline bool is_last(const struct flow *f, struct sk_buff *skb, const struct segment *s)
{
	return f->last_skb == (__u64)skb && f->last_seq == s->seq && f->last_ack == s->ack &&
	       f->last_flags == s->flags && f->last_outbound == s->outbound;
}

/* An skb's memory is soon used again: on one device, even the same numbers are another segment. */
static __always_inline bool seen_above(const struct flow *f, struct sk_buff *skb,
				       const struct segment *s)
{
	return is_last(f, skb, s) && READ(skb, dev, ifindex) != f->last_ifindex &&
	       bpf_ktime_get_boot_ns() - f->last_ns < SAME_SEGMENT_NS;
}

static __always_inline void remember_last(struct flow *f, struct sk_buff *skb,
					  const struct segment *s, __u64 now)
{
	f->last_skb = (__u64)skb;
	f->last_ns = now;
	f->last_seq = s->seq;
	f->last_ack = s->ack;
	f->last_ifindex = READ(skb, dev, ifindex);
	f->last_flags = s->flags;
	f->last_outbound = s->outbound;
}

/* A received segment waits for a sign that it is this host's affair. */
static __always_inline void hold_arrival(struct flow *f, const struct segment *s, __u64 now)
{
	f->arrival.time_ns = now;
	f->arrival.payload_len = s->payload_len;
	f->arrival.family = s->family;
	copy_header(f->arrival.tcp_header, s);
	f->bits |= FLOW_ARRIVAL;
}

static __always_inline void tell_arrival(const struct flow *f, const struct tuple *t, __u8 notes)
{
	struct event *e = begin(KIND_RECEIVE, t, f->arrival.family, 0, f->arrival.time_ns);

	if (!e)
		return;
	e->of.segment.payload_len = f->arrival.payload_len;
	__builtin_memcpy(e->of.segment.tcp_header, f->arrival.tcp_header, TCP_HEADER_MAX);
	e->notes = notes;
	submit(e);
}

/* The sign came: tell what waited. */
static __always_inline void confirm(struct flow *f, const struct tuple *t, bool wanted)
{
	__u16 bits = f->bits;

	f->bits = (bits & ~FLOW_ARRIVAL) | FLOW_LOCAL | (wanted ? FLOW_WANTED : 0);
	if (bits & FLOW_ARRIVAL && wanted)
		tell_arrival(f, t, 0);
}

static __always_inline struct event *begin_segment(__u8 kind, const struct segment *s, __u64 sock,
						   __u64 now)
{
	struct event *e = begin(kind, &s->tuple, s->family, sock, now);

	if (!e)
		return NULL;
	e->of.segment.payload_len = s->payload_len;
	copy_header(e->of.segment.tcp_header, s);
	if (s->outbound)
		e->notes |= NOTE_OUTBOUND;
	return e;
}

/* What a flow begins as; it would take a third of a program's stack. */
static const struct flow fresh_flow = {};

/* A flow for a tuple that has none. NULL only where the map refuses. */
static __always_inline struct flow *make_flow(const struct tuple *t)
{
	bpf_map_update_elem(&flows, t, &fresh_flow, BPF_NOEXIST);
	return bpf_map_lookup_elem(&flows, t);
}

#endif
