// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Table of contents, continued: the hooks whose arguments come without types, so that what
 * they point to must be copied. They serve kernels that lack the better ones of tcptrace.bpf.c,
 * and call the same handlers on the same maps.
 */
#define COPYING
#include "handlers.h"
#include "earlier.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("kprobe/__ip_local_out")
int BPF_KPROBE(kprobe_ip_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return tracing ? transmit_with_header(net, skb) : 0;
}

SEC("kprobe/ip6_xmit")
int BPF_KPROBE(kprobe_ip6_xmit, struct sock *sk, struct sk_buff *skb, struct flowi6 *fl6)
{
	return tracing ? transmit_ipv6(sk, skb, fl6) : 0;
}

SEC("kprobe/__ip6_local_out")
int BPF_KPROBE(kprobe_ip6_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return tracing ? transmit_with_header(net, skb) : 0;
}

SEC("kprobe/tcp_v4_rcv")
int BPF_KPROBE(kprobe_tcp_v4_rcv, struct sk_buff *skb)
{
	return tracing ? receive_by_tcp(skb) : 0;
}

SEC("kprobe/tcp_v6_rcv")
int BPF_KPROBE(kprobe_tcp_v6_rcv, struct sk_buff *skb)
{
	return tracing ? receive_by_tcp(skb) : 0;
}

SEC("kretprobe/inet_csk_accept")
int BPF_KRETPROBE(kretprobe_inet_csk_accept, struct sock *sk)
{
	return tracing ? accepted(sk) : 0;
}

SEC("kprobe/inet_twsk_kill")
int BPF_KPROBE(kprobe_inet_twsk_kill, struct inet_timewait_sock *tw)
{
	return tracing ? time_wait_ends(tw) : 0;
}

SEC("kprobe/tcp_v4_err")
int BPF_KPROBE(kprobe_tcp_v4_err, struct sk_buff *skb)
{
	return tracing ? icmp_error_for_tcp(skb, 4) : 0;
}

SEC("kprobe/tcp_v6_err")
int BPF_KPROBE(kprobe_tcp_v6_err, struct sk_buff *skb)
{
	return tracing ? icmp_error_for_tcp(skb, 6) : 0;
}

SEC("kprobe/tcp_v4_connect")
int BPF_KPROBE(kprobe_tcp_v4_connect, struct sock *sk, void *address)
{
	return tracing ? connect_begins(sk, address) : 0;
}

SEC("kprobe/tcp_v6_connect")
int BPF_KPROBE(kprobe_tcp_v6_connect, struct sock *sk, void *address)
{
	return tracing ? connect_begins(sk, address) : 0;
}

SEC("kretprobe/tcp_v4_connect")
int BPF_KRETPROBE(kretprobe_tcp_v4_connect, int result)
{
	return tracing ? connect_ends(result, 4) : 0;
}

SEC("kretprobe/tcp_v6_connect")
int BPF_KRETPROBE(kretprobe_tcp_v6_connect, int result)
{
	return tracing ? connect_ends(result, 6) : 0;
}

SEC("kprobe/tcp_conn_request")
int BPF_KPROBE(kprobe_tcp_conn_request, void *ops, void *family_ops, struct sock *listener,
	       struct sk_buff *skb)
{
	return tracing ? requested(listener, skb) : 0;
}

/* The tracepoints, for kernels without BTF of their own. */
SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(raw_inet_sock_set_state, struct sock *sk, int old_state, int new_state)
{
	return tracing ? state(sk, old_state, new_state) : 0;
}

SEC("raw_tp/net_dev_queue")
int BPF_PROG(raw_net_dev_queue, struct sk_buff *skb)
{
	return tracing ? transmit_at_device(skb) : 0;
}

SEC("raw_tp/netif_receive_skb")
int BPF_PROG(raw_netif_receive_skb, struct sk_buff *skb)
{
	return tracing ? receive_from_device(skb) : 0;
}

SEC("raw_tp/tcp_rcv_space_adjust")
int BPF_PROG(raw_tcp_rcv_space_adjust, struct sock *sk)
{
	return tracing ? read_by_current(sk) : 0;
}

/* Every file of every process, where the kernel has no bpf_sock_from_file (before 5.11). */
SEC("iter/task_file")
int copying_task_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	step(ctx->meta->seq);
	return task && file ? snapshot(task, file, ctx->fd) : 0;
}

/* Every TCP socket of a network namespace: those that were there before and no process holds. */
SEC("iter/tcp")
int copying_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;

	step(ctx->meta->seq);
	return skc ? earlier(skc) : 0;
}

SEC("raw_tp/sched_process_fork")
int BPF_PROG(raw_sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	return process_forked(parent, child);
}

SEC("raw_tp/sched_process_free")
int BPF_PROG(raw_sched_process_free, struct task_struct *task)
{
	return task_freed(task);
}
