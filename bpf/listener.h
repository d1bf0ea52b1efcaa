/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* SYNs that find a listener's queue full. */
#ifndef TCPTRACE_LISTENER_H
#define TCPTRACE_LISTENER_H

#include "flow.h"
#include "owner.h"

/*
 * tcp_conn_request(): a SYN is about to be answered, dropped without a sign, or answered with a
 * cookie. Told where a queue is full, by the kernel's own tests.
 */
static __always_inline int requested(struct sock *listener, struct sk_buff *skb)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)listener;
	__u64 key = (__u64)listener;
	struct queues q = {
		.accept_len = READ(listener, sk_ack_backlog),
		.backlog = READ(listener, sk_max_ack_backlog),
		.syn_len = BPF_CORE_READ(icsk, icsk_accept_queue.qlen.counter),
		.syn_max = READ(listener, __sk_common.skc_net.net, ipv4.sysctl_max_syn_backlog),
	};
	struct segment s;

	/* sk_acceptq_is_full(); inet_csk_reqsk_queue_is_full(); what strangers get without cookies. */
	if (q.accept_len <= q.backlog && q.syn_len < q.backlog &&
	    q.syn_max - q.syn_len >= q.syn_max >> 2)
		return 0;
	if (!parse(skb, READ(skb, network_header), false, true, &s))
		return 0;
	s.tuple.netns = READ(listener, __sk_common.skc_net.net, ns.inum);
	if (filter(&s.tuple, s.family) != WANTED)
		return 0;
	struct owner *o = bpf_map_lookup_elem(&owners, &key);
	if (filter_pid && !(o && o->wanted))
		return 0;
	/* The listener is here: so is what waits for a sign of that. */
	struct flow *f = bpf_map_lookup_elem(&flows, &s.tuple);
	if (f && !(f->bits & FLOW_LOCAL))
		confirm(f, &s.tuple, true);
	struct event *e = begin(KIND_OVERFLOW, &s.tuple, s.family, 0, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	if (o) {
		put_owner(e, o);
		e->owner_source = OWNER_LISTEN;
	}
	e->of.queues = q;
	submit(e);
	return 0;
}

#endif
