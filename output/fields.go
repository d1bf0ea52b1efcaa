package output

import (
	"net/netip"
	"slices"
	"strconv"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/process"
	"tcptrace/timeline"
)

// Kind is what sort of value a field has.
type Kind uint8

const (
	// Object has no value of its own but fields below it.
	Object Kind = iota + 1
	// Integer is decimal digits.
	Integer
	// Bool is true or false.
	Bool
	// Word is one of a few words, an address or a time: printable ASCII that no
	// format need quote or escape.
	Word
	// Words are several, with commas between.
	Words
	// Text came from somewhere else and may hold any bytes.
	Text
	// Entries are the timeline's, each with EntryFields.
	Entries
	// Findings are the timeline's, each with FindingFields.
	Findings
)

var kindNames = [...]string{"", "object", "integer", "boolean", "string", "array of strings", "string",
	"array of objects", "array of objects"}

// String is the type that a value of the kind has in JSON.
func (k Kind) String() string { return kindNames[k] }

// Source is what a field's value is taken from.
type Source struct {
	Timeline *timeline.Timeline
	// Entry is for EntryFields.
	Entry *timeline.Entry
	// Finding is for FindingFields.
	Finding *timeline.Finding
	Options *Options

	details   process.Details
	detailsOf *timeline.Process // whose details they are
}

// Field is one fact that the formats can show.
type Field struct {
	// Path is the field's place in the JSON object, its parts joined by dots. An
	// Object precedes the fields below it, which follow one another.
	Path string
	Kind Kind
	// Optional: the value may be unknown. A timeline says so with null, an entry
	// by leaving the field out.
	Optional bool
	// In says which types of entry have the field; for EntryFields only.
	In EntryTypes
	// Doc says in a line what it is, with its unit.
	Doc string

	// value appends the value, raw, or nothing where it is unknown.
	value func(b []byte, s *Source) []byte
	// present tells, for an optional Object, whether it is known.
	present func(s *Source) bool
}

// Append appends the field's value, not quoted and not escaped, or nothing where
// it is unknown. Text is hostile: what is made of it must be cleaned.
func (f *Field) Append(b []byte, s *Source) []byte {
	if f.value == nil {
		return b
	}
	return f.value(b, s)
}

// What the JSON objects name themselves.
const (
	timelineSchema = "tcptrace.timeline/1"
	addendumSchema = "tcptrace.addendum/1"
)

var idField = Field{Path: "id", Kind: Word, Doc: "unique in one run; the same socket never has two, two sockets never share one",
	value: func(b []byte, s *Source) []byte { return strconv.AppendUint(b, s.Timeline.ID, 10) }}

var entriesField = Field{Path: "timeline", Kind: Entries, Doc: "state changes and control segments, in order of time"}

// AddendumFields are what is written about a timeline after it was.
var AddendumFields = []Field{
	{Path: "schema", Kind: Word, Doc: "`" + addendumSchema + "`",
		value: func(b []byte, _ *Source) []byte { return append(b, addendumSchema...) }},
	idField,
	entriesField,
}

// TimelineFields are all facts of a timeline, in the order in which they are shown.
var TimelineFields = slices.Concat(startFields, negotiatedFields,
	offered("handshake.local_options", "what this end's SYN or SYN-ACK offered",
		func(h *timeline.Handshake) *timeline.Maybe[events.Options] { return &h.LocalOptions }),
	offered("handshake.remote_options", "what the other end's SYN or SYN-ACK offered",
		func(h *timeline.Handshake) *timeline.Maybe[events.Options] { return &h.RemoteOptions }),
	endFields, retransmitFields, srttFields, icmpFields, lastFields)

var startFields = []Field{
	{Path: "schema", Kind: Word, Doc: "`" + timelineSchema + "`",
		value: func(b []byte, _ *Source) []byte { return append(b, timelineSchema...) }},
	idField,
	{Path: "peer_id", Kind: Word, Optional: true, Doc: "`id` of the other end's timeline, where both ends are on this host",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Timeline.PeerID) }},
	{Path: "nat", Kind: Object, Optional: true, Doc: "how the other end names the connection, if addresses or ports were translated on the way and this host knows it (below); else null",
		present: func(s *Source) bool { return s.Timeline.Translated.Known }},
	{Path: "nat.local", Kind: Object, Doc: "what the other end takes this one for"},
	{Path: "nat.local.ip", Kind: Word, Optional: true, Doc: "address",
		value: func(b []byte, s *Source) []byte { return appendAddr(b, s.Timeline.Translated.Value.Local.Addr()) }},
	{Path: "nat.local.port", Kind: Integer, Optional: true, Doc: "port",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Translated.Value.Local.Port()) }},
	{Path: "nat.remote", Kind: Object, Doc: "the other end's own address"},
	{Path: "nat.remote.ip", Kind: Word, Optional: true, Doc: "address",
		value: func(b []byte, s *Source) []byte { return appendAddr(b, s.Timeline.Translated.Value.Remote.Addr()) }},
	{Path: "nat.remote.port", Kind: Integer, Optional: true, Doc: "port",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Translated.Value.Remote.Port()) }},
	{Path: "nat.source", Kind: Word, Doc: "how that is known: `peer` (the other end is on this host, too) or `conntrack`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Translated.Value.Source.String()...) }},
	{Path: "community_id", Kind: Word, Optional: true, Doc: "Community ID v1, seed 0; null while a port is not known",
		value: func(b []byte, s *Source) []byte {
			return appendCommunityID(b, s.Timeline.Local, s.Timeline.Remote)
		}},
	{Path: "family", Kind: Word, Optional: true, Doc: "`ipv4` or `ipv6`, as on the wire: an IPv4-mapped socket is `ipv4`",
		value: func(b []byte, s *Source) []byte { return appendFamily(b, s.Timeline, "ipv4", "ipv6") }},
	{Path: "local", Kind: Object, Doc: "this end"},
	{Path: "local.ip", Kind: Word, Optional: true, Doc: "address",
		value: func(b []byte, s *Source) []byte { return appendAddr(b, s.Timeline.Local.Addr()) }},
	{Path: "local.port", Kind: Integer, Optional: true, Doc: "port; null where none was chosen yet",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Timeline.Local.Port()) }},
	{Path: "remote", Kind: Object, Doc: "the other end"},
	{Path: "remote.ip", Kind: Word, Optional: true, Doc: "address",
		value: func(b []byte, s *Source) []byte { return appendAddr(b, s.Timeline.Remote.Addr()) }},
	{Path: "remote.port", Kind: Integer, Optional: true, Doc: "port",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Timeline.Remote.Port()) }},
	{Path: "netns", Kind: Integer, Optional: true, Doc: "inode number of the network namespace",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Timeline.Netns) }},
	{Path: "role", Kind: Word, Doc: "`client`, `server`, `simultaneous` or `unknown`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Role.String()...) }},

	{Path: "process", Kind: Object, Optional: true, Doc: "who owns the socket, not who was on the CPU",
		present: func(s *Source) bool { return s.Timeline.Process.Source != events.SourceUnknown }},
	{Path: "process.pid", Kind: Integer, Doc: "process ID in the initial pid namespace",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Process.PID) }},
	{Path: "process.comm", Kind: Text, Optional: true, Doc: "the process's name, at most 15 bytes; a byte that is not UTF-8 becomes U+FFFD",
		value: func(b []byte, s *Source) []byte { return appendComm(b, &s.Timeline.Process.Comm) }},
	{Path: "process.uid", Kind: Integer, Doc: "user ID in the initial user namespace",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Process.UID) }},
	{Path: "process.cgroup", Kind: Text, Optional: true, Doc: "path of its cgroup v2, below the mount point",
		value: func(b []byte, s *Source) []byte {
			if s.Options.Cgroup == nil || s.Timeline.Process.CgroupID == 0 {
				return b
			}
			return append(b, s.Options.Cgroup(s.Timeline.Process.CgroupID)...)
		}},
	{Path: "process.cgroup_id", Kind: Integer, Optional: true, Doc: "number of its cgroup v2",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Timeline.Process.CgroupID) }},
	{Path: "process.tid", Kind: Integer, Optional: true, Doc: "the thread that connected, accepted or used the socket first, where one did; in the initial pid namespace",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Timeline.Process.TID) }},
	{Path: "process.ppid", Kind: Integer, Optional: true, Doc: "its parent process; null, as the next three may be, where it was gone before it could be asked",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, details(s).ParentPID) }},
	{Path: "process.inner_pid", Kind: Integer, Optional: true, Doc: "its process ID in its own pid namespace, a container's; null where that is the host's",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, details(s).InnerPID) }},
	{Path: "process.exe", Kind: Text, Optional: true, Doc: "path of its program's file, in its own mount namespace; null also where that may not be read; of a command that tcptrace started it is known without",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).Exe...) }},
	{Path: "process.cmdline", Kind: Text, Optional: true, Doc: "its arguments with spaces between, at most 4096 bytes, a longer one ends in `…`; whatever the process wants it to be",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).CommandLine...) }},
	{Path: "process.container_id", Kind: Word, Optional: true, Doc: "of the container whose cgroup it is in, as the path shows it",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).Container.ID...) }},
	{Path: "process.container_runtime", Kind: Word, Optional: true, Doc: "`docker`, `containerd`, `cri-o` or `podman`, where the path shows it",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).Container.Runtime...) }},
	{Path: "process.pod_uid", Kind: Word, Optional: true, Doc: "of its Kubernetes pod, where the path shows it",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).Container.PodUID...) }},
	{Path: "process.container_name", Kind: Text, Optional: true, Doc: "what Docker or Podman calls its container; null, as the next two, unless asked (--container-names) and answered in time",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).Names.Container...) }},
	{Path: "process.pod_name", Kind: Text, Optional: true, Doc: "of its Kubernetes pod, by the container's labels",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).Names.Pod...) }},
	{Path: "process.pod_namespace", Kind: Text, Optional: true, Doc: "the pod's namespace, by the container's labels",
		value: func(b []byte, s *Source) []byte { return append(b, details(s).Names.PodNamespace...) }},
	{Path: "process.source", Kind: Word, Doc: "how the owner is known: `connect`, `accept`, `listen`, `io`, `snapshot` or `inherited` (below)",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Process.Source.String()...) }},
	{Path: "process.confidence", Kind: Word, Doc: "`certain`: it was seen at the socket, or was the only one that held it; `likely`: it holds the listening socket, or is one of several that hold it",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Process.Confidence().String()...) }},

	{Path: "opened_by", Kind: Object, Optional: true, Doc: "who called connect(); null where that was not seen",
		present: func(s *Source) bool { return s.Timeline.OpenedBy.PID != 0 }},
	{Path: "opened_by.pid", Kind: Integer, Doc: "process ID in the initial pid namespace",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.OpenedBy.PID) }},
	{Path: "opened_by.comm", Kind: Text, Optional: true, Doc: "its name",
		value: func(b []byte, s *Source) []byte { return appendComm(b, &s.Timeline.OpenedBy.Comm) }},
	{Path: "accepted_by", Kind: Object, Optional: true, Doc: "who called accept(); null where that was not seen, or no hook tells it",
		present: func(s *Source) bool { return s.Timeline.AcceptedBy.PID != 0 }},
	{Path: "accepted_by.pid", Kind: Integer, Doc: "process ID in the initial pid namespace",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.AcceptedBy.PID) }},
	{Path: "accepted_by.comm", Kind: Text, Optional: true, Doc: "its name",
		value: func(b []byte, s *Source) []byte { return appendComm(b, &s.Timeline.AcceptedBy.Comm) }},

	{Path: "closed_by", Kind: Object, Optional: true, Doc: "who ended the connection, by its FIN, an RST or otherwise; null while nobody has begun to",
		present: func(s *Source) bool { return s.Timeline.ClosedBy.Side != timeline.SideUnknown }},
	{Path: "closed_by.side", Kind: Word, Doc: "`local`, `remote`, `both` or `kernel`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.ClosedBy.Side.String()...) }},
	{Path: "closed_by.pid", Kind: Integer, Optional: true, Doc: "the process of this host that did it",
		value: func(b []byte, s *Source) []byte { return appendNonZero(b, s.Timeline.ClosedBy.PID) }},
	{Path: "closed_by.comm", Kind: Text, Optional: true, Doc: "its name",
		value: func(b []byte, s *Source) []byte {
			if s.Timeline.ClosedBy.PID == 0 {
				return b
			}
			return appendComm(b, &s.Timeline.ClosedBy.Comm)
		}},
	{Path: "closed_by.call", Kind: Word, Optional: true, Doc: "by what: `close`, `shutdown`, `exit` (the process ended), `disconnect` (connect() to AF_UNSPEC, or shutdown() before the connection was there) or `destroy` (`ss -K`)",
		value: func(b []byte, s *Source) []byte {
			if s.Timeline.ClosedBy.Call == events.CloseUnknown {
				return b
			}
			return append(b, s.Timeline.ClosedBy.Call.String()...)
		}},
	{Path: "closed_by.signal", Kind: Word, Optional: true, Doc: "the signal that ended the process, where `call` is `exit`; null where it ended by itself",
		value: func(b []byte, s *Source) []byte { return human.AppendSignal(b, s.Timeline.ClosedBy.Signal) }},

	{Path: "start", Kind: Word, Doc: "wall-clock time of the first event, RFC 3339, nanoseconds, UTC",
		value: func(b []byte, s *Source) []byte {
			return appendTime(b, s.Options.Clock.Wall(s.Timeline.Start))
		}},
	{Path: "end", Kind: Word, Optional: true, Doc: "when it ended, TIME_WAIT included; null where it is still open or in TIME_WAIT",
		value: func(b []byte, s *Source) []byte {
			if !s.Timeline.End.Known {
				return b
			}
			return appendTime(b, s.Options.Clock.Wall(s.Timeline.End.Value))
		}},
	{Path: "duration_ns", Kind: Integer, Optional: true, Doc: "`start` → `end`, nanoseconds",
		value: func(b []byte, s *Source) []byte {
			if !s.Timeline.End.Known {
				return b
			}
			return strconv.AppendInt(b, int64(s.Timeline.End.Value-s.Timeline.Start), 10)
		}},
	{Path: "state", Kind: Word, Optional: true, Doc: "the last state known, by the kernel's name without `TCP_`",
		value: func(b []byte, s *Source) []byte { return appendState(b, s.Timeline.State) }},
	{Path: "complete", Kind: Bool, Doc: "false where the start was not seen, or an event of this timeline was lost",
		value: func(b []byte, s *Source) []byte { return strconv.AppendBool(b, s.Timeline.Complete) }},
	{Path: "lost_events", Kind: Integer, Doc: "events of this timeline that found the ring buffer full",
		value: func(b []byte, s *Source) []byte { return strconv.AppendUint(b, s.Timeline.LostEvents, 10) }},

	{Path: "handshake", Kind: Object, Doc: "how the connection came to be"},
	{Path: "handshake.kind", Kind: Word, Doc: "`three-way`, `simultaneous`, `fast-open`, `syn-cookie` or `unobserved`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Handshake.Kind.String()...) }},
	{Path: "handshake.outcome", Kind: Word, Doc: "`established`, `refused`, `timed-out`, `reset`, `unreachable`, `aborted`, `in-progress` or `unobserved`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Handshake.Outcome.String()...) }},
	{Path: "handshake.errno", Kind: Word, Optional: true, Doc: "name of the error that the kernel gave the socket",
		value: func(b []byte, s *Source) []byte { return human.AppendErrno(b, s.Timeline.Handshake.Errno) }},
	{Path: "handshake.duration_ns", Kind: Integer, Optional: true, Doc: "client: SYN sent → SYN-ACK received; server: SYN received → third ACK received; nanoseconds",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Handshake.DurationNS) }},
	{Path: "handshake.syn_retransmits", Kind: Integer, Doc: "SYNs sent again",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Handshake.SYNRetransmits) }},
	{Path: "handshake.synack_retransmits", Kind: Integer, Doc: "SYN-ACKs sent again",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Handshake.SYNACKRetransmits) }},
	{Path: "handshake.accept_wait_ns", Kind: Integer, Optional: true, Doc: "server: third ACK → accept() returned, nanoseconds",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Handshake.AcceptWaitNS) }},
	{Path: "handshake.reused_time_wait_ns", Kind: Integer, Optional: true, Doc: "its ports were those of a connection that had been in TIME_WAIT for so long, nanoseconds; null where they were free",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Handshake.ReusedNS) }},
	{Path: "handshake.local_isn", Kind: Integer, Optional: true, Doc: "this end's initial sequence number",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Handshake.LocalISN) }},
	{Path: "handshake.remote_isn", Kind: Integer, Optional: true, Doc: "the other end's initial sequence number",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Handshake.RemoteISN) }},
}

// endFields follow the options of both sides.
var endFields = []Field{
	{Path: "teardown", Kind: Object, Doc: "how the connection ended"},
	{Path: "teardown.kind", Kind: Word, Doc: "`four-way`, `three-segment`, `simultaneous`, `reset`, `timed-out`, `none` or `unobserved`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.Teardown.Kind.String()...) }},
	{Path: "teardown.initiator", Kind: Word, Optional: true, Doc: "`local`, `remote` or `both`",
		value: func(b []byte, s *Source) []byte { return appendSide(b, s.Timeline.Teardown.Initiator) }},
	{Path: "teardown.duration_ns", Kind: Integer, Optional: true, Doc: "first FIN or RST → CLOSE, TIME_WAIT not counted, nanoseconds",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Teardown.DurationNS) }},
	{Path: "teardown.half_closed_ns", Kind: Integer, Optional: true, Doc: "first FIN → second FIN, nanoseconds",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Teardown.HalfClosedNS) }},
	{Path: "teardown.time_wait_ns", Kind: Integer, Optional: true, Doc: "how long TIME_WAIT was held, on the side that held it, nanoseconds; null while it is held",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Teardown.TimeWaitNS) }},
	{Path: "teardown.fin_retransmits", Kind: Integer, Doc: "FINs sent again",
		value: func(b []byte, s *Source) []byte { return appendUint(b, s.Timeline.Teardown.FINRetransmits) }},
	{Path: "teardown.errno", Kind: Word, Optional: true, Doc: "name of the error that ended an established connection",
		value: func(b []byte, s *Source) []byte { return human.AppendErrno(b, s.Timeline.Teardown.Errno) }},
	{Path: "teardown.reset", Kind: Object, Optional: true, Doc: "the first RST; null where there was none",
		present: func(s *Source) bool { return s.Timeline.Teardown.ResetBy != timeline.SideUnknown }},
	{Path: "teardown.reset.by", Kind: Word, Doc: "`local` or `remote`",
		value: func(b []byte, s *Source) []byte { return appendSide(b, s.Timeline.Teardown.ResetBy) }},
	{Path: "teardown.reset.reason", Kind: Text, Optional: true, Doc: "why this host, from this end or the other, sent it: the kernel's word (`enum sk_rst_reason`, since 6.10), or that word inferred",
		value: func(b []byte, s *Source) []byte {
			return appendResetReason(b, &s.Timeline.Teardown, s.Options)
		}},
	{Path: "teardown.reset.inferred", Kind: Bool, Doc: "true: `reason` is not the kernel's, but what socket and segments come to",
		value: func(b []byte, s *Source) []byte {
			d := &s.Timeline.Teardown
			return strconv.AppendBool(b, d.ResetReason == 0 && d.ResetCause != timeline.ResetUnexplained)
		}},

	{Path: "traffic", Kind: Object, Doc: "what it carried, by the socket's own counters"},
	{Path: "traffic.tx_bytes", Kind: Integer, Optional: true, Doc: "payload sent, each byte once",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Traffic.TxBytes) }},
	{Path: "traffic.rx_bytes", Kind: Integer, Optional: true, Doc: "payload received, each byte once",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Traffic.RxBytes) }},
	{Path: "traffic.tx_segments", Kind: Integer, Optional: true, Doc: "segments sent",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Traffic.TxSegments) }},
	{Path: "traffic.rx_segments", Kind: Integer, Optional: true, Doc: "segments received",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Traffic.RxSegments) }},
	{Path: "traffic.retransmits", Kind: Integer, Optional: true, Doc: "segments sent again",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Traffic.Retransmits) }},
}

// srttFields follow the kinds of retransmissions.
var srttFields = []Field{
	{Path: "traffic.srtt_ns", Kind: Integer, Optional: true, Doc: "smoothed round-trip time, nanoseconds",
		value: func(b []byte, s *Source) []byte { return appendMaybe(b, s.Timeline.Traffic.SRTTNS) }},
}

// lastFields follow retransmissions and ICMP.
var lastFields = []Field{
	{Path: "conn_state", Kind: Word, Optional: true, Doc: "Zeek's code for how it was opened and closed (below); null where no segment was seen",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.ConnState.String()...) }},
	{Path: "history", Kind: Word, Optional: true, Doc: "Zeek's letters for what was sent, capitals by the side that sent the first SYN (below); null where no segment was seen",
		value: func(b []byte, s *Source) []byte { return append(b, s.Timeline.History...) }},
	{Path: "completeness", Kind: Integer, Optional: true, Doc: "Wireshark's `tcp.completeness`: the sum of 1 SYN, 2 SYN-ACK, 4 ACK, 8 data, 16 FIN, 32 RST; null where no segment was seen",
		value: func(b []byte, s *Source) []byte {
			return appendNonZero(b, uint16(s.Timeline.Completeness))
		}},

	entriesField,
	{Path: "findings", Kind: Findings, Doc: "what was unusual, the most important first"},
}

// FindingFields are those of each of a timeline's findings.
var FindingFields = []Field{
	{Path: "code", Kind: Text, Doc: "stable name; docs/findings.md has all, with cause and remedy",
		value: func(b []byte, s *Source) []byte { return append(b, s.Finding.Code...) }},
	{Path: "severity", Kind: Word, Doc: "`note`, `warning` or `error`",
		value: func(b []byte, s *Source) []byte { return append(b, s.Finding.Severity.String()...) }},
	{Path: "text", Kind: Text, Doc: "what happened, a sentence for people with this connection's numbers",
		value: func(b []byte, s *Source) []byte { return append(b, s.Finding.Text...) }},
	{Path: "next", Kind: Text, Doc: "what to look at next",
		value: func(b []byte, s *Source) []byte { return append(b, s.Finding.Next...) }},
}

// details are the owner's, asked for once for each timeline.
func details(s *Source) *process.Details {
	if s.Options.Process == nil {
		return &noDetails
	}
	if s.detailsOf != &s.Timeline.Process {
		s.detailsOf, s.details = &s.Timeline.Process, s.Options.Process(&s.Timeline.Process)
	}
	return &s.details
}

var noDetails process.Details

// offered are the fields of what a side offered in its handshake.
func offered(path, doc string, of func(*timeline.Handshake) *timeline.Maybe[events.Options]) []Field {
	options := func(s *Source) *events.Options { return &of(&s.Timeline.Handshake).Value }
	has := func(name string, option events.OptionSet, doc string) Field {
		return Field{Path: path + "." + name, Kind: Bool, Doc: doc,
			value: func(b []byte, s *Source) []byte {
				return strconv.AppendBool(b, options(s).Present.Has(option))
			}}
	}
	return []Field{
		{Path: path, Kind: Object, Optional: true, Doc: doc + "; null where that was not seen",
			present: func(s *Source) bool { return of(&s.Timeline.Handshake).Known }},
		{Path: path + ".mss", Kind: Integer, Optional: true, Doc: "maximum segment size, bytes; null where not offered",
			value: func(b []byte, s *Source) []byte { return appendMSS(b, options(s)) }},
		{Path: path + ".wscale", Kind: Integer, Optional: true, Doc: "window scale, shift count as sent; null where not offered",
			value: func(b []byte, s *Source) []byte { return appendWScale(b, options(s)) }},
		has("sack_permitted", events.OptionSACKPermitted, "selective acknowledgments"),
		has("timestamps", events.OptionTimestamps, "timestamps"),
		has("fast_open", events.OptionFastOpen, "TCP Fast Open, with or without a cookie"),
		has("mptcp", events.OptionMPTCP, "Multipath TCP"),
	}
}

func appendUint[T ~uint16 | ~uint32 | ~uint64](b []byte, v T) []byte {
	return strconv.AppendUint(b, uint64(v), 10)
}

// appendNonZero is for numbers of which 0 means unknown.
func appendNonZero[T ~uint16 | ~uint32 | ~uint64](b []byte, v T) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendUint(b, uint64(v), 10)
}

func appendMaybe[T ~uint32 | ~uint64](b []byte, v timeline.Maybe[T]) []byte {
	if !v.Known {
		return b
	}
	return strconv.AppendUint(b, uint64(v.Value), 10)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return b
	}
	return a.AppendTo(b)
}

func appendFamily(b []byte, t *timeline.Timeline, v4, v6 string) []byte {
	a := t.Remote.Addr()
	if !a.IsValid() {
		a = t.Local.Addr()
	}
	switch {
	case a.Is4():
		return append(b, v4...)
	case a.IsValid():
		return append(b, v6...)
	}
	return b
}

func appendComm(b []byte, c *events.Comm) []byte {
	for i, x := range c {
		if x == 0 {
			return append(b, c[:i]...)
		}
	}
	return append(b, c[:]...)
}

func appendState(b []byte, s events.State) []byte {
	if s == events.StateUnknown {
		return b
	}
	return append(b, s.String()...)
}

func appendSide(b []byte, s timeline.Side) []byte {
	if s == timeline.SideUnknown {
		return b
	}
	return append(b, s.String()...)
}

func appendMSS(b []byte, o *events.Options) []byte {
	if !o.Present.Has(events.OptionMSS) {
		return b
	}
	return appendUint(b, o.MSS)
}

func appendWScale(b []byte, o *events.Options) []byte {
	if !o.Present.Has(events.OptionWScale) {
		return b
	}
	return strconv.AppendUint(b, uint64(o.WScale), 10)
}
