package lab

import "net/netip"

// Timeline is a line of the tracer's JSON, as a reader of docs/json.md would declare it:
// on purpose not the tracer's own types.
type Timeline struct {
	Schema    string  `json:"schema"`
	ID        string  `json:"id"`
	PeerID    *string `json:"peer_id"`
	Community string  `json:"community_id"`
	Family    string  `json:"family"`
	Local     Address `json:"local"`
	Remote    Address `json:"remote"`
	Netns     uint64  `json:"netns"`
	Role      string  `json:"role"`
	Process   *struct {
		PID    int    `json:"pid"`
		Comm   string `json:"comm"`
		UID    int    `json:"uid"`
		Source string `json:"source"`
		// Confidence is "certain" or "likely".
		Confidence string `json:"confidence"`

		TID              *int    `json:"tid"`
		PPID             *int    `json:"ppid"`
		InnerPID         *int    `json:"inner_pid"`
		Exe              *string `json:"exe"`
		CommandLine      *string `json:"cmdline"`
		Cgroup           *string `json:"cgroup"`
		ContainerID      *string `json:"container_id"`
		ContainerRuntime *string `json:"container_runtime"`
		PodUID           *string `json:"pod_uid"`
		ContainerName    *string `json:"container_name"`
		PodName          *string `json:"pod_name"`
		PodNamespace     *string `json:"pod_namespace"`
	} `json:"process"`
	OpenedBy   *Actor `json:"opened_by"`
	AcceptedBy *Actor `json:"accepted_by"`
	ClosedBy   *struct {
		Side   string  `json:"side"`
		PID    *int    `json:"pid"`
		Call   *string `json:"call"`
		Signal *string `json:"signal"`
	} `json:"closed_by"`
	NAT *struct {
		Local  Address `json:"local"`
		Remote Address `json:"remote"`
		Source string  `json:"source"`
	} `json:"nat"`
	Start      string  `json:"start"`
	End        *string `json:"end"`
	DurationNS *int64  `json:"duration_ns"`
	State      string  `json:"state"`
	Complete   bool    `json:"complete"`
	LostEvents int     `json:"lost_events"`
	Handshake  struct {
		Kind              string  `json:"kind"`
		Outcome           string  `json:"outcome"`
		Errno             *string `json:"errno"`
		DurationNS        *int64  `json:"duration_ns"`
		SYNRetransmits    int     `json:"syn_retransmits"`
		SYNACKRetransmits int     `json:"synack_retransmits"`
		ReusedTimeWaitNS  *int64  `json:"reused_time_wait_ns"`
		LocalISN          *uint32 `json:"local_isn"`
		RemoteISN         *uint32 `json:"remote_isn"`
		ECN               *string `json:"ecn"`
		FastOpen          *string `json:"fast_open"`
		AcceptQueue       *struct {
			Waiting int `json:"waiting"`
			Backlog int `json:"backlog"`
		} `json:"accept_queue"`
		Overflow *struct {
			SYNs    int `json:"syns"`
			Waiting int `json:"waiting"`
			Backlog int `json:"backlog"`
		} `json:"overflow"`
	} `json:"handshake"`
	Teardown struct {
		Kind           string  `json:"kind"`
		Initiator      *string `json:"initiator"`
		DurationNS     *int64  `json:"duration_ns"`
		HalfClosedNS   *int64  `json:"half_closed_ns"`
		TimeWaitNS     *int64  `json:"time_wait_ns"`
		FINRetransmits int     `json:"fin_retransmits"`
		Errno          *string `json:"errno"`
		Reset          *struct {
			By       string  `json:"by"`
			Reason   *string `json:"reason"`
			Inferred bool    `json:"inferred"`
		} `json:"reset"`
	} `json:"teardown"`
	Traffic struct {
		TxBytes     *int64 `json:"tx_bytes"`
		RxBytes     *int64 `json:"rx_bytes"`
		TxSegments  *int64 `json:"tx_segments"`
		RxSegments  *int64 `json:"rx_segments"`
		Retransmits *int64 `json:"retransmits"`

		RetransmitsBy *struct {
			Timeout int `json:"timeout"`
			Fast    int `json:"fast"`
			Probe   int `json:"probe"`
		} `json:"retransmits_by"`
		Duplicates *int `json:"duplicates"`
		DroppedIn  int  `json:"dropped_in"`
		DroppedOut int  `json:"dropped_out"`
	} `json:"traffic"`
	ICMP *struct {
		From netip.Addr `json:"from"`
		Type int        `json:"type"`
		Code int        `json:"code"`
		Name *string    `json:"name"`
	} `json:"icmp"`
	ConnState    *string   `json:"conn_state"`
	History      *string   `json:"history"`
	Completeness *int      `json:"completeness"`
	Timeline     []Entry   `json:"timeline"`
	Findings     []Finding `json:"findings"`
}

// Actor is a process that did something to a socket.
type Actor struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
}

// Finding is one of a timeline.
type Finding struct {
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
	Next     string `json:"next"`
}

// Address is an endpoint's.
type Address struct {
	IP   netip.Addr `json:"ip"`
	Port uint16     `json:"port"`
}

// AddrPort is the address as one value.
func (a Address) AddrPort() netip.AddrPort { return netip.AddrPortFrom(a.IP, a.Port) }

// Entry is one of a timeline.
type Entry struct {
	TNS    int64    `json:"t_ns"`
	Type   string   `json:"type"`
	From   string   `json:"from"`
	To     string   `json:"to"`
	PID    int      `json:"pid"`
	Reason string   `json:"reason"`
	Dir    string   `json:"dir"`
	Flags  []string `json:"flags"`
	Seq    uint32   `json:"seq"`
	Ack    uint32   `json:"ack"`
	SeqRel *uint32  `json:"seq_rel"`
	AckRel *uint32  `json:"ack_rel"`

	Window       uint16   `json:"window"`
	WindowScaled *uint32  `json:"window_scaled"`
	Len          uint32   `json:"len"`
	Options      *Options `json:"options"`
	Step         string   `json:"step"`
	Also         string   `json:"also"`
	Retransmit   bool     `json:"retransmit"`
	Lost         int      `json:"lost"`
	Source       string   `json:"source"`
	OneWayNS     *int64   `json:"one_way_ns"`
}

// Options are a segment's; nil where it has not got one.
type Options struct {
	MSS           *int   `json:"mss"`
	WScale        *int   `json:"wscale"`
	SACKPermitted bool   `json:"sack_permitted"`
	TSVal         *int64 `json:"ts_val"`
	TSEcr         *int64 `json:"ts_ecr"`
}
