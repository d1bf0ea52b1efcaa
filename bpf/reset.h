/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Why TCP of this host resets connections, in the kernel's word (since 6.10, 5691276b39da). */
#ifndef TCPTRACE_RESET_H
#define TCPTRACE_RESET_H

#include "flow.h"
#include "receive.h"

/*
 * An RST that answers skb; sk, where there is one, may be a small socket or a listener. It is
 * yet to be sent: that tells the reason with it.
 */
static __always_inline void answered_by_reset(struct sock *sk, struct sk_buff *skb, __u32 reason)
{
	struct segment s;

	if (!parse(skb, READ(skb, network_header), false, true, &s))
		return;
	/* TCP takes the device from what it queues at a socket. */
	s.tuple.netns = sk ? READ(sk, __sk_common.skc_net.net, ns.inum) : 0;
	if (!s.tuple.netns)
		s.tuple.netns = skb_netns(skb);
	if (filter(&s.tuple, s.family) != WANTED)
		return;
	struct flow *f = bpf_map_lookup_elem(&flows, &s.tuple);
	if (!f)
		f = make_flow(&s.tuple);
	if (f)
		f->reset_reason = reason;
}

/* tcp_send_reset: skb is what the RST answers, NULL where sk has sent it on its own. */
static __always_inline int reset(struct sock *sk, struct sk_buff *skb, __u32 reason)
{
	struct tuple t;
	__u8 family;

	if (skb) {
		answered_by_reset(sk, skb, reason);
		return 0;
	}
	if (!sk)
		return 0;
	sock_tuple(sk, &t, &family);
	if (filter(&t, family) != WANTED)
		return 0;
	struct event *e = begin(KIND_RESET, &t, family, (__u64)sk, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	e->error = reason;
	submit(e);
	return 0;
}

#endif
