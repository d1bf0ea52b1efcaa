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
 * a short one that is no RST is data or acknowledges some. Who sends data is looked at,
 * but not for each segment of a stream.
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

/* A socket that is handed on in the midst of a long answer is noticed after so many bytes. */
#define LOOK_BYTES (1 << 20)

/* surely_data() for a segment of SURELY_DATA bytes at most: it may have no data, or be a RST (tcp_send_active_reset()). */
static __always_inline bool surely_short_data(struct sock *sk, const struct sk_buff *skb, __u32 len)
{
	unsigned char *header = READ(skb, head) + READ(skb, transport_header);
	__u8 copy[TCP_MIN] __attribute__((aligned(4)));
	const __u8 *tcp = HEADER_AT(header, struct tcphdr, copy, TCP_MIN);

	if (!TCP_READ(sk, bytes_received) || !tcp || (tcp[13] & ~TCP_PSH) != TCP_ACK)
		return false;
	__u64 payload_len = len - (header - READ(skb, data)) - (tcp[12] >> 4) * 4;
	if (!payload_len)
		return true;
	/* The first data may be in the third ACK, and the second too after Fast Open, see there. */
	if (TCP_READ(sk, bytes_sent) <= payload_len || TCP_READ(sk, segs_in) <= 1)
		return false;
	return !by_process(sk) || is_last_user(sk);
}

/* Whether the skb is surely nothing to tell, before its headers are read: see the head of this file. */
static __always_inline bool surely_data(const struct sender *by, const struct sk_buff *skb)
{
	__u32 len = READ(skb, len);

	if (all_segments || !by->established)
		return false;
	if (len <= SURELY_DATA)
		return surely_short_data(by->sk, skb, len);
	__u64 sent = TCP_READ(by->sk, bytes_sent);
	if (sent <= len || (sent & (LOOK_BYTES - 1)) < len)
		return false;
	/* Fast Open: the SYN may have carried the rest, and this be the third ACK. Then only the SYN-ACK has come, and
	 * no more was sent than the initial window. */
	return sent > LOOK_BYTES || TCP_READ(by->sk, segs_in) > 1;
}

static __always_inline void put_accept_queue(struct event *e, struct sock *listener)
{
	__u32 len = BPF_CORE_READ(listener, sk_ack_backlog);
	__u32 max = BPF_CORE_READ(listener, sk_max_ack_backlog);

	e->of.segment.queue_len = len > 0xffff ? 0xffff : len;
	e->of.segment.queue_max = max > 0xfffe ? 0xffff : max + 1;
}

/* TCP of this host sends the segment s, which is in skb; its tuple is complete. */
static __always_inline int transmit(struct sk_buff *skb, const struct sender *by,
				    const struct segment *s)
{
	if (filter(&s->tuple, s->family) != WANTED)
		return 0;
	/* A client has a socket; without one netfilter opens in its name (synproxy). */
	if (!READ(skb, sk) && (s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return 0;
	if (by->sk && s->flags & TCP_SYN)
		tell_connect(by->sk, &s->tuple, s->family);

	struct flow *f = bpf_map_lookup_elem(&flows, &s->tuple);
	bool uses = by->sk && s->payload_len && by_process(by->sk);
	if (!f) {
		/* An ACK or data of a connection that was open before: nothing to tell but who sends. */
		if (!all_segments && !uses && !(s->flags & (TCP_SYN | TCP_FIN | TCP_RST)))
			return 0;
		f = make_flow(&s->tuple);
		if (!f)
			return 0;
	}
	/* A new connection on a tuple that had one before. */
	if (s->flags & TCP_SYN && s->seq != f->local_isn) {
		f->user = f->former_user = f->handovers = 0;
		f->bits &= FLOW_LOCAL | FLOW_WANTED | FLOW_ARRIVAL;
	}
	/* connect() told whose it is. */
	if (by->sk && s->flags & TCP_SYN && by_process(by->sk) && is_fresh(skb)) {
		f->bits |= FLOW_OWNED;
		f->user = bpf_get_current_pid_tgid() >> 32;
	}
	if (by->listener)
		f->listener = by->listener;
	/*
	 * An RST that answers a SYN has ACK (RFC 9293, section 3.10.7.1). The one that waited was
	 * another host's: netfilter rejects what came since.
	 */
	if ((s->flags & (TCP_RST | TCP_ACK)) == TCP_RST &&
	    (f->arrival.tcp_header[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		f->bits &= ~FLOW_ARRIVAL;
	if (!(f->bits & FLOW_LOCAL) || (filter_pid && s->flags & TCP_SYN)) {
		f->bits &= ~FLOW_WANTED;
		confirm(f, &s->tuple, wanted_sender(by));
	}
	if (uses && is_fresh(skb))
		used_by_current(by->sk, f, &s->tuple, s->family);
	if (!(f->bits & FLOW_WANTED) || is_data(f, s))
		return 0;

	if (seen_above(f, skb, s) || (!controls(f, s) && !all_segments))
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	remember_last(f, skb, s, now);

	struct event *e = begin_segment(KIND_TRANSMIT, s, (__u64)by->sk, now);
	if (!e)
		return 0;
	if (s->flags & TCP_SYN && s->flags & TCP_ACK && !READ(skb, sk))
		e->notes |= NOTE_SYN_COOKIE;
	if (s->flags & TCP_RST) {
		e->of.segment.reason = f->reset_reason;
		f->reset_reason = 0;
	}
	if (by->listener) {
		put_accept_queue(e, (struct sock *)by->listener);
		/* The child is to come, and may never: until then it is the listener's. */
		struct owner *o = bpf_map_lookup_elem(&owners, &by->listener);

		if (o) {
			put_owner(e, o);
			e->owner_source = OWNER_LISTEN;
		}
	}
	submit(e);
	return 0;
}

/* A device is given a packet. */
static __always_inline int transmit_at_device(struct sk_buff *skb)
{
	struct sender by = {};
	struct segment s;

	/* skb_iif is set by a device that received it: this one is only forwarded. */
	if (!is_ip(skb) || READ(skb, skb_iif) || !sender_of(skb, &by) || surely_data(&by, skb) ||
	    !parse(skb, READ(skb, network_header), true, true, &s))
		return 0;
	s.tuple.netns = by.sk ? READ(by.sk, __sk_common.skc_net.net, ns.inum)
			      : READ(skb, dev, nd_net.net, ns.inum);
	return transmit(skb, &by, &s);
}

/*
 * __ip_local_out(), __ip6_local_out(): all is filled in but the IP header's length and checksum. Over IPv6 TCP's own
 * go another way (ip6_xmit()), but not the RSTs by which netfilter rejects.
 */
static __always_inline int transmit_with_header(struct net *net, struct sk_buff *skb)
{
	struct sender by = {};
	struct segment s;

	if (!sender_of(skb, &by) || surely_data(&by, skb) ||
	    !parse(skb, READ(skb, network_header), true, false, &s))
		return 0;
	s.tuple.netns = READ(net, ns.inum);
	return transmit(skb, &by, &s);
}

/*
 * ip6_xmit(): the IPv6 header is yet to be made, from fl6. TCP's is where data points. sk
 * is the sender, or a control socket of the namespace.
 */
static __always_inline int transmit_ipv6(struct sock *sk, struct sk_buff *skb, struct flowi6 *fl6)
{
	struct sender by = {};
	struct segment s;
	__u8 copy[TCP_MIN] __attribute__((aligned(4)));

	if (READ(sk, sk_protocol) != IPPROTO_TCP || !sender_of(skb, &by) || surely_data(&by, skb))
		return 0;
	s.header = READ(skb, data);
	const __u8 *tcp = HEADER_AT(s.header, struct tcphdr, copy, TCP_MIN);
	if (!tcp)
		return 0;
	s.family = 6;
	s.outbound = true;
	bpf_core_read(s.tuple.local_addr, 16, &fl6->saddr);
	bpf_core_read(s.tuple.remote_addr, 16, &fl6->daddr);
	s.tuple.netns = READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!parse_tcp(&s, tcp, READ(skb, len), READ(skb, len) - READ(skb, data_len)))
		return 0;
	return transmit(skb, &by, &s);
}

#endif
