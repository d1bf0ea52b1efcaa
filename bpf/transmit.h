/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Segments that TCP of this host sends. */
#ifndef TCPTRACE_TRANSMIT_H
#define TCPTRACE_TRANSMIT_H

#include "flow.h"
#include "owner.h"

/* Longer than any Ethernet, IP and TCP header: there is payload in it. */
#define SURELY_DATA 160

/*
 * A socket that is ESTABLISHED and has moved bytes both ways has its handshake
 * behind it, and a FIN leaves it in another state: a long segment is data, and
 * a bare ACK acknowledges data.
 */
struct sender {
	struct sock *sk;  /* full TCP socket or NULL */
	__u64 listener;	  /* of the request sock that sends a SYN-ACK */
	bool established;
};

static __always_inline bool sender_of(struct sk_buff *skb, struct sender *by)
{
	struct sock *sk = READ(skb, sk);

	if (!sk)
		return true; /* a SYN cookie, or an IPv6 reset */
	__u8 state = READ(sk, __sk_common.skc_state);
	if (state == TCP_NEW_SYN_RECV) {
		by->listener = (__u64)READ(sk, __sk_common.skc_listener);
		return true;
	}
	if (state == TCP_TIME_WAIT)
		return true;
	if (READ(sk, sk_protocol) != IPPROTO_TCP)
		return false;
	/* The control socket that sends resets and TIME_WAIT's ACKs has no peer. */
	if (!READ(sk, __sk_common.skc_dport))
		return true;
	by->sk = sk;
	by->established = state == TCP_ESTABLISHED;
	return true;
}

/* Nothing but data and its ACKs: see the head of this file. */
static __always_inline bool sent_before(const struct sender *by, const struct sk_buff *skb)
{
	return TCP_READ(by->sk, bytes_sent) > READ(skb, len);
}

/* Whether the pid filter wants what this sender sends. */
static __always_inline bool wanted_sender(const struct sender *by)
{
	__u64 key = by->sk ? (__u64)by->sk : by->listener;

	if (!filter_pid)
		return true;
	struct owner *o = bpf_map_lookup_elem(&owners, &key);
	return o && o->wanted;
}

static __always_inline void tell_connect(struct sock *sk, const struct tuple *t, __u8 family);

static __always_inline int transmit(struct sk_buff *skb, __u32 ip_offset)
{
	struct sender by = {};
	struct segment s;

	/* skb_iif is set by a device that received it: this one is only forwarded. */
	if (!is_ip(skb) || READ(skb, skb_iif) || !sender_of(skb, &by))
		return 0;
	if (!all_segments && by.established && READ(skb, len) > SURELY_DATA && sent_before(&by, skb))
		return 0;
	if (!parse(skb, ip_offset, true, &s))
		return 0;
	if (!all_segments && by.established && s.flags == TCP_ACK && sent_before(&by, skb) &&
	    TCP_READ(by.sk, bytes_received))
		return 0;
	s.tuple.netns = by.sk ? READ(by.sk, __sk_common.skc_net.net, ns.inum)
			      : READ(skb, dev, nd_net.net, ns.inum);
	if (filter(&s.tuple, s.family) != WANTED)
		return 0;
	if (by.sk && s.flags & TCP_SYN)
		tell_connect(by.sk, &s.tuple, s.family);

	struct flow *f = bpf_map_lookup_elem(&flows, &s.tuple);
	bool uses = by.sk && s.payload_len && by_process(by.sk);
	if (!f) {
		/* An ACK or data of a connection that was open before: nothing to tell but who sends. */
		if (!all_segments && !uses && !(s.flags & (TCP_SYN | TCP_FIN | TCP_RST)))
			return 0;
		f = make_flow(&s.tuple);
		if (!f)
			return 0;
	}
	/* A new connection on a tuple that had one before. */
	if (s.flags & TCP_SYN && s.seq != f->local_isn)
		f->bits &= FLOW_LOCAL | FLOW_WANTED | FLOW_ARRIVAL;
	/* connect() told whose it is. */
	if (by.sk && s.flags & TCP_SYN)
		f->bits |= FLOW_OWNED;
	if (by.listener)
		f->listener = by.listener;
	if (!(f->bits & FLOW_LOCAL) || (filter_pid && s.flags & TCP_SYN)) {
		f->bits &= ~FLOW_WANTED;
		confirm(f, &s.tuple, wanted_sender(&by));
	}
	if (uses)
		used_by_current(by.sk, f, &s.tuple, s.family);
	if (!(f->bits & FLOW_WANTED))
		return 0;

	if (seen_above(f, skb, &s) || (!controls(f, &s) && !all_segments))
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	remember_last(f, skb, &s, now);

	struct event *e = begin_segment(KIND_TRANSMIT, &s, (__u64)by.sk, now);
	if (!e)
		return 0;
	if (s.flags & TCP_SYN && s.flags & TCP_ACK && !READ(skb, sk))
		e->notes |= NOTE_SYN_COOKIE;
	if (by.listener) {
		/* The child is to come, and may never: until then it is the listener's. */
		struct owner *o = bpf_map_lookup_elem(&owners, &by.listener);

		if (o) {
			put_owner(e, o);
			e->owner_source = OWNER_LISTEN;
		}
	}
	submit(e);
	return 0;
}

#endif
