/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The sockets that processes hold: at the start those that were there before,
 * at the end the counters of those still open.
 */
#ifndef TCPTRACE_SNAPSHOT_H
#define TCPTRACE_SNAPSHOT_H

#include "flow.h"
#include "owner.h"
#include "record.h"
#include "sock.h"

/* Set for the last run. */
bool final_snapshot;

static __always_inline void task_owner(struct task_struct *task, struct owner *o)
{
	struct task_struct *leader = READ(task, group_leader);

	o->pid = READ(task, tgid);
	o->uid = READ(task, cred, uid.val);
	o->cgroup_id = READ(task, cgroups, dfl_cgrp, kn, id);
	bpf_core_read(&o->comm, sizeof(o->comm), &leader->comm);
	o->source = OWNER_SNAPSHOT;
	o->process_start = process_start(leader);
	o->wanted = wanted_process(task, o);
}

/* A listening socket may be held by several processes; one is told, and the filter may want another. */
static __always_inline void listener(__u64 key, const struct owner *o)
{
	if (final_snapshot || !bpf_map_update_elem(&owners, &key, o, BPF_NOEXIST))
		return;
	struct owner *known = bpf_map_lookup_elem(&owners, &key);

	if (known && o->wanted)
		known->wanted = true;
}

static __always_inline int snapshot(struct task_struct *task, struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);
	struct owner o = {};
	struct tuple t;
	__u8 family;

	if (!socket)
		return 0;
	struct sock *sk = READ(socket, sk);
	if (!sk || READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	sock_tuple(sk, &t, &family);
	__u8 state = READ(sk, __sk_common.skc_state);
	if (state == TCP_CLOSE)
		return 0;

	__u64 key = (__u64)sk;
	task_owner(task, &o);
	if (state == TCP_LISTEN) {
		listener(key, &o);
		return 0;
	}
	if (filter(&t, family) != WANTED)
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (final_snapshot) {
		if (!f || !(f->bits & FLOW_WANTED))
			return 0;
	} else {
		/* Where a flow is known an event told of it already, or another process that holds it. */
		if (!o.wanted || (f && f->bits & FLOW_WANTED))
			return 0;
		if (!f)
			f = make_flow(&t);
		if (!f)
			return 0;
		f->bits |= FLOW_LOCAL | FLOW_WANTED | FLOW_OWNED;
	}

	struct event *e = begin(KIND_SNAPSHOT, &t, family, key, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	e->new_state = state;
	put_owner(e, &o);
	put_counters(e, sk);
	submit(e);
	return 0;
}

#endif
