/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What made TCP send a segment again. */
#ifndef TCPTRACE_RETRANSMIT_H
#define TCPTRACE_RETRANSMIT_H

#include "flow.h"
#include "sock.h"

/* tcp_retransmit_skb, of SYN, data and FIN. Counted, not told: there may be many. */
static __always_inline int retransmitted(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	__u8 congestion = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
	struct tuple t;
	__u8 family;

	sock_tuple(sk, &t, &family);
	struct flow *f = bpf_map_lookup_elem(&flows, &t);
	if (!f)
		return 0;
	if (congestion == TCP_CA_RECOVERY)
		f->retransmits_by[RETRANSMIT_FAST]++;
	else if (congestion != TCP_CA_LOSS &&
		 BPF_CORE_READ(icsk, icsk_pending) == ICSK_TIME_LOSS_PROBE)
		f->retransmits_by[RETRANSMIT_PROBE]++;
	else
		f->retransmits_by[RETRANSMIT_TIMEOUT]++;
	return 0;
}

#endif
