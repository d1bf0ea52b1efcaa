/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whose socket it is. */
#ifndef TCPTRACE_OWNER_H
#define TCPTRACE_OWNER_H

#include "config.h"
#include "kernel.h"
#include "maps.h"
#include "record.h"
#include "sock.h"

/*
 * Whether the current task acts on the socket, rather than being the one that
 * softirq happened to interrupt: softirq and timers leave a socket alone while a
 * process owns its lock (sock_owned_by_user), so what happens under an owned
 * lock, the backlog included, is the owner's doing.
 */
static __always_inline bool by_process(struct sock *sk)
{
	return READ(sk, sk_lock.owned);
}

/* The current process; false for a kernel thread. */
static __always_inline bool current_process(struct owner *o, __u8 source)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	o->pid = bpf_get_current_pid_tgid() >> 32;
	o->uid = bpf_get_current_uid_gid();
	o->cgroup_id = bpf_get_current_cgroup_id();
	bpf_core_read(&o->comm, sizeof(o->comm), &leader->comm);
	o->source = source;
	o->wanted = wanted_pid(o->pid);
	return !(BPF_CORE_READ(task, flags) & PF_KTHREAD);
}

/* In place where there is one: an LRU map frees and allocates for an update. */
static __always_inline void set_owner(__u64 key, struct owner *known, const struct owner *o)
{
	if (known)
		*known = *o;
	else
		bpf_map_update_elem(&owners, &key, o, BPF_ANY);
}

/*
 * The current process reads from or writes to the socket: it is the owner, where
 * only the listener's or none was known. Told once, and not if the listener is its own.
 */
static __always_inline void used_by_current(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct owner *known = bpf_map_lookup_elem(&owners, &key);

	if (known && known->source >= OWNER_SNAPSHOT)
		return;

	struct owner o = {};
	if (!current_process(&o, OWNER_IO))
		return;
	if (known)
		o.wanted |= known->wanted;
	set_owner(key, known, &o);

	struct tuple t;
	__u8 family;
	sock_tuple(sk, &t, &family);
	if (filter(&t, family) != WANTED || !o.wanted)
		return;
	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (f) {
		struct owner *listener = bpf_map_lookup_elem(&owners, &f->listener);

		f->bits |= FLOW_WANTED;
		if (listener && listener->pid == o.pid)
			return;
	}
	struct event *e = begin(KIND_OWNER, &t, family, key, bpf_ktime_get_boot_ns());
	if (!e)
		return;
	put_owner(e, &o);
	submit(e);
}

#endif
