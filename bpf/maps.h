/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Every map: who inserts, who reads, who deletes, what happens when it is full.
 * The loader sets the sizes.
 */
#ifndef TCPTRACE_MAPS_H
#define TCPTRACE_MAPS_H

#include "kernel.h" /* first: it has the types */
#include "event.h"

/* A process, as the one whose socket it is. */
struct owner {
	__u64 cgroup_id;
	__u32 pid;
	__u32 uid;
	__u8 comm[16];
	__u8 source; /* enum owner_source */
	/* The pid filter wants this socket's connections. */
	bool wanted;
	/* A listening socket that other processes hold too. */
	bool shared;
	/* CLOSE->SYN_SENT happened but could not be told yet (UNDECIDED). */
	bool connecting;
	__u32 tid;	     /* thread that acted, 0 where none did */
	__u64 connect_ns;    /* when, if connecting */
	__u32 process_start; /* see struct event */
	__u32 pad2;
};

/* Bits of flow.bits. */
enum flow_bit {
	/* TCP of this host answers for this tuple: not merely forwarded. */
	FLOW_LOCAL = 1 << 0,
	/* The pid filter wants it. */
	FLOW_WANTED = 1 << 1,
	/* A SYN-ACK came: the next ACK sent completes the handshake. */
	FLOW_OWES_ACK = 1 << 2,
	/* A SYN-ACK went: the next ACK received completes the handshake. */
	FLOW_DUE_ACK = 1 << 3,
	/* A FIN came that no segment sent has acknowledged since. */
	FLOW_OWES_FINACK = 1 << 4,
	/* A FIN went that no segment received has acknowledged since. */
	FLOW_DUE_FINACK = 1 << 5,
	/* arrival holds a segment that awaits FLOW_LOCAL. */
	FLOW_ARRIVAL = 1 << 6,
	/* A SYN-ACK came again: so may the ACK that answers it leave again. */
	FLOW_SYNACK_CAME_AGAIN = 1 << 7,
	/* The process that owns the socket was told, or is the listener's. */
	FLOW_OWNED = 1 << 8,
	/* A SYN-ACK went again: so may the ACK that answers it come again. */
	FLOW_SYNACK_WENT_AGAIN = 1 << 9,
	/* The snapshot told of it. */
	FLOW_SNAPSHOT = 1 << 10,
};

/* Where none of these is set, an ACK says nothing of the connection. */
#define FLOW_AWAITS                                                                                \
	(FLOW_OWES_ACK | FLOW_DUE_ACK | FLOW_OWES_FINACK | FLOW_DUE_FINACK | \
	 FLOW_SYNACK_CAME_AGAIN | FLOW_SYNACK_WENT_AGAIN)

/* A received segment that is told only if TCP of this host reacts to it. */
struct arrival {
	__u64 time_ns;
	__u32 payload_len;
	__u8 family;
	__u8 pad[3];
	__u8 tcp_header[TCP_HEADER_MAX];
	__u32 pad2;
};

/*
 * What is remembered of an endpoint to pick its control segments out of its
 * data. Nothing here is a truth of its own: a flow that was evicted costs a
 * choice between ACKs, not a connection.
 */
struct flow {
	/* The last control segment seen, to know it again on a lower device. */
	__u64 last_skb;
	__u64 last_ns;
	__u64 listener; /* struct sock * that the SYN-ACK was sent for */
	__u32 last_seq;
	__u32 last_ifindex;
	__u16 bits;	 /* enum flow_bit */
	__u16 last_bits; /* bits before the last control segment, should that be dropped */
	__u8 last_flags;
	__u8 last_outbound;
	__u16 handovers; /* how often the process that uses it changed */
	__u32 user;	 /* process that connected, accepted or used it last, 0 unknown */
	__u32 local_isn;
	__u32 remote_isn;
	__u32 local_fin_end;  /* sequence number after the FIN that was sent */
	__u32 remote_fin_end; /* sequence number after the FIN that was received */
	__u32 former_user;    /* before user */
	__u32 reset_reason;   /* of the RST that is about to be sent; 0 unknown */
	/* For the end, see struct change. */
	__u16 retransmits_by[3];
	__u16 drops_in;
	__u16 drops_out;
	__u16 drop_reason_in;
	__u16 drop_reason_out;
	__u16 pad;
	__u32 last_ack; /* beside last_seq: who sends no data acknowledges by segments that are else the same */
	struct arrival arrival;
};

/*
 * Records for the reader, who reads all rings as one, by the records' times. Each processor writes to one of
 * them: to take a place in a ring that another one wrote to last costs more than the record. Full:
 * the record is counted in lost.
 */
struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
};

/* Has the compiler describe the record, for bpf2go. */
const struct event *const volatile described = NULL;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

/*
 * Inserted by the first control segment, either way, by the first process that uses
 * the socket, and by the snapshot; read by every later segment; deleted when the
 * socket goes to CLOSE: taking the place of the least recently used costs more than
 * all else that is done for a segment. Strangers' SYNs, and what a filter has to be
 * remembered for, stay until they are the least recently used.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, struct tuple);
	__type(value, struct flow);
} flows SEC(".maps");

/* A power of two. */
#define LAST_USERS 4096

/*
 * Who used which socket last, in one word each (owner.h): most writes and reads are by the process
 * that is known already, and this says so without the flow. Written when the flow says so; its word is
 * cleared when the socket closes. A socket that takes another's place costs that one a look at its flow.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LAST_USERS);
	__type(key, __u32);
	__type(value, __u64);
} last_users SEC(".maps");

/*
 * Owners by struct sock *: of listening sockets, inserted at listen() and by the snapshot,
 * deleted when they close; and, where a filter must know it when the SYN shows the port, of
 * those that called connect(), inserted there. A new socket at an old address overwrites.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

/*
 * Inserted when a ring is full, read and deleted by the reader. When this is
 * full too, the oldest goes, and the reader finds that the sum falls short of
 * lost_records.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct tuple);
	__type(value, struct loss);
} lost SEC(".maps");

/* The arguments of connect(), for where its return is seen without them. */
struct call {
	__u64 sock;
	__u64 address;
};

/*
 * By task: inserted when connect() begins, read and deleted when it returns, where that is told by
 * kprobes. A task has one call at a time; when it is full, the oldest goes, and its error is not told.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 10);
	__type(key, __u64);
	__type(value, struct call);
} connects SEC(".maps");

struct address_prefix {
	__u32 bits;
	__u8 address[16];
};

/* Written by the loader, read by the filter. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct address_prefix);
	__type(value, __u8);
} addresses SEC(".maps");

/*
 * Read by the filter. Thread group ids; written by the loader and, where it follows forks, by those;
 * deleted, then, when the process is gone. Full: the child is counted in unfollowed_processes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} pids SEC(".maps");

/* Written by the loader, read by the filter: real user ids, names of processes, ids of cgroups. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} uids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u8[16]);
	__type(value, __u8);
} comms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} cgroups SEC(".maps");

/* Running totals, never reset; the reader looks at them in place. */
__u64 lost_records = 0;	   /* found their ring full */
__u64 unfollowed_processes = 0; /* found the map pids full */
__u64 unreadable_segments = 0; /* TCP whose header was not in the skb's linear part */

#endif
