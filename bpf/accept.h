/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* accept(): the one moment that shows which process takes a connection. */
#ifndef TCPTRACE_ACCEPT_H
#define TCPTRACE_ACCEPT_H

#include "owner.h"

/* inet_csk_accept() returns sk, NULL where it took none. The current process called it. */
static __always_inline int accepted(struct sock *sk)
{
	struct owner o = {};
	struct tuple t;
	__u8 family;

	if (!sk || READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	sock_tuple(sk, &t, &family);
	if (filter(&t, family) != WANTED || !current_process(&o, OWNER_ACCEPT))
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (f) {
		f->user = o.pid;
		f->bits |= FLOW_OWNED;
		if (o.wanted)
			f->bits |= FLOW_WANTED;
	}
	if (!o.wanted && !(f && f->bits & FLOW_WANTED))
		return 0;
	struct event *e = begin(KIND_ACCEPT, &t, family, (__u64)sk, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	put_actor(e, &o);
	submit(e);
	return 0;
}

#endif
