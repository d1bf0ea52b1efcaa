// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Table of contents: every hook, and the handler it calls. What is attached, in
 * which order of preference, is tracer/hooks.go's to say.
 */
#include "flow.h"
#include "owner.h"
#include "receive.h"
#include "snapshot.h"
#include "state.h"
#include "transmit.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Enumerations that records hold as bytes: named here so that BTF, and so Go, has them. */
const enum event_kind *btf_event_kind __attribute__((unused));
const enum owner_source *btf_owner_source __attribute__((unused));
const enum event_note *btf_event_note __attribute__((unused));

/* Every state change of every TCP socket. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_inet_sock_set_state, struct sock *sk, int old_state, int new_state)
{
	return tracing ? state(sk, old_state, new_state) : 0;
}

/* A device is given a segment: after netfilter's output hooks, before the queue discipline. */
SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_net_dev_queue, struct sk_buff *skb)
{
	return tracing ? transmit(skb, READ(skb, network_header)) : 0;
}

/* A device hands up a segment: before netfilter. The IP header is where data points. */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(on_netif_receive_skb, struct sk_buff *skb)
{
	return tracing ? receive(skb, READ(skb, data) - READ(skb, head)) : 0;
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

/* A process has read data. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(on_tcp_rcv_space_adjust, struct sock *sk)
{
	return tracing ? read_by_current(sk) : 0;
}

/* Every file of every process: the sockets that were there before. */
SEC("iter/task_file")
int on_task_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	return task && file ? snapshot(task, file) : 0;
}
