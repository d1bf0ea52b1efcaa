/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The sockets that processes hold: at the start those that were there before,
 * at the end the counters of those still open. earlier.h has those that nobody holds.
 */
#ifndef TCPTRACE_SNAPSHOT_H
#define TCPTRACE_SNAPSHOT_H

#include "flow.h"
#include "owner.h"
#include "record.h"
#include "sock.h"

/* Set for the last run. */
bool final_snapshot = false;
/*
 * The file operations of every socket: what bpf_sock_from_file() asks for, which came with 5.11.
 * Before, a walk finds them at the file descriptor that the loader says is a socket.
 */
__u64 socket_operations = 0;
__s32 known_socket_fd = -1;
/* The socket that a walk is at, for earlier.h. One walk runs at a time. */
volatile __u64 walked = 0;

/*
 * A walk writes a byte for each of its steps: so many bytes as the loader asks for, so many steps are
 * taken, and then the reader is let catch up.
 */
static __always_inline void step(struct seq_file *seq)
{
	__u8 one = 1;

	bpf_seq_write(seq, &one, sizeof(one));
}

static __always_inline struct socket *socket_of(struct task_struct *task, struct file *file, __u32 fd)
{
#ifdef COPYING
	__u64 operations = (__u64)READ(file, f_op);

	if (!socket_operations && fd == known_socket_fd &&
	    READ(task, tgid) == bpf_get_current_pid_tgid() >> 32)
		socket_operations = operations;
	return operations == socket_operations ? READ(file, private_data) : NULL;
#else
	return bpf_sock_from_file(file);
#endif
}

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

	if (known && known->pid != o->pid) {
		known->shared = true;
		known->wanted |= o->wanted;
	}
}

/* Where the connection stands. Nothing holds it still: what does not fit together is not to be used. */
static __always_inline void put_earlier(struct event *e, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct earlier *was = &e->of.earlier;

	was->snd_nxt = BPF_CORE_READ(tp, snd_nxt);
	was->rcv_nxt = BPF_CORE_READ(tp, rcv_nxt);
	was->snd_una = BPF_CORE_READ(tp, snd_una);
	was->bytes_acked = BPF_CORE_READ(tp, bytes_acked);
	put_counters(e, sk);
	if (was->snd_nxt == BPF_CORE_READ(tp, snd_nxt) && was->rcv_nxt == BPF_CORE_READ(tp, rcv_nxt) &&
	    was->snd_una == BPF_CORE_READ(tp, snd_una))
		was->notes |= EARLIER_STEADY;
	if (e->new_state == TCP_SYN_SENT)
		return;
	was->notes |= EARLIER_SCALED;
	if (!BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.wscale_ok))
		return;
	was->snd_wscale = BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.snd_wscale);
	was->rcv_wscale = BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.rcv_wscale);
}

/* Tells of a socket, unless it was closed meanwhile: a hook told that before. */
static __always_inline int tell_earlier(struct sock *sk, const struct tuple *t, __u8 family, __u8 state,
					const struct owner *o, __u8 notes)
{
	struct event *e = begin(KIND_SNAPSHOT, t, family, (__u64)sk, bpf_ktime_get_boot_ns());

	if (!e)
		return 0;
	e->new_state = state;
	e->notes = notes;
	put_owner(e, o);
	put_earlier(e, sk);
	if (READ(sk, __sk_common.skc_state) == TCP_CLOSE) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return 0;
	}
	submit(e);
	return 0;
}

static __always_inline int snapshot(struct task_struct *task, struct file *file, __u32 fd)
{
	struct socket *socket = socket_of(task, file, fd);
	struct owner o = {};
	struct tuple t;
	__u8 family, notes = 0;

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
		return tell_earlier(sk, &t, family, state, &o, NOTE_LAST);
	}
	if (!o.wanted && !(f && f->bits & FLOW_WANTED))
		return 0;
	if (!f)
		f = make_flow(&t);
	if (!f)
		return 0;
	if (f->bits & FLOW_SNAPSHOT) {
		if (f->bits & FLOW_OWNED && f->user == o.pid)
			return 0;
		/* Who of them uses it is to be told yet. */
		notes = NOTE_SHARED;
		f->bits &= ~FLOW_OWNED;
		f->user = 0;
		forget_user(sk);
	} else if (!(f->bits & FLOW_OWNED)) {
		f->bits |= FLOW_OWNED;
		f->user = o.pid;
	}
	f->bits |= FLOW_LOCAL | FLOW_WANTED | FLOW_SNAPSHOT;
	return tell_earlier(sk, &t, family, state, &o, notes);
}

#endif
