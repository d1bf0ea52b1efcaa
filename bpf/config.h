/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Settings, written by the loader before the programs are verified (a filter
 * that is off is then no code at all), and the filter itself.
 */
#ifndef TCPTRACE_CONFIG_H
#define TCPTRACE_CONFIG_H

#include "kernel.h" /* first: it has the types */
#include "event.h"
#include "maps.h"

#define PORT_WORDS (65536 / 64)
#define NETNS_MAX 64
/* Numbers from here on are of subsystems (SKB_DROP_REASON_SUBSYS_MASK) and never ignored. */
#define DROP_REASONS_MAX 256

/*
 * What is global has an initial value, here and elsewhere: only then does the compiler lay it out in
 * this order, and the programs of both objects share its memory (handlers.h).
 *
 * Set when all programs are attached, cleared before the first is detached: they begin
 * and end together, or a connection would be told by some of them and seem whole.
 */
bool tracing = false;
/* Set when the reader is woken, cleared when it has read. */
bool reader_woken = false;

/* Every segment is an event, not only those that control the connection. */
const volatile bool all_segments = false;
/* Wake the reader when this many bytes wait in a ring. */
const volatile __u32 wakeup_bytes = 1 << 20;
/* How many rings there are, a power of two, less 1. */
const volatile __u32 ring_mask = 0;

/* Nanoseconds of a jiffy. */
const volatile __u32 jiffy_ns;

/* 0 both, else 4 or 6: the IP version on the wire. */
const volatile __u8 only_family = 0;
/* Sets of ports, host byte order: bit p % 64 of word p / 64. */
const volatile bool filter_port = false, filter_local_port = false, filter_remote_port = false;
const volatile __u64 ports[PORT_WORDS] = {}, local_ports[PORT_WORDS] = {}, remote_ports[PORT_WORDS] = {};
/* Inode numbers of network namespaces; none means all. */
const volatile __u32 netns_count = 0;
const volatile __u32 netns_wanted[NETNS_MAX] = {};
/* Either side's address must match a prefix in the map addresses. */
const volatile bool filter_address = false;
/* Only sockets of wanted processes (process.h). */
const volatile bool filter_pid = false;
/* Reasons of kfree_skb that are no drops, by the running kernel's numbers: a set as above. */
const volatile __u64 ignored_drops[DROP_REASONS_MAX / 64] = {};

enum verdict {
	UNWANTED,
	WANTED,
	/* Not to be told yet: the local port is still to be chosen. */
	UNDECIDED,
};

static __always_inline bool has(const volatile __u64 *set, __u16 number)
{
	__u32 n = number;

	/* Before 6.3 the verifier forgets the bound of what was spilled: state it where it is used. */
	barrier_var(n);
	n &= 0xffff;
	return set[n / 64] >> (n % 64) & 1;
}

static __always_inline bool has_address(const __u8 *address)
{
	struct address_prefix key = {.bits = 128};

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return bpf_map_lookup_elem(&addresses, &key);
}

/* The filters that a tuple alone can answer; pids are asked by the caller. */
static __always_inline enum verdict filter(const struct tuple *t, __u8 family)
{
	if (only_family && family != only_family)
		return UNWANTED;
	if (netns_count) {
		bool found = false;

		for (int i = 0; i < NETNS_MAX && i < netns_count; i++)
			found |= netns_wanted[i] == t->netns;
		if (!found)
			return UNWANTED;
	}
	if (filter_remote_port && !has(remote_ports, t->remote_port))
		return UNWANTED;
	if (filter_address && !has_address(t->local_addr) && !has_address(t->remote_addr))
		return UNWANTED;

	bool undecided = false;
	if (filter_local_port && !has(local_ports, t->local_port)) {
		if (t->local_port)
			return UNWANTED;
		undecided = true;
	}
	if (filter_port && !has(ports, t->remote_port) && !has(ports, t->local_port)) {
		if (t->local_port)
			return UNWANTED;
		undecided = true;
	}
	return undecided ? UNDECIDED : WANTED;
}

#endif
