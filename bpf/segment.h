/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Finding the TCP header in an skb. */
#ifndef TCPTRACE_SEGMENT_H
#define TCPTRACE_SEGMENT_H

#include "kernel.h" /* first: it has the types */
#include "compat.h"
#include "event.h"
#include "maps.h"
#include "sock.h"

/* linux/ip.h, linux/ipv6.h, linux/tcp.h: the fixed parts, as bytes on the wire. */
#define IPV4_MIN 20
#define IPV6_LEN 40
#define TCP_MIN 20
#define IPV6_EXTENSIONS_MAX 4

/* The longest fixed IP header and TCP's, which one copy fetches. */
#define HEADERS_LEN (IPV6_LEN + TCP_MIN)

/* A segment, its headers read. */
struct segment {
	struct tuple tuple; /* netns is the caller's to fill */
	const void *header; /* kernel address of the TCP header */
	__u32 seq;	    /* host byte order */
	__u32 ack;
	__u32 payload_len;
	__u8 header_len;
	__u8 flags;
	__u8 family;
	bool outbound;
};

static __always_inline bool is_ip(const struct sk_buff *skb)
{
	__be16 protocol = READ(skb, protocol);

	return protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6);
}

/* b is aligned to 4, i to what is read. */
static __always_inline __u16 be16_at(const __u8 *b, int i) { return bpf_ntohs(*(const __be16 *)(b + i)); }
static __always_inline __u32 be32_at(const __u8 *b, int i) { return bpf_ntohl(*(const __be32 *)(b + i)); }

/*
 * IPv6 extension headers before TCP. Returns the offset of the TCP header from
 * the IP header, 0 where there is none (or it is in another fragment).
 */
static __always_inline __u32 skip_extensions(const unsigned char *ip, __u8 next)
{
	__u32 at = IPV6_LEN;

	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		__u8 ext[8] __attribute__((aligned(4)));

		if (next == IPPROTO_TCP)
			return at;
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			return 0;
		if (bpf_probe_read_kernel(ext, sizeof(ext), ip + at))
			return 0;
		if (next == IPPROTO_FRAGMENT && be16_at(ext, 2) & 0xfff8)
			return 0;
		at += next == IPPROTO_FRAGMENT ? 8 : (ext[1] + 1) * 8;
		next = ext[0];
	}
	return next == IPPROTO_TCP ? at : 0;
}

/*
 * Takes what is needed from the TCP header, whose first bytes are at tcp and which is at
 * s->header in the kernel. The segment, header and payload, has len bytes; of these linear are in the
 * skb's linear part. False where the header is not.
 */
static __always_inline bool parse_tcp(struct segment *s, const __u8 *tcp, __u32 len, __u32 linear)
{
	__u16 source_port = be16_at(tcp, 0), dest_port = be16_at(tcp, 2);

	s->tuple.local_port = s->outbound ? source_port : dest_port;
	s->tuple.remote_port = s->outbound ? dest_port : source_port;
	s->seq = be32_at(tcp, 4);
	s->ack = be32_at(tcp, 8);
	s->header_len = (tcp[12] >> 4) * 4;
	s->flags = tcp[13];
	if (s->header_len < TCP_MIN || s->header_len > linear || linear > len) {
		__sync_fetch_and_add(&unreadable_segments, 1);
		return false;
	}
	s->payload_len = len - s->header_len;
	return true;
}

/*
 * Reads the headers of the packet that begins ip_offset bytes after skb->head. False where
 * that is not TCP, or the header cannot be read. On the way in nothing was checked yet,
 * not even lengths; has_length: the IP header's own is filled in.
 */
static __always_inline bool parse(struct sk_buff *skb, __u32 ip_offset, bool outbound,
				  bool has_length, struct segment *s)
{
	unsigned char *ip = READ(skb, head) + ip_offset;
	__u8 copy[HEADERS_LEN] __attribute__((aligned(8)));
	const __u8 *b = HEADER_AT(ip, struct iphdr, copy, HEADERS_LEN), *tcp;
	__u8 *source = outbound ? s->tuple.local_addr : s->tuple.remote_addr;
	__u8 *dest = outbound ? s->tuple.remote_addr : s->tuple.local_addr;
	__u32 tcp_offset, usual_offset, ip_len;

	if (!b)
		return false;
	if (b[0] >> 4 == 4) {
		if (b[9] != IPPROTO_TCP || be16_at(b, 6) & 0x1fff)
			return false;
		usual_offset = IPV4_MIN;
		tcp_offset = (b[0] & 0xf) * 4;
		ip_len = be16_at(b, 2);
		map_ipv4(source, *(const __be32 *)(b + 12));
		map_ipv4(dest, *(const __be32 *)(b + 16));
		s->family = 4;
	} else if (b[0] >> 4 == 6) {
		if (can_cast())
			b = (const __u8 *)CAST(ip, struct ipv6hdr);
		usual_offset = IPV6_LEN;
		tcp_offset = b[6] == IPPROTO_TCP ? IPV6_LEN : skip_extensions(ip, b[6]);
		if (!tcp_offset)
			return false;
		ip_len = be16_at(b, 4);
		if (ip_len)
			ip_len += IPV6_LEN;
		__builtin_memcpy(source, __builtin_assume_aligned(b + 8, 4), 16);
		__builtin_memcpy(dest, __builtin_assume_aligned(b + 24, 4), 16);
		s->family = 6;
	} else {
		return false;
	}
	s->outbound = outbound;
	s->header = ip + tcp_offset;
	/* With IPv4 options or IPv6 extension headers it is not in the copy. */
	tcp = !can_cast() && tcp_offset == usual_offset ? copy + usual_offset
							: HEADER_AT(s->header, struct tcphdr, copy, TCP_MIN);
	if (!tcp)
		return false;

	__u32 packet = READ(skb, len) - (ip - READ(skb, data)); /* from the IP header on */
	__u32 linear = packet - READ(skb, data_len);
	/* Behind a short IP packet there may be Ethernet padding; a BIG TCP packet has no length. */
	if (has_length && ip_len && ip_len < packet)
		packet = ip_len;
	if (packet < tcp_offset || linear < tcp_offset) {
		__sync_fetch_and_add(&unreadable_segments, 1);
		return false;
	}
	packet -= tcp_offset;
	linear -= tcp_offset;
	return parse_tcp(s, tcp, packet, linear < packet ? linear : packet);
}

/* Copies the header and not a byte of the payload. */
static __always_inline void copy_header(__u8 *to, const struct segment *s)
{
	__u32 len = s->header_len;

	barrier_var(len); /* so that the verifier sees the bound on what is passed */
	if (len > TCP_HEADER_MAX)
		len = TCP_HEADER_MAX;
	bpf_probe_read_kernel(to, len, s->header);
}

#endif
