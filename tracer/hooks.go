package tracer

import "tcptrace/gen"

// Kind is a way of attaching a program to the kernel.
type Kind string

// The kinds there are. Fexit and kretprobe are fentry and kprobe at a function's return.
const (
	Fentry     Kind = "fentry"
	Fexit      Kind = "fexit"
	Kprobe     Kind = "kprobe"
	Kretprobe  Kind = "kretprobe"
	Tracepoint Kind = "tracepoint" // with BTF arguments (tp_btf)
	// RawTracepoint is the same without, for kernels that have no BTF of their own.
	RawTracepoint Kind = "raw tracepoint"
	Iterator      Kind = "iterator"
)

// Mode is the kind that --attach asks for to get this one.
func (k Kind) Mode() Kind {
	switch k {
	case Fexit:
		return Fentry
	case Kretprobe:
		return Kprobe
	case RawTracepoint:
		return Tracepoint
	}
	return k
}

// hook is a fact about connections and the ways to learn it.
type hook struct {
	// fact in a user's words.
	fact string
	// absence is what the timelines lack where nothing tells the fact.
	absence string
	// required: without it there is no tracing.
	required bool
	// segments: by functions or by tracepoints, but the same for all that bear this mark where
	// that is possible. The two see a segment at different places.
	segments bool
	// ways are the alternatives, best first. Each is tried: what a kernel offers is
	// not guessed from its version.
	ways []way
}

// way is the set of programs that tell a fact together. Those of the same place are alternatives,
// best first; at every place one must attach, or the way is not taken.
type way []program

// program is one of gen's and where it belongs.
type program struct {
	kind   Kind
	symbol string // the kernel's function or tracepoint
	name   string // in gen
}

// place is where a program is run: where a function begins, or where it returns; a tracepoint; an iterator.
type place struct {
	symbol  string
	returns bool
}

func (p program) place() place { return place{p.symbol, p.kind == Fexit || p.kind == Kretprobe} }

// ipv6Symbols are of IPv6 alone: a kernel without IPv6 lacks them, and misses nothing.
var ipv6Symbols = map[string]bool{"ip6_xmit": true, "__ip6_local_out": true, "tcp_v6_rcv": true, "tcp_v6_err": true,
	"tcp_v6_connect": true}

// hooks are all there are, in the order in which they attach: what ends a
// story before what begins it, so that none is begun that cannot be ended.
var hooks = []hook{
	{
		fact:    "dropped segments",
		absence: "a segment that this host drops (firewall, full queue) is not told as a drop",
		ways:    []way{{{Tracepoint, "kfree_skb", gen.BPFProgOnKfreeSkb}}},
	},
	{
		fact:    "reasons of resets",
		absence: "teardown.reset.reason is inferred, or null: the kernel has none (before 6.10)",
		ways:    []way{{{Tracepoint, "tcp_send_reset", gen.BPFProgOnTcpSendReset}}},
	},
	{
		fact:    "kinds of retransmissions",
		absence: "traffic.retransmits_by is null",
		ways: []way{{
			// The one with 3 arguments first: where there are 2, the verifier refuses it.
			{Tracepoint, "tcp_retransmit_skb", gen.BPFProgOnTcpRetransmitSkb3},
			{Tracepoint, "tcp_retransmit_skb", gen.BPFProgOnTcpRetransmitSkb2},
		}},
	},
	{
		fact:    "full listen queues",
		absence: "a SYN that a listener drops because its queue is full is like one that nobody answers",
		ways: []way{{
			{Fentry, "tcp_conn_request", gen.BPFProgOnTcpConnRequest},
			{Kprobe, "tcp_conn_request", gen.CopyingProgKprobeTcpConnRequest},
		}},
	},
	{
		fact:    "errors of connect()",
		absence: "connect() that fails before it is in SYN_SENT (no route) is not told; without a local port handshake.errno is null",
		ways: []way{
			{
				{Fexit, "tcp_v4_connect", gen.BPFProgOnTcpV4Connect},
				{Fexit, "tcp_v6_connect", gen.BPFProgOnTcpV6Connect},
			},
			{
				{Kprobe, "tcp_v4_connect", gen.CopyingProgKprobeTcpV4Connect},
				{Kprobe, "tcp_v6_connect", gen.CopyingProgKprobeTcpV6Connect},
				{Kretprobe, "tcp_v4_connect", gen.CopyingProgKretprobeTcpV4Connect},
				{Kretprobe, "tcp_v6_connect", gen.CopyingProgKretprobeTcpV6Connect},
			},
		},
	},
	{
		fact:    "TIME_WAIT's end",
		absence: "TIME_WAIT is taken to last 60 s, and an orphan's FIN_WAIT2 as long as its timer, unless a segment ends them",
		ways: []way{{
			{Fentry, "inet_twsk_kill", gen.BPFProgOnInetTwskKill},
			{Kprobe, "inet_twsk_kill", gen.CopyingProgKprobeInetTwskKill},
		}},
	},
	{
		fact:    "reading process",
		absence: "a socket that was handed on keeps its first owner until the new one writes or closes",
		ways: []way{{
			{Tracepoint, "tcp_rcv_space_adjust", gen.BPFProgOnTcpRcvSpaceAdjust},
			{RawTracepoint, "tcp_rcv_space_adjust", gen.CopyingProgRawTcpRcvSpaceAdjust},
		}},
	},
	{
		fact:    "accept()",
		absence: "accept_wait_ns is null; an accepted connection is the listener's until a process uses it",
		ways: []way{{
			// The one with 4 arguments first: where there are 2, the verifier refuses it. The other
			// way round the third would pass for what the function returns.
			{Fexit, "inet_csk_accept", gen.BPFProgOnInetCskAccept4},
			{Fexit, "inet_csk_accept", gen.BPFProgOnInetCskAccept2},
			{Kretprobe, "inet_csk_accept", gen.CopyingProgKretprobeInetCskAccept},
		}},
	},
	{
		fact:     "state changes",
		absence:  "no timelines",
		required: true,
		ways: []way{{
			{Tracepoint, "inet_sock_set_state", gen.BPFProgOnInetSockSetState},
			{RawTracepoint, "inet_sock_set_state", gen.CopyingProgRawInetSockSetState},
		}},
	},
	{
		fact:     "segments sent",
		absence:  "no timelines",
		required: true,
		segments: true,
		ways: []way{
			{
				{Fentry, "__ip_local_out", gen.BPFProgOnIpLocalOut},
				{Kprobe, "__ip_local_out", gen.CopyingProgKprobeIpLocalOut},
				{Fentry, "ip6_xmit", gen.BPFProgOnIp6Xmit},
				{Kprobe, "ip6_xmit", gen.CopyingProgKprobeIp6Xmit},
				{Fentry, "__ip6_local_out", gen.BPFProgOnIp6LocalOut},
				{Kprobe, "__ip6_local_out", gen.CopyingProgKprobeIp6LocalOut},
			},
			{
				{Tracepoint, "net_dev_queue", gen.BPFProgOnNetDevQueue},
				{RawTracepoint, "net_dev_queue", gen.CopyingProgRawNetDevQueue},
			},
		},
	},
	{
		fact:     "segments received",
		absence:  "no timelines",
		required: true,
		segments: true,
		ways: []way{
			{
				{Fentry, "tcp_v4_rcv", gen.BPFProgOnTcpV4Rcv},
				{Kprobe, "tcp_v4_rcv", gen.CopyingProgKprobeTcpV4Rcv},
				{Fentry, "tcp_v6_rcv", gen.BPFProgOnTcpV6Rcv},
				{Kprobe, "tcp_v6_rcv", gen.CopyingProgKprobeTcpV6Rcv},
				// ICMP errors, which the tracepoint sees too.
				{Fentry, "tcp_v4_err", gen.BPFProgOnTcpV4Err},
				{Kprobe, "tcp_v4_err", gen.CopyingProgKprobeTcpV4Err},
				{Fentry, "tcp_v6_err", gen.BPFProgOnTcpV6Err},
				{Kprobe, "tcp_v6_err", gen.CopyingProgKprobeTcpV6Err},
			},
			{
				{Tracepoint, "netif_receive_skb", gen.BPFProgOnNetifReceiveSkb},
				{RawTracepoint, "netif_receive_skb", gen.CopyingProgRawNetifReceiveSkb},
			},
		},
	},
	{
		fact:    "earlier sockets",
		absence: "connections that were open before have no owner until they are used; those open at the end have no traffic counters",
		ways: []way{{
			{Iterator, filesIterator, gen.BPFProgOnTaskFile},
			{Iterator, filesIterator, gen.CopyingProgCopyingTaskFile},
		}},
	},
	{
		fact:    "sockets of no process",
		absence: "connections that were half open, not yet accepted, closed by their process or in TIME_WAIT before are not known until something happens to them",
		ways:    []way{{{Iterator, socketsIterator, gen.CopyingProgCopyingTcp}}},
	},
}
