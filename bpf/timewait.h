/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The small sockets that stand for a connection in TIME_WAIT, or an orphan in FIN_WAIT2. */
#ifndef TCPTRACE_TIMEWAIT_H
#define TCPTRACE_TIMEWAIT_H

#include "config.h"
#include "maps.h"
#include "record.h"
#include "sock.h"

/* inet_twsk_kill(): by its timer, a reuse, a reset, or the end of its namespace. */
static __always_inline int time_wait_ends(struct inet_timewait_sock *tw)
{
	struct tuple t;
	__u8 family;

	common_tuple(&tw->__tw_common, &t, &family);
	t.local_port = READ(tw, __tw_common.skc_num);
	if (filter(&t, family) != WANTED)
		return 0;

	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (filter_pid && (!f || !(f->bits & FLOW_WANTED)))
		return 0;
	struct event *e = begin(KIND_TIME_WAIT_END, &t, family, 0, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	e->old_state = READ(tw, tw_substate);
	e->new_state = TCP_CLOSE;
	submit(e);
	return 0;
}

#endif
