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
	o->wanted = wanted_pid(o->pid);
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
	if (final_snapshot) {
		/* Of what was traced. An owner in the map may be of a socket that was here before. */
		if (!bpf_map_lookup_elem(&flows, &t))
			return 0;
	} else if (bpf_map_update_elem(&owners, &key, &o, BPF_NOEXIST)) {
		/* Held by several processes, or known from an event since. */
		struct owner *known = bpf_map_lookup_elem(&owners, &key);

		if (known && o.wanted)
			known->wanted = true;
		else if (known)
			o.wanted = known->wanted;
	}
	if (state == TCP_LISTEN || !o.wanted || filter(&t, family) != WANTED)
		return 0;

	/* Where a flow is known an event told of it already: only the end's counters are news. */
	struct flow fresh = {.bits = FLOW_LOCAL | FLOW_WANTED};
	if (!final_snapshot && bpf_map_update_elem(&flows, &t, &fresh, BPF_NOEXIST))
		return 0;

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
