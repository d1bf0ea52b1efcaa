/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Making a record and handing it to the reader. */
#ifndef TCPTRACE_RECORD_H
#define TCPTRACE_RECORD_H

#include "config.h"
#include "kernel.h"
#include "maps.h"

static __always_inline void count_loss(const struct tuple *t, __u64 sock, __u64 now)
{
	__sync_fetch_and_add(&lost_records, 1);

	struct loss *known = bpf_map_lookup_elem(&lost, t);
	if (known) {
		__sync_fetch_and_add(&known->records, 1);
		return;
	}
	struct loss first = {.first_ns = now, .sock = sock, .records = 1};
	if (bpf_map_update_elem(&lost, t, &first, BPF_NOEXIST)) {
		/* Another CPU was quicker. */
		known = bpf_map_lookup_elem(&lost, t);
		if (known)
			__sync_fetch_and_add(&known->records, 1);
	}
}

/* This processor's ring. */
static __always_inline void *this_ring(void)
{
	__u32 i = bpf_get_smp_processor_id() & ring_mask;

	return bpf_map_lookup_elem(&rings, &i);
}

/* A zeroed record of this kind, or NULL and the loss is counted. */
static __always_inline struct event *begin(__u8 kind, const struct tuple *t, __u8 family,
					   __u64 sock, __u64 now)
{
	void *ring = this_ring();
	struct event *e = ring ? bpf_ringbuf_reserve(ring, sizeof(*e), 0) : NULL;

	if (!e) {
		count_loss(t, sock, now);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = now;
	e->sock = sock;
	e->tuple = *t;
	e->kind = kind;
	e->family = family;
	return e;
}

/*
 * Waking the reader costs ten times what the record does (an interrupt of this processor): it polls, and
 * is woken only when it falls behind, once until it comes. Whether it does is asked at one record in 16.
 */
static __always_inline void submit(struct event *e)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (!(e->time_ns >> 4 & 15) && !reader_woken) {
		void *ring = this_ring();

		if (ring && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >= wakeup_bytes) {
			reader_woken = true;
			flags = BPF_RB_FORCE_WAKEUP;
		}
	}
	bpf_ringbuf_submit(e, flags);
}

static __always_inline void put_owner(struct event *e, const struct owner *o)
{
	e->cgroup_id = o->cgroup_id;
	e->pid = o->pid;
	e->uid = o->uid;
	__builtin_memcpy(e->comm, o->comm, sizeof(e->comm));
	e->owner_source = o->source;
	e->process_start = o->process_start;
}

/* The owner is who acts now. */
static __always_inline void put_actor(struct event *e, const struct owner *o)
{
	put_owner(e, o);
	e->tid = o->tid;
}

#endif
