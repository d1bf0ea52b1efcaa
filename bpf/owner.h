/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whose socket it is. */
#ifndef TCPTRACE_OWNER_H
#define TCPTRACE_OWNER_H

#include "compat.h"
#include "config.h"
#include "flow.h"
#include "kernel.h"
#include "maps.h"
#include "process.h"
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

/*
 * Whether TCP sends the segment just now: one that waited for a neighbour leaves in the context
 * of whoever brought the neighbour's address, and a process may hold the socket's lock meanwhile.
 * TCP stamps what it sends (tcp_wstamp_ns, CLOCK_MONOTONIC).
 */
#define JUST_NOW_NS 5000000
static __always_inline bool is_fresh(const struct sk_buff *skb)
{
	return bpf_ktime_get_ns() - READ(skb, tstamp) < JUST_NOW_NS;
}

/* The current process; false for a kernel thread. */
static __always_inline bool current_process(struct owner *o, __u8 source)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct task_struct *task, *leader;
	__u32 flags;

	o->pid = pid_tgid >> 32;
	o->tid = pid_tgid;
	o->uid = bpf_get_current_uid_gid();
	o->cgroup_id = bpf_get_current_cgroup_id();
	o->source = source;
	if (has_current_task_btf()) {
		task = bpf_get_current_task_btf();
		leader = task->group_leader;
		flags = task->flags;
		o->process_start = leader->start_boottime / CLOCK_TICK_NS;
	} else {
		task = (struct task_struct *)bpf_get_current_task();
		leader = BPF_CORE_READ(task, group_leader);
		flags = BPF_CORE_READ(task, flags);
		o->process_start = process_start(leader);
	}
	bpf_core_read(&o->comm, sizeof(o->comm), &leader->comm);
	o->wanted = wanted_process(task, o);
	return !(flags & PF_KTHREAD);
}

/* So often is a change told: processes that take turns would fill the ring. */
#define HANDOVERS_MAX 16

/* Whether it is known that the current process uses the socket. Of two that take turns both are. */
static __always_inline bool is_known_user(const struct flow *f)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	return f->bits & FLOW_OWNED &&
	       (pid == f->user || pid == f->former_user || f->handovers >= HANDOVERS_MAX);
}

/*
 * A socket's number in last_users. The verifier forbids to compute with a pointer, and allows to take half of
 * it. Another socket with the same half has other ports.
 */
static __always_inline __u32 socket_number(struct sock *sk)
{
	__u32 half;

	/* In C, the compiler may shift the whole. */
	asm("%0 = %1" : "=w"(half) : "w"((__u32)(__u64)sk));
	return half ^ READ(sk, __sk_common.skc_hash);
}

static __always_inline __u64 *last_user(__u32 number)
{
	__u32 place = number >> 6 & (LAST_USERS - 1); /* a struct sock begins at a cache line */

	return bpf_map_lookup_elem(&last_users, &place);
}

/* What last_users says where the current process is the last to have used the socket. */
static __always_inline __u64 used_by_me(__u32 number)
{
	return (__u64)number << 32 | bpf_get_current_pid_tgid() >> 32;
}

/* Whether the flow need not be looked up to know that the current process uses the socket. */
static __always_inline bool is_last_user(struct sock *sk)
{
	__u32 number = socket_number(sk);
	__u64 *user = last_user(number);

	return user && *user == used_by_me(number);
}

/* The flow knows that the current process uses the socket. */
static __always_inline void remember_user(struct sock *sk)
{
	__u32 number = socket_number(sk);
	__u64 *user = last_user(number);

	if (user)
		*user = used_by_me(number);
}

/* Another connection may have the socket's memory next, or another process be thought its owner. */
static __always_inline void forget_user(struct sock *sk)
{
	__u32 number = socket_number(sk);
	__u64 *user = last_user(number);

	if (user && *user >> 32 == number)
		*user = 0;
}

/*
 * The current process reads from or writes to the socket: it is the owner, whoever connected,
 * accepted, listens, or used it before. Told when that is news.
 */
static __always_inline void used_by_current(struct sock *sk, struct flow *f, const struct tuple *t,
					    __u8 family)
{
	struct owner o = {};
	__u32 former = f->user;

	if (is_known_user(f)) {
		remember_user(sk);
		return;
	}
	if (!current_process(&o, OWNER_IO))
		return;
	remember_user(sk);
	f->former_user = former;
	f->user = o.pid;
	if (former)
		f->handovers++;
	if (!(f->bits & FLOW_LOCAL))
		confirm(f, t, o.wanted);
	f->bits |= FLOW_OWNED | (o.wanted ? FLOW_WANTED : 0);
	if (!(f->bits & FLOW_WANTED))
		return;

	/* The record of its end says that the listener's process used it. */
	struct owner *listener = former ? NULL : bpf_map_lookup_elem(&owners, &f->listener);
	if (listener && listener->pid == o.pid)
		return;
	struct event *e = begin(KIND_OWNER, t, family, (__u64)sk, bpf_ktime_get_boot_ns());
	if (!e)
		return;
	put_actor(e, &o);
	submit(e);
}

/* The current process has read from the socket. */
static __always_inline int read_by_current(struct sock *sk)
{
	struct tuple t;
	__u8 family;

	/* It reads what a connection left behind. */
	if (READ(sk, __sk_common.skc_state) == TCP_CLOSE || is_last_user(sk))
		return 0;
	common_tuple(&sk->__sk_common, &t, &family);
	t.local_port = READ(sk, __sk_common.skc_num); /* 0 in CLOSE alone */
	if (filter(&t, family) != WANTED)
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (!f)
		f = make_flow(&t);
	if (f)
		used_by_current(sk, f, &t, family);
	return 0;
}

#endif
