/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* connect() that fails at once: no route, no local port, the route forbids it. */
#ifndef TCPTRACE_CONNECT_H
#define TCPTRACE_CONNECT_H

#include "owner.h"

/* What connect() was asked for: struct sockaddr_in and sockaddr_in6. */
static __always_inline bool put_destination(struct tuple *t, __u8 *family, const void *address)
{
	__u8 a[24];

	if (bpf_probe_read_kernel(a, 8, address))
		return false;
	t->remote_port = be16_at(a, 2);
	switch (*(__u16 *)a) {
	case AF_INET:
		map_ipv4(t->remote_addr, *(__be32 *)(a + 4));
		*family = 4;
		return true;
	case AF_INET6:
		if (bpf_probe_read_kernel(a, sizeof(a), address))
			return false;
		__builtin_memcpy(t->remote_addr, a + 8, 16);
		*family = is_mapped_ipv4(t->remote_addr) ? 4 : 6;
		return true;
	}
	return false;
}

/* tcp_v4_connect(), tcp_v6_connect() return. For an IPv4-mapped address the latter calls the former. */
static __always_inline int connect_returned(struct sock *sk, const void *address, int result,
					    __u8 function)
{
	struct owner o = {};
	struct tuple t;
	__u8 family;

	if (result >= 0 || !sk)
		return 0;
	sock_tuple(sk, &t, &family);
	if (!put_destination(&t, &family, address) || family != function)
		return 0;
	/* Without a port no filter by port can tell; it is nobody's that a filter wants then. */
	if (filter(&t, family) != WANTED || !current_process(&o, OWNER_CONNECT) || !o.wanted)
		return 0;
	struct event *e = begin(KIND_CONNECT_ERROR, &t, family, (__u64)sk, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	put_owner(e, &o);
	e->notes |= NOTE_BY_PROCESS;
	e->error = -result;
	submit(e);
	return 0;
}

/*
 * A return probe sees no arguments: they are kept from the function's begin. Not from connect()'s:
 * sendto() with Fast Open gets here without it, and a Multipath TCP socket connects another, its subflow.
 */
static __always_inline int connect_begins(struct sock *sk, const void *address)
{
	struct call c = {(__u64)sk, (__u64)address};
	__u64 task = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&connects, &task, &c, BPF_ANY);
	return 0;
}

/* For an IPv4-mapped address tcp_v4_connect() is the last to begin and the first to return: it tells. */
static __always_inline int connect_ends(int result, __u8 function)
{
	__u64 task = bpf_get_current_pid_tgid();
	struct call *c = bpf_map_lookup_elem(&connects, &task);

	if (!c)
		return 0;
	struct sock *sk = (struct sock *)c->sock;
	const void *address = (const void *)c->address;
	bpf_map_delete_elem(&connects, &task);
	return connect_returned(sk, address, result, function);
}

#endif
