/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * THE CONTRACT between the kernel programs and Go: what one record of the ring
 * holds. bpf2go writes the Go side of it from this file's BTF (gen/), package
 * events gives it meaning. A record is zeroed before it is filled: a field that
 * a kind does not mention below is 0.
 *
 * Layout: largest alignment first, padding written out, never packed.
 */
#ifndef TCPTRACE_EVENT_H
#define TCPTRACE_EVENT_H

/* What happened. */
enum event_kind {
	/* A socket changed its state (inet_sock_set_state). */
	KIND_STATE = 1,
	/* TCP of this host sent a segment; time_ns is when the device got it. */
	KIND_TRANSMIT = 2,
	/* A segment for an endpoint of this host arrived. */
	KIND_RECEIVE = 3,
	/* The kernel threw a segment away (kfree_skb); reason says why. */
	KIND_DROP = 4,
	/* A process used a socket that another one was thought to own. */
	KIND_OWNER = 5,
	/* A socket that was there before the tracer, or its counters at the end. */
	KIND_SNAPSHOT = 6,
	/* accept() has taken a connection from its listener's queue. */
	KIND_ACCEPT = 7,
	/* A connection's small socket is gone: TIME_WAIT is over, or an orphan's FIN_WAIT2.
	 * old_state says which. */
	KIND_TIME_WAIT_END = 8,
	/* Why TCP has just sent the RST of a socket. */
	KIND_RESET = 9,
	/* An ICMP error came for a segment that was sent. */
	KIND_ICMP = 10,
	/* connect() failed at once. Of a call that came to no SYN_SENT nothing else is told. */
	KIND_CONNECT_ERROR = 11,
	/* A SYN came to a listener with a full queue. */
	KIND_OVERFLOW = 12,
};

/* How the owner in a record is known. Later values are stronger. */
enum owner_source {
	OWNER_UNKNOWN = 0,
	/* The process that holds the listening socket the connection came in by. */
	OWNER_LISTEN = 1,
	/* The process that has the socket in its file table (iter/task_file). */
	OWNER_SNAPSHOT = 2,
	/* The process that called accept(). */
	OWNER_ACCEPT = 3,
	/* The process that called connect(). */
	OWNER_CONNECT = 4,
	/* The process that read from, wrote to or closed the socket. */
	OWNER_IO = 5,
};

/* By what call a process closed its side. */
enum close_call {
	CLOSE_UNKNOWN = 0,
	/* close() of the last file descriptor; exec may be what closed it. */
	CLOSE_CLOSE = 1,
	CLOSE_SHUTDOWN = 2,
	/* The process ended, and its file descriptors with it. */
	CLOSE_EXIT = 3,
	/* connect() to AF_UNSPEC, or shutdown() before the connection was there. */
	CLOSE_DISCONNECT = 4,
	/* SOCK_DESTROY (ss -K): whoever asked for it need not hold the socket. */
	CLOSE_DESTROY = 5,
};

/* Bits of event.notes. */
enum event_note {
	/* SOCK_DEAD: no process holds the socket any more. */
	NOTE_ORPHAN = 1 << 0,
	/* SOCK_DONE: the peer's FIN was received and taken (tcp_fin()). */
	NOTE_FIN_RECEIVED = 1 << 1,
	/* The socket lock was held by a process, so current is the one that acts. */
	NOTE_BY_PROCESS = 1 << 2,
	/* A SYN-ACK that no request sock stands behind: a SYN cookie. */
	NOTE_SYN_COOKIE = 1 << 3,
	/* The segment was dropped on its way out; without it, on its way in. */
	NOTE_OUTBOUND = 1 << 4,
	/* DROP: it was to be forwarded. */
	NOTE_FORWARDED = 1 << 6,
	/* The owner is one of several processes that hold the socket, or its listener. */
	NOTE_SHARED = 1 << 6,
	/* SNAPSHOT: the one at the end. */
	NOTE_LAST = 1 << 7,
	/* DROP: it was not told as sent before: devices are asked, and none had it yet. */
	NOTE_UNTOLD = 1 << 7,
	/* A SYN that came again before anything here had reacted to the first. It may be
	 * forwarded, and nobody's here: to be believed when TCP of this host reacts. */
	NOTE_UNCONFIRMED = 1 << 5,
};

/* Names one endpoint of this host, and is the key of the map flows. */
struct tuple {
	/* Network byte order; IPv4 as ::ffff:a.b.c.d whatever the socket's family. */
	__u8 local_addr[16];
	__u8 remote_addr[16];
	/* Host byte order. local_port is 0 from connect() until a port was chosen. */
	__u16 local_port;
	__u16 remote_port;
	/* Inode number of the network namespace (net->ns.inum). */
	__u32 netns;
};

/* TCP's longest header: 15 words (RFC 9293, section 3.1). */
#define TCP_HEADER_MAX 60

/* A segment, of TRANSMIT, RECEIVE and DROP. */
struct told_segment {
	__u32 payload_len; /* bytes after the TCP header */
	/* DROP: enum skb_drop_reason of the running kernel. TRANSMIT of an RST that answers a
	 * segment: its enum sk_rst_reason. 0 where it has none. */
	__u32 reason;
	__u8 tcp_header[TCP_HEADER_MAX]; /* as on the wire, data offset * 4 bytes are valid */
	/* TRANSMIT of a SYN-ACK: how many connections wait for accept(), and how many the kernel lets
	 * wait, one more than the backlog; 65535 is that or more. queue_max 0: not known. */
	__u16 queue_len;
	__u16 queue_max;
};

/* A socket's own counters (struct tcp_sock), of STATE and SNAPSHOT. */
struct counters {
	__u64 bytes_sent;	   /* payload, retransmissions too */
	__u64 bytes_retransmitted; /* payload; the part of bytes_sent that was sent again */
	__u64 bytes_received;	   /* payload, in order, once */
	__u32 segments_out;	   /* RFC 4898 SegsOut */
	__u32 segments_in;	   /* RFC 4898 SegsIn */
	__u32 retransmits;	   /* total_retrans */
	__u32 srtt_us;		   /* microseconds, already divided by 8; 0 unknown */
};

/* A change of state, of STATE. */
struct change {
	struct counters counters;
	/* With NOTE_BY_PROCESS: the process that read from or wrote to the socket last, as far
	 * as it was looked at; 0 none. */
	__u32 user_pid;
	/* Of the end, where new_state is CLOSE, up to flow_known. */
	__u32 unread;	      /* payload that was received and not read */
	/* From FIN_WAIT2: how long that may last in milliseconds, tcp_fin_time(); else SND.NXT. */
	__u32 fin_timeout_or_snd_nxt;
	__u16 dsacks;	      /* segments that the other end says it got twice (dsack_dups); 65535 is that or more */
	/* Segments sent again, by enum retransmit_kind. */
	__u16 retransmits_by[3];
	/* Data segments that this host dropped on their way in and out, and why the last was. */
	__u16 drops_in;
	__u16 drops_out;
	__u16 drop_reason_in;
	__u16 drop_reason_out;
	__u8 linger_0;	   /* SO_LINGER is set, its time is 0 */
	__u8 flow_known;   /* the fields that are counted for a flow, not by the socket, are filled in */
	__u8 close_call;   /* with NOTE_BY_PROCESS: enum close_call */
	__u8 close_signal; /* that ended the process, for CLOSE_EXIT; 0 it called exit() */
};

/* Why TCP sent a segment again. */
enum retransmit_kind {
	RETRANSMIT_TIMEOUT = 0, /* the retransmission timer, or what is lost after it (RFC 6298) */
	RETRANSMIT_FAST = 1,	/* fast recovery, duplicate ACKs or RACK (RFC 5681, RFC 8985) */
	RETRANSMIT_PROBE = 2,	/* tail loss probe (RFC 8985) */
};

/* What ICMP says of a segment that was sent, of ICMP. */
struct told_icmp {
	__u8 from[16]; /* who says it; network byte order, IPv4 as ::ffff:a.b.c.d */
	__u32 seq;     /* the segment's; host byte order */
	__u8 type;     /* of ICMP or ICMPv6, by event.family */
	__u8 code;
	__u16 pad;
};

/* A listener's queues, of OVERFLOW. */
struct queues {
	__u32 accept_len; /* connections that wait for accept() */
	__u32 backlog;	  /* what listen() asked for, at most net.core.somaxconn */
	__u32 syn_len;	  /* half-open connections */
	__u32 syn_max;	  /* net.ipv4.tcp_max_syn_backlog */
};

/* Bits of earlier.notes. */
enum earlier_note {
	/* The scales are those in use. */
	EARLIER_SCALED = 1 << 0,
	/* snd_nxt, snd_una, rcv_nxt and the counters were read while nothing changed them. */
	EARLIER_STEADY = 1 << 1,
};

/* A socket that was there before, of SNAPSHOT. */
struct earlier {
	struct counters counters;
	__u64 bytes_acked; /* RFC 4898 ThruOctetsAcked; a client's SYN counts too, and a FIN */
	__u64 time_wait_ns; /* in TIME_WAIT: when that began, CLOCK_BOOTTIME; 0 unknown */
	/* Sequence numbers. Of a request sock, the initial ones plus 1, snd_una 0. */
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 rcv_nxt;
	__u8 snd_wscale; /* shift count of the windows that the peer sends */
	__u8 rcv_wscale; /* and of those that this side sends */
	__u8 notes;	 /* enum earlier_note */
	__u8 pad;
};

struct event {
	/* CLOCK_BOOTTIME, nanoseconds. */
	__u64 time_ns;
	/* Address of the struct sock, 0 where no full socket is known. It names a
	 * socket only while that lives. */
	__u64 sock;
	struct tuple tuple;
	__u8 kind;	   /* enum event_kind */
	__u8 owner_source; /* enum owner_source */
	__u8 notes;	   /* enum event_note */
	__u8 family;	   /* 4 or 6: the IP version on the wire */
	__u8 old_state;	   /* STATE, TIME_WAIT_END: the kernel's TCP_* number */
	__u8 new_state;	   /* STATE, SNAPSHOT; a request sock is in TCP_NEW_SYN_RECV */
	__u16 error;	   /* STATE: sk_err, CONNECT_ERROR: what connect() returned; an errno, 0 none.
			    * RESET: enum sk_rst_reason of the running kernel */

	/* The process, where owner_source is not OWNER_UNKNOWN or NOTE_BY_PROCESS is set. */
	__u64 cgroup_id; /* of cgroup v2, of the task that acted */
	__u32 pid;	 /* thread group's, as the initial pid namespace counts */
	__u32 uid;	 /* real user, as the initial user namespace counts */
	__u32 tid;	 /* the thread that acted, as the initial pid namespace counts; 0 none did */
	__u32 process_start; /* when pid started, in units of 10 ms of CLOCK_BOOTTIME; 0 unknown */
	__u8 comm[16];	 /* the process's name: its group leader's comm. Hostile input. */

	/* By kind. What every connection costs is mostly the memory that its records fill. */
	union {
		struct told_segment segment;
		struct counters counters;
		struct change change;
		struct earlier earlier;
		struct told_icmp icmp;
		struct queues queues;
	} of;
};

/* Records that found the ring full, by the endpoint that they were of. */
struct loss {
	/* time_ns of the first lost record. */
	__u64 first_ns;
	/* Address of the struct sock, 0 unknown. */
	__u64 sock;
	__u64 records;
};

#endif
