/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* ICMP errors that quote a TCP segment which this host has sent. */
#ifndef TCPTRACE_ICMP_H
#define TCPTRACE_ICMP_H

#include "flow.h"
#include "segment.h"

#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58
#define ICMP_LEN 8 /* of the header, before the quotation */

/* Types of ICMP (RFC 792) that are errors; of ICMPv6 (RFC 4443) those below 128 are. */
static __always_inline bool is_icmp_error(__u8 family, __u8 type)
{
	return family == 6 ? type < 128 : type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/*
 * An ICMP message, its IP header at ip. It is told if it quotes a segment of a flow that is
 * told: the first 8 bytes of TCP, ports and sequence number, are always in it.
 */
static __always_inline int icmp_error(const void *ip, const void *icmp, __u8 family, __u32 netns)
{
	__u8 outer[IPV6_LEN], head[ICMP_LEN], quoted[IPV6_LEN], tcp[8];
	struct tuple t = {.netns = netns};

	if (bpf_probe_read_kernel(head, sizeof(head), icmp) || !is_icmp_error(family, head[0]) ||
	    bpf_probe_read_kernel(outer, sizeof(outer), ip) ||
	    bpf_probe_read_kernel(quoted, sizeof(quoted), icmp + ICMP_LEN))
		return 0;
	__u32 at = family == 4 ? (quoted[0] & 0xf) * 4 : IPV6_LEN;
	if (quoted[family == 4 ? 9 : 6] != IPPROTO_TCP || (family == 4 && be16_at(quoted, 6) & 0x1fff) ||
	    bpf_probe_read_kernel(tcp, sizeof(tcp), icmp + ICMP_LEN + at))
		return 0;
	if (family == 4) {
		map_ipv4(t.local_addr, *(__be32 *)(quoted + 12));
		map_ipv4(t.remote_addr, *(__be32 *)(quoted + 16));
	} else {
		__builtin_memcpy(t.local_addr, quoted + 8, 16);
		__builtin_memcpy(t.remote_addr, quoted + 24, 16);
	}
	t.local_port = be16_at(tcp, 0);
	t.remote_port = be16_at(tcp, 2);
	if (filter(&t, family) != WANTED)
		return 0;
	/* Of what is merely forwarded there is none, or it never was confirmed. */
	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (!f || !(f->bits & FLOW_LOCAL) || !(f->bits & FLOW_WANTED))
		return 0;

	struct event *e = begin(KIND_ICMP, &t, family, 0, bpf_ktime_get_boot_ns());
	if (!e)
		return 0;
	if (family == 4)
		map_ipv4(e->of.icmp.from, *(__be32 *)(outer + 12));
	else
		__builtin_memcpy(e->of.icmp.from, outer + 8, 16);
	e->of.icmp.seq = be32_at(tcp, 4);
	e->of.icmp.type = head[0];
	e->of.icmp.code = head[1];
	submit(e);
	return 0;
}

/* tcp_v4_err(), tcp_v6_err(): TCP of this host is given one. */
static __always_inline int icmp_error_for_tcp(struct sk_buff *skb, __u8 family)
{
	unsigned char *head = READ(skb, head);

	return icmp_error(head + READ(skb, network_header), head + READ(skb, transport_header),
			  family, READ(skb, dev, nd_net.net, ns.inum));
}

/* A device hands up a packet that is not TCP. */
static __always_inline int icmp_error_from_device(struct sk_buff *skb)
{
	unsigned char *ip = READ(skb, data);
	__u8 copy[IPV4_MIN];
	const __u8 *b = HEADER_AT(ip, struct iphdr, copy, sizeof(copy));

	if (!b)
		return 0;
	if (b[0] >> 4 == 4 && b[9] == IPPROTO_ICMP)
		return icmp_error(ip, ip + (b[0] & 0xf) * 4, 4, READ(skb, dev, nd_net.net, ns.inum));
	if (b[0] >> 4 == 6 && b[6] == IPPROTO_ICMPV6)
		return icmp_error(ip, ip + IPV6_LEN, 6, READ(skb, dev, nd_net.net, ns.inum));
	return 0;
}

#endif
