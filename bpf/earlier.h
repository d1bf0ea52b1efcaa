/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The sockets that were there before and that no process holds: half open, not yet accepted,
 * orphans, in TIME_WAIT. One network namespace's at a time.
 */
#ifndef TCPTRACE_EARLIER_H
#define TCPTRACE_EARLIER_H

#include "snapshot.h"

/* TCP_TIMEWAIT_LEN */
#define TIME_WAIT_NS 60000000000ULL
/* So much of a listener's queue is looked through; what is behind has no owner yet. */
#define QUEUE_MAX 256

/*
 * CONFIG_HZ. Jiffies began 300 seconds before they were to need more than 32 bits
 * (INITIAL_JIFFIES), at the time when CLOCK_MONOTONIC began at 0.
 */
static __always_inline __u64 jiffies_per_second(void)
{
	const __u64 seconds = bpf_ktime_get_ns() / 1000000000, now = bpf_jiffies64();
	const __u32 usual[] = {100, 250, 300, 1000};

	for (int i = 0; i < 4; i++) {
		__u64 began = (__u32)(-300 * usual[i]);
		__u64 since = (now - began) / usual[i];

		if (since + 2 >= seconds && since <= seconds + 2)
			return usual[i];
	}
	return 0;
}

/* When the TIME_WAIT began that ends at this jiffy. */
static __always_inline __u64 time_wait_began(unsigned long expires)
{
	__u64 hz = jiffies_per_second(), now = bpf_ktime_get_boot_ns();

	if (!hz)
		return 0;
	__s64 left = (__s64)(expires - bpf_jiffies64());
	__u64 left_ns = left > 0 ? (__u64)left * 1000000000 / hz : 0;
	return left_ns < TIME_WAIT_NS ? now - (TIME_WAIT_NS - left_ns) : now;
}

static __always_inline int earlier_time_wait(struct sock_common *skc, const struct tuple *t, __u8 family)
{
	struct inet_timewait_sock *tw = (struct inet_timewait_sock *)skc;
	struct event *e;

	/* An orphan in FIN_WAIT2 has nobody who would ask; of a filtered process nobody knows. */
	if (filter_pid || BPF_CORE_READ(tw, tw_substate) != TCP_TIME_WAIT)
		return 0;
	e = begin(KIND_SNAPSHOT, t, family, 0, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	e->new_state = TCP_TIME_WAIT;
	e->of.earlier.time_wait_ns = time_wait_began(BPF_CORE_READ(tw, tw_timer.expires));
	e->of.earlier.snd_nxt = BPF_CORE_READ(skc, skc_tw_snd_nxt);
	e->of.earlier.rcv_nxt = BPF_CORE_READ(skc, skc_tw_rcv_nxt);
	submit(e);
	return 0;
}

static __always_inline int earlier_request(struct sock_common *skc, const struct tuple *t, __u8 family)
{
	struct tcp_request_sock *req = (struct tcp_request_sock *)skc;
	__u64 listener = (__u64)BPF_CORE_READ(skc, skc_listener);
	struct owner *o = bpf_map_lookup_elem(&owners, &listener);
	struct flow *f = bpf_map_lookup_elem(&flows, t);

	if (filter_pid && !(o && o->wanted))
		return 0;
	if (!f)
		f = make_flow(t);
	if (!f || f->bits & FLOW_SNAPSHOT)
		return 0;
	f->bits |= FLOW_LOCAL | FLOW_WANTED | FLOW_SNAPSHOT | FLOW_DUE_ACK;
	f->listener = listener;
	f->local_isn = BPF_CORE_READ(req, snt_isn);
	f->remote_isn = BPF_CORE_READ(req, rcv_isn);

	struct event *e = begin(KIND_SNAPSHOT, t, family, 0, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	e->new_state = TCP_NEW_SYN_RECV;
	if (o) {
		put_owner(e, o);
		e->owner_source = OWNER_LISTEN;
		e->notes |= o->shared ? NOTE_SHARED : 0;
	}
	e->of.earlier.snd_nxt = f->local_isn + 1;
	e->of.earlier.rcv_nxt = f->remote_isn + 1;
	e->of.earlier.notes = EARLIER_STEADY | EARLIER_SCALED;
	if (BPF_CORE_READ_BITFIELD_PROBED(req, req.wscale_ok)) {
		e->of.earlier.snd_wscale = BPF_CORE_READ_BITFIELD_PROBED(req, req.snd_wscale);
		e->of.earlier.rcv_wscale = BPF_CORE_READ_BITFIELD_PROBED(req, req.rcv_wscale);
	}
	submit(e);
	return 0;
}

/* The verifier has a typed pointer be a number only where it comes out of a map. */
static __always_inline __u64 address_of(struct sock_common *skc)
{
	walked = (__u64)skc;
	return walked;
}

/*
 * A full socket that was not found in a process's files, and the listener in whose queue it is, 0
 * none. A function that the verifier looks at once: the queue is a loop.
 */
__noinline int earlier_unheld(__u64 sock, __u64 listener)
{
	struct owner *known = listener ? bpf_map_lookup_elem(&owners, &listener) : NULL;
	struct sock *sk = (struct sock *)sock;
	struct owner o = {};
	struct tuple t;
	__u8 family;

	if (known) {
		o = *known;
		o.source = OWNER_LISTEN;
	}
	sock_tuple(sk, &t, &family);
	__u8 state = READ(sk, __sk_common.skc_state);
	if (state == TCP_CLOSE || filter(&t, family) != WANTED || (filter_pid && !o.wanted))
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (!f)
		f = make_flow(&t);
	if (!f || f->bits & FLOW_SNAPSHOT)
		return 0;
	f->bits |= FLOW_LOCAL | FLOW_WANTED | FLOW_SNAPSHOT;
	if (listener)
		f->listener = listener;
	return tell_earlier(sk, &t, family, state, &o, o.shared ? NOTE_SHARED : 0);
}

/* Connections that are established and wait for accept(). */
static __always_inline int earlier_queue(__u64 listener)
{
	struct tcp_sock *listening = (struct tcp_sock *)listener;
	struct request_sock *req =
		BPF_CORE_READ(listening, inet_conn.icsk_accept_queue.rskq_accept_head);

	for (int i = 0; i < QUEUE_MAX && req; i++) {
		struct sock *child = BPF_CORE_READ(req, sk);

		if (child)
			earlier_unheld((__u64)child, listener);
		req = BPF_CORE_READ(req, dl_next);
	}
	return 0;
}

static __always_inline int earlier(struct sock_common *skc)
{
	__u8 state = BPF_CORE_READ(skc, skc_state), family;
	struct tuple t;

	if (state == TCP_LISTEN)
		return earlier_queue(address_of(skc));
	if (state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV)
		return earlier_unheld(address_of(skc), 0);
	common_tuple(skc, &t, &family);
	t.local_port = BPF_CORE_READ(skc, skc_num);
	if (filter(&t, family) != WANTED)
		return 0;
	return state == TCP_TIME_WAIT ? earlier_time_wait(skc, &t, family)
				      : earlier_request(skc, &t, family);
}

#endif
