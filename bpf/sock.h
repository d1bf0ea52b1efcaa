/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What a struct sock says of its connection. */
#ifndef TCPTRACE_SOCK_H
#define TCPTRACE_SOCK_H

#include "kernel.h" /* first: it has the types */
#include "compat.h"
#include "event.h"

static __always_inline void map_ipv4(__u8 *address, __be32 v4)
{
	__u32 *words = (__u32 *)address;

	words[0] = words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = v4;
}

static __always_inline bool is_mapped_ipv4(const __u8 *address)
{
	const __u32 *words = (const __u32 *)address;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

/*
 * The endpoint that any kind of socket stands for, and its IP version on the wire; the local
 * port is the caller's to fill. An AF_INET6 socket's v4 fields mean nothing; a v4-mapped one holds
 * ::ffff:a.b.c.d in the v6 fields.
 */
static __always_inline void common_tuple(struct sock_common *sk, struct tuple *t, __u8 *family)
{
	t->remote_port = bpf_ntohs(READ(sk, skc_dport));
	t->netns = READ(sk, skc_net.net, ns.inum);
	if (has_ipv6() && READ(sk, skc_family) == AF_INET6) {
		bpf_core_read(t->local_addr, 16, &sk->skc_v6_rcv_saddr);
		bpf_core_read(t->remote_addr, 16, &sk->skc_v6_daddr);
		*family = is_mapped_ipv4(t->remote_addr) ? 4 : 6;
	} else {
		map_ipv4(t->local_addr, READ(sk, skc_rcv_saddr));
		map_ipv4(t->remote_addr, READ(sk, skc_daddr));
		*family = 4;
	}
}

/* Of a full TCP socket. skc_num, which is loaded, is already 0 when it goes to CLOSE; inet_sport, which is copied, is not. */
static __always_inline void sock_tuple(struct sock *sk, struct tuple *t, __u8 *family)
{
	common_tuple(&sk->__sk_common, t, family);
	t->local_port = READ(sk, __sk_common.skc_num);
	if (!t->local_port)
		t->local_port = bpf_ntohs(TCP_READ(sk, inet_conn.icsk_inet.inet_sport));
}

static __always_inline void put_counters(struct event *e, struct sock *sk)
{
	struct tcp_sock *tp = trusted_tcp_sock(sk);
	unsigned long flags = READ(sk, __sk_common.skc_flags);
	struct counters *c = &e->of.counters;

	if (!tp)
		return;
	c->bytes_sent = READ(tp, bytes_sent);
	c->bytes_retransmitted = READ(tp, bytes_retrans);
	c->bytes_received = READ(tp, bytes_received);
	c->segments_out = READ(tp, segs_out);
	c->segments_in = READ(tp, segs_in);
	c->retransmits = READ(tp, total_retrans);
	c->srtt_us = READ(tp, srtt_us) >> 3;
	if (flags & (1UL << SOCK_DEAD))
		e->notes |= NOTE_ORPHAN;
	if (flags & (1UL << SOCK_DONE))
		e->notes |= NOTE_FIN_RECEIVED;
}

#endif
