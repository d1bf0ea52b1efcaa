/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Segments that arrive, and those that are thrown away. */
#ifndef TCPTRACE_RECEIVE_H
#define TCPTRACE_RECEIVE_H

#include "compat.h"
#include "flow.h"
#include "icmp.h"
#include "transmit.h"

/*
 * What cannot wait for a sign that it is this host's affair: a SYN that is followed by
 * another, since only one can wait; a RST, since TIME_WAIT, which it ends, gives none.
 */
static __always_inline void tell_unconfirmed(struct flow *f, const struct segment *s, __u64 now)
{
	if (f->bits & FLOW_ARRIVAL && s->flags & TCP_SYN && s->seq == f->remote_isn)
		tell_arrival(f, &s->tuple, NOTE_UNCONFIRMED);
	if (!(s->flags & TCP_RST))
		return;
	struct event *e = begin_segment(KIND_RECEIVE, s, 0, now);
	if (!e)
		return;
	e->notes |= NOTE_UNCONFIRMED;
	submit(e);
}

/*
 * A segment comes in, its IP header ip_offset bytes after skb->head. by_tcp: TCP of this host
 * takes it; else it may yet be dropped, or forwarded.
 */
static __always_inline int receive(struct sk_buff *skb, __u32 ip_offset, bool by_tcp)
{
	struct segment s;

	if (!parse(skb, ip_offset, false, true, &s))
		return by_tcp ? 0 : icmp_error_from_device(skb);
	s.tuple.netns = READ(skb, dev, nd_net.net, ns.inum);
	if (filter(&s.tuple, s.family) != WANTED)
		return 0;

	bool may_open_or_end = s.flags & (TCP_SYN | TCP_FIN | TCP_RST);
	struct flow *f = bpf_map_lookup_elem(&flows, &s.tuple);
	if (!f) {
		if (!may_open_or_end)
			return 0;
		f = make_flow(&s.tuple);
		if (!f)
			return 0;
	}
	/* A FIN or RST may still be for nobody; and which pid a SYN is for, the answer shows. */
	if (by_tcp && !filter_pid && s.flags & TCP_SYN)
		f->bits |= FLOW_LOCAL | FLOW_WANTED;
	if (!(f->bits & FLOW_LOCAL)) {
		if (!may_open_or_end)
			return 0;
		__u64 now = bpf_ktime_get_boot_ns();
		if (!filter_pid && !seen_above(f, skb, &s))
			tell_unconfirmed(f, &s, now);
		controls(f, &s);
		remember_last(f, skb, &s, now);
		hold_arrival(f, &s, now);
		return 0;
	}
	if (!(f->bits & FLOW_WANTED) || is_data(f, &s))
		return 0;
	if (seen_above(f, skb, &s) || (!controls(f, &s) && !all_segments))
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	remember_last(f, skb, &s, now);

	struct event *e = begin_segment(KIND_RECEIVE, &s, 0, now);
	if (e)
		submit(e);
	return 0;
}

static __always_inline int receive_from_device(struct sk_buff *skb)
{
	/* In __netif_receive_skb_core() only the data pointer says where the IP header is. */
	return is_ip(skb) ? receive(skb, READ(skb, data) - READ(skb, head), false) : 0;
}

/* tcp_v4_rcv(), tcp_v6_rcv() */
static __always_inline int receive_by_tcp(struct sk_buff *skb)
{
	return receive(skb, READ(skb, network_header), true);
}

/*
 * Whether routing found that the packet ends at this host. A packet dropped
 * before it was routed is not known to.
 */
static __always_inline bool routed_here(struct sk_buff *skb, __u8 family)
{
	unsigned long dst = READ(skb, _skb_refdst) & SKB_DST_PTRMASK;

	return dst && ends_here(dst, family);
}

/* Whether a packet that came in is to be forwarded. */
static __always_inline bool is_forwarded(struct sk_buff *skb, __u8 family)
{
	unsigned long dst = READ(skb, _skb_refdst) & SKB_DST_PTRMASK;

	return dst && leads_on(dst, family);
}

/*
 * What is dropped was forwarded, and yet something of this host was told of its flow: netfilter has answered in another
 * host's name (reject with tcp reset). None of it is this host's.
 */
static __always_inline void tell_forwarded(const struct segment *s, __u32 reason)
{
	struct event *e = begin_segment(KIND_DROP, s, 0, bpf_ktime_get_boot_ns());

	bpf_map_delete_elem(&flows, &s->tuple);
	if (!e)
		return;
	e->of.segment.reason = reason;
	e->notes |= NOTE_FORWARDED;
	submit(e);
}

/* The namespace in which the skb died: output hooks see no device yet. */
static __always_inline __u32 skb_netns(struct sk_buff *skb)
{
	struct net_device *dev = READ(skb, dev);
	struct sock *sk = READ(skb, sk);

	if (dev)
		return READ(dev, nd_net.net, ns.inum);
	if (sk)
		return READ(sk, __sk_common.skc_net.net, ns.inum);
	unsigned long dst = READ(skb, _skb_refdst) & SKB_DST_PTRMASK;
	return BPF_CORE_READ((struct dst_entry *)dst, dev, nd_net.net, ns.inum);
}

/* A data segment is thrown away: too many may be for a record of each. */
static __always_inline void count_dropped(struct flow *f, bool outbound, __u32 reason)
{
	if (outbound) {
		f->drops_out++;
		f->drop_reason_out = reason;
	} else {
		f->drops_in++;
		f->drop_reason_in = reason;
	}
}

/*
 * The kernel throws a segment away. Told for control segments, and for an ACK
 * that was just told as arrived or sent. Why, and whether TCP itself had taken it
 * before, is for the reader to say from the reason's name.
 */
static __always_inline int drop(struct sk_buff *skb, __u32 reason)
{
	struct sender by = {};
	struct segment s;
	bool outbound;

	if (!is_ip(skb) || (reason < DROP_REASONS_MAX && has(ignored_drops, reason)))
		return 0;
	outbound = !READ(skb, skb_iif);
	if (outbound && !sender_of(skb, &by))
		return 0;
	if (!parse(skb, READ(skb, network_header), outbound, true, &s))
		return 0;
	s.tuple.netns = skb_netns(skb);
	if (filter(&s.tuple, s.family) != WANTED)
		return 0;

	struct flow *f = bpf_map_lookup_elem(&flows, &s.tuple);
	if (!f) {
		/* Where only TCP's functions are hooked, the first that is seen of a SYN. */
		if (!(s.flags & (TCP_SYN | TCP_FIN | TCP_RST)) ||
		    (!outbound && !routed_here(skb, s.family)))
			return 0;
		f = make_flow(&s.tuple);
		if (!f)
			return 0;
	}
	if (!outbound && f->bits & FLOW_LOCAL && is_forwarded(skb, s.family)) {
		tell_forwarded(&s, reason);
		return 0;
	}
	bool was_told = is_last(f, skb, &s);
	/* What a device was given is not without one: it is another skb in the same memory. */
	bool before_device = outbound && !READ(skb, dev);
	if (before_device && f->last_ifindex)
		was_told = false;
	if (!(f->bits & FLOW_LOCAL)) {
		if (!outbound && !routed_here(skb, s.family))
			return 0;
		/* Where what was held back is this very segment, the drop tells it. */
		if (was_told)
			f->bits &= ~FLOW_ARRIVAL;
		confirm(f, &s.tuple, wanted_sender(&by));
	}
	if (!(f->bits & FLOW_WANTED))
		return 0;
	bool told = was_told || controls(f, &s);
	/* It never got there. */
	f->bits = f->last_bits | (f->bits & (FLOW_LOCAL | FLOW_WANTED | FLOW_OWNED));
	if (!told && s.payload_len)
		count_dropped(f, outbound, reason);
	if (!told && !all_segments)
		return 0;

	/* Its SYN may be the first that shows the port: the timeline finds it by its socket. */
	if (by.sk && s.flags & TCP_SYN)
		tell_connect(by.sk, &s.tuple, s.family);

	struct event *e = begin_segment(KIND_DROP, &s, (__u64)by.sk, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	if (before_device && !was_told)
		e->notes |= NOTE_UNTOLD;
	e->of.segment.reason = reason;
	submit(e);
	return 0;
}

#endif
