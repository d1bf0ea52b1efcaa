/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* State changes, as the kernel announces them. */
#ifndef TCPTRACE_STATE_H
#define TCPTRACE_STATE_H

#include "closing.h"
#include "flow.h"
#include "owner.h"
#include "record.h"
#include "sock.h"

static __always_inline struct event *begin_state(struct sock *sk, const struct tuple *t, __u8 family,
						 __u8 old_state, __u8 new_state, __u64 now)
{
	struct event *e = begin(KIND_STATE, t, family, (__u64)sk, now);

	if (!e)
		return NULL;
	e->old_state = old_state;
	e->new_state = new_state;
	return e;
}

static __always_inline void emit_connect(struct sock *sk, const struct tuple *t, __u8 family,
					 const struct owner *by, __u64 now)
{
	struct event *e = begin_state(sk, t, family, TCP_CLOSE, TCP_SYN_SENT, now);

	if (!e)
		return;
	put_actor(e, by);
	e->notes |= NOTE_BY_PROCESS;
	submit(e);
}

/* Whether owners holds more than listeners. */
static __always_inline bool remembers_connects(void)
{
	return filter_local_port || filter_port || filter_pid;
}

/*
 * connect(): the local port is still 0. Where a filter needs it, the event waits
 * in owners until the SYN, or the failure, shows the port.
 */
static __always_inline void on_connect(struct sock *sk, const struct tuple *t, __u8 family)
{
	__u64 key = (__u64)sk, now = bpf_ktime_get_boot_ns();
	enum verdict v = filter(t, family);
	struct owner o = {};

	if (v == UNWANTED)
		return;
	current_process(&o, OWNER_CONNECT);
	if (v == UNDECIDED) {
		o.connecting = true;
		o.connect_ns = now;
	}
	if (v == UNDECIDED || filter_pid)
		bpf_map_update_elem(&owners, &key, &o, BPF_ANY);
	else if (remembers_connects())
		/* A socket at the same address before: a port that nobody wanted, so its connect() still waits. */
		bpf_map_delete_elem(&owners, &key);
	if (v == WANTED && o.wanted)
		emit_connect(sk, t, family, &o, now);
}

/* The port is known now. */
static __always_inline void tell_connect(struct sock *sk, const struct tuple *t, __u8 family)
{
	__u64 key = (__u64)sk;

	if (!remembers_connects())
		return;
	struct owner *o = bpf_map_lookup_elem(&owners, &key);
	if (!o || !o->connecting)
		return;
	o->connecting = false;
	if (o->wanted)
		emit_connect(sk, t, family, o, o->connect_ns);
}

/* Whether it is a process's call that takes a socket from old to new, and not a segment or a timer. */
static __always_inline bool is_call(__u8 old_state, __u8 new_state)
{
	switch (new_state) {
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		return true;
	case TCP_CLOSE:
		return old_state != TCP_LAST_ACK && old_state != TCP_CLOSING;
	}
	return false;
}

/*
 * Whether TIME_WAIT begins for a flow that must not be forgotten over it: the ACK of the
 * peer's FIN is still to leave, or there are choices that only the flow remembers.
 */
static __always_inline bool in_time_wait(const struct flow *f, __u8 old_state)
{
	return (old_state == TCP_FIN_WAIT2 || old_state == TCP_CLOSING) &&
	       (f->bits & FLOW_OWES_FINACK || filter_pid || all_segments);
}

/* tcp_fin_time(): how long FIN_WAIT2 may last once no process has the socket. */
static __always_inline __u32 fin_timeout_ms(struct sock *sk, struct tcp_sock *tp)
{
	__u32 rto = READ(tp, inet_conn.icsk_rto);
	int jiffies = READ(tp, linger2);

	if (!jiffies)
		jiffies = READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_fin_timeout);
	if (jiffies < (int)((rto << 2) - (rto >> 1)))
		jiffies = (rto << 2) - (rto >> 1);
	return (__u64)jiffies * jiffy_ns / 1000000;
}

/* What only the end shows; f may be NULL. */
static __always_inline void put_ending(struct event *e, struct sock *sk, const struct flow *f)
{
	struct tcp_sock *tp = trusted_tcp_sock(sk);
	struct change *c = &e->of.change;

	if (!tp)
		return;
	__u32 unread = READ(tp, rcv_nxt) - READ(tp, copied_seq);
	if (unread && e->notes & NOTE_FIN_RECEIVED)
		unread--; /* the FIN */
	if ((__s32)unread > 0)
		c->unread = unread;
	c->linger_0 = READ(sk, __sk_common.skc_flags) & (1UL << SOCK_LINGER) &&
		      !READ(sk, sk_lingertime);
	__u32 dsacks = READ(tp, dsack_dups);
	c->dsacks = dsacks < 65535 ? dsacks : 65535;
	c->fin_timeout_or_snd_nxt = e->old_state == TCP_FIN_WAIT2 ? fin_timeout_ms(sk, tp) : READ(tp, snd_nxt);
	if (!f)
		return;
	c->flow_known = 1;
	__builtin_memcpy(c->retransmits_by, f->retransmits_by, sizeof(c->retransmits_by));
	c->drops_in = f->drops_in;
	c->drops_out = f->drops_out;
	c->drop_reason_in = f->drop_reason_in;
	c->drop_reason_out = f->drop_reason_out;
}

/* Whether a segment of the connection has left; not, where connect() found no free port or no way. */
static __always_inline bool has_sent(struct sock *sk)
{
	struct tcp_sock *tp = trusted_tcp_sock(sk);

	return !tp || READ(tp, segs_out);
}

static __always_inline int state(struct sock *sk, __u8 old_state, __u8 new_state)
{
	__u64 key = (__u64)sk;
	struct tuple t;
	__u8 family;

	/* MPTCP's own sockets pass here too; their subflows are TCP. */
	if (READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	sock_tuple(sk, &t, &family);

	if (new_state == TCP_LISTEN) {
		struct owner o = {};

		current_process(&o, OWNER_LISTEN);
		bpf_map_update_elem(&owners, &key, &o, BPF_ANY);
		return 0;
	}
	if (old_state == TCP_LISTEN) {
		/* It closes; or this is a child at the address of a socket that a filter remembered. */
		if (new_state != TCP_SYN_RECV || remembers_connects())
			bpf_map_delete_elem(&owners, &key);
		return 0;
	}
	if (new_state == TCP_SYN_SENT) {
		/* Where the socket had a connection before, inet_sport is still that one's. */
		t.local_port = READ(sk, __sk_common.skc_num);
		on_connect(sk, &t, family);
		return 0;
	}
	if (filter(&t, family) != WANTED)
		return 0;
	if (new_state == TCP_CLOSE)
		forget_user(sk);

	/* connect() failed at once: the flow is of the connection that has the tuple, if there is one. */
	bool came_to_nothing = old_state == TCP_SYN_SENT && new_state == TCP_CLOSE && !has_sent(sk);
	if (old_state == TCP_SYN_SENT)
		tell_connect(sk, &t, family);
	/*
	 * A process closes or shuts down: where nothing better was known, it owns the
	 * socket. A kernel thread only finishes what others began.
	 */
	struct owner current = {};
	bool acted = is_call(old_state, new_state) && by_process(sk) &&
		     current_process(&current, OWNER_IO);
	bool wanted = !filter_pid || (acted && current.wanted);
	struct flow *f = NULL;

	if (!wanted) {
		struct owner *known = bpf_map_lookup_elem(&owners, &key);

		wanted = known && known->wanted;
	}
	/* A FIN or RST that waits for a sign ends one of these. */
	if (!came_to_nothing &&
	    (acted || filter_pid || new_state == TCP_CLOSE_WAIT || new_state == TCP_CLOSE)) {
		f = bpf_map_lookup_elem(&flows, &t);
		wanted |= f && f->bits & FLOW_WANTED;
		if (f && !(f->bits & FLOW_LOCAL))
			confirm(f, &t, wanted);
	}
	/* Who closes it uses it: what follows is wanted too. */
	if (f && wanted)
		f->bits |= FLOW_WANTED;
	struct event *e = NULL;
	if (wanted)
		e = begin_state(sk, &t, family, old_state, new_state, bpf_ktime_get_boot_ns());
	if (e) {
		e->error = READ(sk, sk_err);
		put_counters(e, sk);
		if (new_state == TCP_CLOSE)
			put_ending(e, sk, f);
		if (acted) {
			put_owner(e, &current);
			put_closing(e, sk, new_state);
			e->of.change.user_pid = f ? f->user : 0;
			e->notes |= NOTE_BY_PROCESS;
		}
		submit(e);
	}
	if (f && new_state == TCP_CLOSE && !in_time_wait(f, old_state))
		bpf_map_delete_elem(&flows, &t);
	return 0;
}

#endif
