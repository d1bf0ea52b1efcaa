// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Table of contents: the hooks whose arguments the kernel's BTF describes, and the handler that
 * each calls. copying.bpf.c has the others. What is attached, in which order of preference, is
 * tracer/hooks.go's to say.
 */
#include "handlers.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Every state change of every TCP socket. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_inet_sock_set_state, struct sock *sk, int old_state, int new_state)
{
	return tracing ? state(sk, old_state, new_state) : 0;
}

/* TCP, or another protocol, sends over IPv4: before netfilter's output hooks. */
SEC("fentry/__ip_local_out")
int BPF_PROG(on_ip_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return tracing ? transmit_with_header(net, skb) : 0;
}

/* The same over IPv6. It has 7 arguments, which a trampoline takes since 6.6 (473e3150e30a). */
SEC("fentry/ip6_xmit")
int BPF_PROG(on_ip6_xmit, struct sock *sk, struct sk_buff *skb, struct flowi6 *fl6)
{
	return tracing ? transmit_ipv6(sk, skb, fl6) : 0;
}

/* And what is sent over IPv6 with its header made: by netfilter, in TCP's name. */
SEC("fentry/__ip6_local_out")
int BPF_PROG(on_ip6_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return tracing ? transmit_with_header(net, skb) : 0;
}

/* A device is given a segment: after netfilter's output hooks, before the queue discipline. */
SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_net_dev_queue, struct sk_buff *skb)
{
	return tracing ? transmit_at_device(skb) : 0;
}

/* TCP takes a segment: after netfilter, once, and never a forwarded one. */
SEC("fentry/tcp_v4_rcv")
int BPF_PROG(on_tcp_v4_rcv, struct sk_buff *skb)
{
	return tracing ? receive_by_tcp(skb) : 0;
}

SEC("fentry/tcp_v6_rcv")
int BPF_PROG(on_tcp_v6_rcv, struct sk_buff *skb)
{
	return tracing ? receive_by_tcp(skb) : 0;
}

/* A device hands up a segment: before netfilter. */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(on_netif_receive_skb, struct sk_buff *skb)
{
	return tracing ? receive_from_device(skb) : 0;
}

/*
 * An skb dies unserved. Since 5.17 (c504e5c2f964) the kernel says why; before, what TCP
 * itself frees cannot be told from a drop, and none is told.
 */
SEC("tp_btf/kfree_skb")
int BPF_PROG(on_kfree_skb, struct sk_buff *skb, void *location, __u32 reason)
{
	return tracing ? drop(skb, reason) : 0;
}

/* An RST leaves. Since 6.10 (5691276b39da) the kernel says why; before, the third argument is refused. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_tcp_send_reset, struct sock *sk, struct sk_buff *skb, __u32 reason)
{
	return tracing ? reset(sk, skb, reason) : 0;
}

/* A segment was sent again. Since 6.18 it is said whether it really left. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_tcp_retransmit_skb_3, struct sock *sk, struct sk_buff *skb, int err)
{
	return tracing && !err ? retransmitted(sk) : 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_tcp_retransmit_skb_2, struct sock *sk, struct sk_buff *skb)
{
	return tracing ? retransmitted(sk) : 0;
}

/* TCP is given an ICMP error. Where segments are seen at devices, so are these. */
SEC("fentry/tcp_v4_err")
int BPF_PROG(on_tcp_v4_err, struct sk_buff *skb)
{
	return tracing ? icmp_error_for_tcp(skb, 4) : 0;
}

SEC("fentry/tcp_v6_err")
int BPF_PROG(on_tcp_v6_err, struct sk_buff *skb)
{
	return tracing ? icmp_error_for_tcp(skb, 6) : 0;
}

/* connect() has sent a SYN, or has failed. */
SEC("fexit/tcp_v4_connect")
int BPF_PROG(on_tcp_v4_connect, struct sock *sk, void *address, int len, int result)
{
	return tracing ? connect_returned(sk, address, result, 4) : 0;
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(on_tcp_v6_connect, struct sock *sk, void *address, int len, int result)
{
	return tracing ? connect_returned(sk, address, result, 6) : 0;
}

/* A listener is given a SYN. */
SEC("fentry/tcp_conn_request")
int BPF_PROG(on_tcp_conn_request, void *ops, void *family_ops, struct sock *listener,
	     struct sk_buff *skb)
{
	return tracing ? requested(listener, skb) : 0;
}

/* A process has read data. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(on_tcp_rcv_space_adjust, struct sock *sk)
{
	return tracing ? read_by_current(sk) : 0;
}

/* accept() has a connection, or an error. Until 6.9 the function had 4 arguments (92ef0fd55ac8). */
SEC("fexit/inet_csk_accept")
int BPF_PROG(on_inet_csk_accept_4, struct sock *listener, int flags, int *err, bool kern,
	     struct sock *sk)
{
	return tracing ? accepted(sk) : 0;
}

SEC("fexit/inet_csk_accept")
int BPF_PROG(on_inet_csk_accept_2, struct sock *listener, void *arg, struct sock *sk)
{
	return tracing ? accepted(sk) : 0;
}

/* TIME_WAIT's small socket is taken down. */
SEC("fentry/inet_twsk_kill")
int BPF_PROG(on_inet_twsk_kill, struct inet_timewait_sock *tw)
{
	return tracing ? time_wait_ends(tw) : 0;
}

/* A process starts another, and one is gone: for the filter that follows forks. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	return process_forked(parent, child);
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(on_sched_process_free, struct task_struct *task)
{
	return task_freed(task);
}

/* Every task: which number a pid namespace has for a process. */
SEC("iter/task")
int on_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	return task ? list_process(ctx->meta->seq, task) : 0;
}

/* Every file of every process: the sockets that were there before. */
SEC("iter/task_file")
int on_task_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	step(ctx->meta->seq);
	return task && file ? snapshot(task, file, ctx->fd) : 0;
}
