/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's structs, as far as they are read here, and the means to read
 * them. Offsets are CO-RE relocations: the loader fills in those of the running
 * kernel from its BTF, so a field may be anywhere but must exist by this name.
 */
#ifndef TCPTRACE_KERNEL_H
#define TCPTRACE_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#define __VMLINUX_H__ /* bpf_tracing.h: registers by the kernel's own names, below */
#include <bpf/bpf_tracing.h>

/* From headers that a BPF program cannot include. */
#define IPPROTO_TCP 6
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS 60
#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define PF_KTHREAD 0x00200000 /* linux/sched.h */
#define PF_EXITING 0x00000004

/* include/net/tcp_states.h */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

/* RFC 9293, section 3.1: the 14th byte of the header. */
enum tcp_flag {
	TCP_FIN = 1 << 0,
	TCP_SYN = 1 << 1,
	TCP_RST = 1 << 2,
	TCP_PSH = 1 << 3,
	TCP_ACK = 1 << 4,
};

/* enum sock_flags, include/net/sock.h: bit numbers in skc_flags */
#define SOCK_DEAD 0
#define SOCK_DONE 1
#define SOCK_LINGER 4

#define KERNEL_STRUCT __attribute__((preserve_access_index))

/* Where a kprobe finds arguments and what the function returns. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long ax;
} KERNEL_STRUCT;
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
} KERNEL_STRUCT;
struct pt_regs;
#endif

struct ns_common {
	unsigned int inum;
} KERNEL_STRUCT;

struct netns_ipv4 {
	int sysctl_max_syn_backlog;
	int sysctl_tcp_fin_timeout; /* jiffies */
} KERNEL_STRUCT;

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
} KERNEL_STRUCT;

typedef struct {
	struct net *net;
} KERNEL_STRUCT possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
} KERNEL_STRUCT;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
	unsigned int skc_hash; /* of addresses and ports, with a secret of the boot */
	struct sock *skc_listener; /* of a request sock */
	__u32 skc_tw_rcv_nxt;	   /* of a TIME_WAIT sock, as is the next */
	__u32 skc_tw_snd_nxt;
} KERNEL_STRUCT;

typedef struct {
	int owned; /* a process holds the lock; softirq then queues to the backlog */
} KERNEL_STRUCT socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	int sk_err;
	__u16 sk_protocol;
	__u32 sk_ack_backlog;	  /* of a listener: how many wait for accept() */
	__u32 sk_max_ack_backlog; /* and how many may */
	unsigned long sk_lingertime;
	struct socket *sk_socket; /* NULL before accept() and after close() */
} KERNEL_STRUCT;

struct inet_sock {
	struct sock sk;
	__be32 inet_saddr;
	__be16 inet_sport;
} KERNEL_STRUCT;

typedef struct {
	int counter;
} KERNEL_STRUCT atomic_t;

/* A connection that is not accepted yet, include/net/request_sock.h */
struct request_sock {
	struct request_sock *dl_next;
	struct sock *sk; /* once the handshake is complete */
} KERNEL_STRUCT;

struct request_sock_queue {
	struct request_sock *rskq_accept_head;
	atomic_t qlen; /* half-open connections */
} KERNEL_STRUCT;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue; /* of a listener */
	__u32 icsk_rto; /* jiffies */
	__u8 icsk_ca_state : 5;
	__u8 icsk_pending; /* the timer that runs: ICSK_TIME_* */
} KERNEL_STRUCT;

struct inet_request_sock {
	__u16 snd_wscale : 4, rcv_wscale : 4, wscale_ok : 1;
} KERNEL_STRUCT;

struct tcp_request_sock {
	struct inet_request_sock req;
	__u32 rcv_isn;
	__u32 snt_isn;
} KERNEL_STRUCT;

struct tcp_options_received {
	__u16 wscale_ok : 1, snd_wscale : 4, rcv_wscale : 4;
} KERNEL_STRUCT;

/* enum tcp_ca_state, include/uapi/linux/tcp.h: after fast retransmit; after a timeout */
#define TCP_CA_RECOVERY 3
#define TCP_CA_LOSS 4
#define ICSK_TIME_LOSS_PROBE 5 /* include/net/inet_connection_sock.h */

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	struct tcp_options_received rx_opt;
	__u64 bytes_acked;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 rcv_nxt;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 segs_in;
	__u32 segs_out;
	__u32 total_retrans;
	__u32 srtt_us; /* 8 times the smoothed round trip time */
	__u32 copied_seq; /* the next that the application has yet to read */
	__u32 dsack_dups;
	int linger2; /* TCP_LINGER2, jiffies; 0 not set */
} KERNEL_STRUCT;

struct timer_list {
	unsigned long expires; /* jiffies */
} KERNEL_STRUCT;

/* Headers on the wire: types that an address may be given (CAST), read as bytes. */
struct iphdr {
	__u8 bytes[20];
};
struct ipv6hdr {
	__u8 bytes[40];
};
struct tcphdr {
	__u8 bytes[20];
};

/* What is left of a socket in TIME_WAIT, include/net/inet_timewait_sock.h */
struct inet_timewait_sock {
	struct sock_common __tw_common; /* skc_num is the local port, host byte order */
	volatile unsigned char tw_substate; /* TCP_TIME_WAIT, or TCP_FIN_WAIT2 of an orphan */
	struct timer_list tw_timer;
} KERNEL_STRUCT;

/* include/net/flow.h */
struct flowi6 {
	struct in6_addr daddr;
	struct in6_addr saddr;
} KERNEL_STRUCT;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} KERNEL_STRUCT;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	__s64 tstamp; /* ktime_t */
	unsigned long _skb_refdst;
	unsigned int len;
	unsigned int data_len;
	int skb_iif;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned char *head;
	unsigned char *data;
} KERNEL_STRUCT;

struct dst_entry {
	struct net_device *dev;
	unsigned short flags;
} KERNEL_STRUCT;

/* include/net/route.h; rt_type is RTN_LOCAL for what ends here */
struct rtable {
	struct dst_entry dst;
	__u16 rt_type;
} KERNEL_STRUCT;

/* include/net/ip6_fib.h; rt6i_flags has RTF_LOCAL for what ends here */
struct rt6_info {
	struct dst_entry dst;
	__u32 rt6i_flags;
} KERNEL_STRUCT;

#define RTN_UNICAST 1
#define RTN_LOCAL 2
#define RTF_LOCAL 0x80000000
/* include/net/dst.h: no route: what a bridge lends to netfilter, and what a tunnel says of where a packet came from */
#define DST_FAKE_RTABLE 0x0010
#define DST_METADATA 0x0080
#define SKB_DST_PTRMASK (~1UL) /* include/linux/skbuff.h */

typedef struct {
	__s64 counter;
} KERNEL_STRUCT atomic_long_t;

struct file {
	const struct file_operations *f_op;
	void *private_data;
	atomic_long_t f_count;
} KERNEL_STRUCT;

struct socket {
	struct file *file;
	struct sock *sk;
} KERNEL_STRUCT;

typedef struct {
	unsigned int val;
} KERNEL_STRUCT kuid_t;

struct cred {
	kuid_t uid;
} KERNEL_STRUCT;

struct kernfs_node {
	__u64 id;
} KERNEL_STRUCT;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} KERNEL_STRUCT;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
} KERNEL_STRUCT;

struct css_set {
	struct cgroup *dfl_cgrp;
} KERNEL_STRUCT;

struct pid_namespace {
	struct ns_common ns;
} KERNEL_STRUCT;

struct upid {
	int nr;
	struct pid_namespace *ns;
} KERNEL_STRUCT;

struct pid {
	unsigned int level;
	struct upid numbers[1]; /* level + 1 of them */
} KERNEL_STRUCT;

struct task_struct {
	unsigned int flags;
	int exit_code; /* as wait(2) has it */
	int pid;
	int tgid;
	__u64 start_boottime;
	struct pid *thread_pid;
	struct task_struct *group_leader;
	char comm[16];
	const struct cred *cred;
	struct css_set *cgroups;
} KERNEL_STRUCT;


struct file_operations;
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} KERNEL_STRUCT;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} KERNEL_STRUCT;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
} KERNEL_STRUCT;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	unsigned int uid;
} KERNEL_STRUCT;

/*
 * READ(p, a, b.c) is p->a->b.c. A program with BTF arguments (tp_btf, fentry,
 * iter) loads it directly, which costs nothing and cannot fault: a bad pointer
 * reads as 0. The others (kprobe, raw_tp) must have it copied.
 */
#ifdef COPYING
/* From a variable: how src itself comes about is not the kernel's layout. */
#define READ(src, ...)                                                                             \
	({                                                                                         \
		typeof(src) src__ = (src);                                                         \
		BPF_CORE_READ(src__, __VA_ARGS__);                                                 \
	})
#else
#define READ(src, ...) ___arrow(src, __VA_ARGS__)
#endif

/* For the socket that a hook passes: loads without copying. NULL where it is no TCP socket. */
static __always_inline struct tcp_sock *trusted_tcp_sock(struct sock *sk)
{
#ifdef COPYING
	return (struct tcp_sock *)sk;
#else
	return bpf_skc_to_tcp_sock(sk);
#endif
}

#endif
