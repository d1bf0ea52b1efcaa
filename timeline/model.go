// Package timeline rebuilds, from the kernel's events, what happened to each
// TCP endpoint of this host. It is a pure state machine: events in, updates
// out. It has no clock, does no I/O and starts no goroutine; time comes from
// the events (and from Advance, where none come).
package timeline

import (
	"net/netip"

	"tcptrace/events"
)

// Maybe is a value that may be unknown. Unknown is never shown as zero.
type Maybe[T any] struct {
	Value T
	Known bool
}

// Some is a known value.
func Some[T any](v T) Maybe[T] { return Maybe[T]{Value: v, Known: true} }

// Timeline is the life of one TCP endpoint. All times are nanoseconds of
// CLOCK_BOOTTIME; all durations are nanoseconds.
type Timeline struct {
	// ID is unique in this run and never 0.
	ID uint64
	// PeerID is the other end's ID where that end is on this host, else 0.
	PeerID uint64
	// Translated is known where the other end names the connection otherwise, and this host knows.
	Translated Maybe[Translation]
	// Local and Remote are unmapped: an IPv4-mapped socket has IPv4 addresses.
	Local, Remote netip.AddrPort
	// Netns is the inode number of the network namespace.
	Netns uint32
	Role  Role
	// Process owns the socket; Source says how that is known.
	Process Process
	// OpenedBy called connect(), AcceptedBy accept(); PID 0 where that was not seen.
	OpenedBy, AcceptedBy Actor
	// ClosedBy is who ended the connection; Side is SideUnknown while open.
	ClosedBy Closer
	Start    uint64
	// End is known once the timeline has ended (for TIME_WAIT: when that ran out).
	End Maybe[uint64]
	// WrittenAt is how far it was watched: when it was told, as ended or open.
	WrittenAt uint64
	State     events.State
	// Complete is false where the start was not seen or an event was lost.
	Complete bool
	// LostEvents counts this endpoint's events that found the ring full.
	LostEvents uint64

	Handshake Handshake
	Teardown  Teardown
	Traffic   Traffic
	// ICMP is the last error message that came for what was sent.
	ICMP Maybe[ICMPError]

	// ConnState and History are Zeek's, Completeness is Wireshark's: what they would make of
	// a capture taken at this end. ConnUnknown, empty and 0 where no segment was seen.
	ConnState    ConnState
	History      []byte
	Completeness Completeness

	// Entries are in order of time, ties in the order of the kernel.
	Entries []Entry
	// Findings say in words what was unusual.
	Findings []Finding

	track tracking // what the state machine remembers between events
}

// Process is who owns a socket.
type Process struct {
	PID, UID uint32
	// TID is the thread that made it the owner, 0 where none did.
	TID uint32
	// Start is when the process started, in units of 10 ms of CLOCK_BOOTTIME, 0 unknown.
	Start    uint32
	CgroupID uint64
	Comm     events.Comm
	// Source is SourceUnknown where no process is known; the rest is then 0.
	Source events.OwnerSource
	// Shared: other processes hold the socket, or its listener, too.
	Shared bool
}

// Actor is a process that did something to a socket.
type Actor struct {
	PID  uint32
	Comm events.Comm
}

// Closer is who closed.
type Closer struct {
	Side Side
	// Actor is the process that did it, where it was a process of this host; else PID is 0.
	Actor
	// Call is by what it closed, and Signal what ended the process, where that is how; 0 none.
	Call   events.CloseCall
	Signal uint8
}

// Handshake is how the connection came to be.
type Handshake struct {
	Kind    HandshakeKind
	Outcome HandshakeOutcome
	// Errno is the error that the kernel gave the socket, or with which connect() returned; 0 for none.
	Errno uint16
	// DurationNS: client, SYN sent → SYN-ACK received; server, SYN received → third ACK received.
	DurationNS                        Maybe[uint64]
	SYNRetransmits, SYNACKRetransmits uint32
	// AcceptWaitNS: third ACK → accept() returned.
	AcceptWaitNS        Maybe[uint64]
	LocalISN, RemoteISN Maybe[uint32]
	// LocalOptions and RemoteOptions are those of each side's SYN or SYN-ACK.
	LocalOptions, RemoteOptions Maybe[events.Options]
	// RemoteSent are the options that the other end sent, known where that end is on this
	// host too. What RemoteOptions lacks of them was removed on the way.
	RemoteSent Maybe[events.Options]
	// ECN is what became of Explicit Congestion Notification, FastOpen of TCP Fast Open.
	ECN      ECN
	FastOpen FastOpen
	// AcceptQueue is the listener's when a SYN-ACK was sent; of several the fullest.
	AcceptQueue Maybe[Queue]
	// Overflows are its SYNs that found a queue of the listener full, and Queues what the last of
	// them found.
	Overflows uint32
	Queues    Maybe[events.Queues]
	// ReusedNS: its ports were those of a connection that had been in TIME_WAIT for so long.
	ReusedNS Maybe[uint64]
}

// Teardown is how the connection ended.
type Teardown struct {
	Kind      TeardownKind
	Initiator Side
	// DurationNS: first FIN or RST → CLOSE, TIME_WAIT not counted.
	DurationNS Maybe[uint64]
	// HalfClosedNS: first FIN → second FIN.
	HalfClosedNS Maybe[uint64]
	// TimeWaitNS is how long TIME_WAIT was held; unknown while it is held.
	TimeWaitNS     Maybe[uint64]
	FINRetransmits uint32
	// ResetBy is who sent the first RST; SideUnknown where there was none.
	ResetBy Side
	// ResetReason is why this host sent it, from this end or the other, of the running kernel's enum
	// sk_rst_reason; 0 where it does not say.
	ResetReason uint32
	// ResetCause is the same, inferred.
	ResetCause ResetCause
	// Unread is payload in bytes that was received and, when the socket was closed, not read.
	Unread uint32
	// LingerZero: SO_LINGER was set to 0 when the socket was closed.
	LingerZero bool
	// Errno is the error that ended an established connection, 0 for none.
	Errno uint16
	// Orphan: it waits, or waited, in FIN_WAIT2 though no process has it any more.
	Orphan bool
}

// Traffic is what the connection carried, by the socket's own counters, plus the
// segments that the kernel sends and receives for it without a socket.
type Traffic struct {
	TxBytes, RxBytes       Maybe[uint64] // payload, each byte once
	TxSegments, RxSegments Maybe[uint64]
	Retransmits            Maybe[uint64]
	// RetransmitsBy are Retransmits by events.RetransmitKind, as far as they were watched.
	RetransmitsBy Maybe[[3]uint64]
	// Duplicates are segments that the other end says it got twice (DSACK, RFC 2883): they were
	// sent again in vain.
	Duplicates Maybe[uint64]
	// DroppedIn and DroppedOut are data segments that this host dropped.
	DroppedIn, DroppedOut Dropped
	SRTTNS                Maybe[uint64]
}

// Dropped are segments that this host's kernel threw away.
type Dropped struct {
	Segments uint64
	// Reason is why the last was, of the running kernel's enum skb_drop_reason.
	Reason uint32
}

// EntryType says what an entry of a timeline is.
type EntryType uint8

const (
	EntryState EntryType = iota + 1
	EntrySegment
	EntryDrop
	EntryGap
	EntryOwner // the socket has passed to another process
)

// Entry is one line of a timeline.
type Entry struct {
	// Time is nanoseconds of CLOCK_BOOTTIME, not relative.
	Time uint64
	Type EntryType

	// EntryState
	From, To events.State
	PID      uint32 // the process that caused it, 0 where the kernel did; EntryOwner: that it passed to
	Comm     events.Comm

	// EntrySegment, EntryDrop
	Dir    Dir
	Flags  events.Flags
	Step   Step
	FINACK bool // a FIN that also acknowledges the peer's FIN ("also": "fin-ack")
	// Retransmit: its sequence space was sent before.
	Retransmit bool
	Seq, Ack   uint32
	// SeqRel and AckRel are relative to the ISN of the side that owns the number.
	SeqRel, AckRel Maybe[uint32]
	Window         uint16
	WindowScaled   Maybe[uint32] // bytes
	Len            uint32
	Options        events.Options

	// EntryDrop
	DropReason uint32 // enum skb_drop_reason of the running kernel

	// OneWayNS: received, from when the other end, which is on this host too, sent it.
	OneWayNS Maybe[uint64]

	// EntryGap
	Lost uint64

	// EntryOwner
	Source events.OwnerSource
}

// Finding is something unusual, in words; package finding has all that there are.
type Finding struct {
	Code     string // stable
	Severity Severity
	Text     string // what happened, with this connection's numbers
	Next     string // what to look at next
}

// Role is the part that the endpoint played.
type Role uint8

const (
	RoleUnknown Role = iota
	RoleClient
	RoleServer
	RoleSimultaneous
)

// Side is an end of the connection.
type Side uint8

const (
	SideUnknown Side = iota
	SideLocal
	SideRemote
	SideBoth
	SideKernel
)

// Dir is a segment's direction as seen from the endpoint.
type Dir uint8

const (
	Tx Dir = iota + 1
	Rx
)

// side is who sends in that direction.
func (d Dir) side() Side {
	if d == Tx {
		return SideLocal
	}
	return SideRemote
}

// Step is the part that a segment plays in handshake or teardown.
type Step uint8

const (
	StepNone Step = iota
	StepSYN
	StepSYNACK
	StepACK // the third of the handshake
	StepFIN
	StepFINACK // the ACK of a FIN
	StepRST
)

// HandshakeKind is how the connection was opened.
type HandshakeKind uint8

const (
	HandshakeUnobserved HandshakeKind = iota
	HandshakeThreeWay
	HandshakeSimultaneous
	HandshakeFastOpen
	HandshakeSYNCookie
)

// HandshakeOutcome is what became of it.
type HandshakeOutcome uint8

const (
	OutcomeUnobserved HandshakeOutcome = iota
	OutcomeInProgress
	OutcomeEstablished
	OutcomeRefused
	OutcomeTimedOut
	OutcomeReset
	OutcomeUnreachable
	OutcomeAborted
)

// TeardownKind is how the connection was closed.
type TeardownKind uint8

const (
	TeardownNone TeardownKind = iota
	TeardownFourWay
	TeardownThreeSegment
	TeardownSimultaneous
	TeardownReset
	TeardownTimedOut
	TeardownUnobserved
)

// Severity of a finding.
type Severity uint8

const (
	SeverityNote Severity = iota
	SeverityWarning
	SeverityError
)

// The words of the enumerations, as the JSON has them (docs/json.md).
var (
	roleNames      = []string{"unknown", "client", "server", "simultaneous"}
	sideNames      = []string{"unknown", "local", "remote", "both", "kernel"}
	dirNames       = []string{"", "tx", "rx"}
	stepNames      = []string{"", "syn", "syn-ack", "ack", "fin", "fin-ack", "rst"}
	entryTypeNames = []string{"", "state", "segment", "drop", "gap", "owner"}
	handshakeNames = []string{"unobserved", "three-way", "simultaneous", "fast-open", "syn-cookie"}
	outcomeNames   = []string{"unobserved", "in-progress", "established", "refused", "timed-out",
		"reset", "unreachable", "aborted"}
	teardownNames = []string{"none", "four-way", "three-segment", "simultaneous", "reset", "timed-out",
		"unobserved"}
	severityNames = []string{"note", "warning", "error"}
)

// Failed: the handshake came to nothing.
func (o HandshakeOutcome) Failed() bool {
	switch o {
	case OutcomeRefused, OutcomeTimedOut, OutcomeReset, OutcomeUnreachable, OutcomeAborted:
		return true
	}
	return false
}

func name[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

func (r Role) String() string             { return name(roleNames, r) }
func (s Side) String() string             { return name(sideNames, s) }
func (d Dir) String() string              { return name(dirNames, d) }
func (s Step) String() string             { return name(stepNames, s) }
func (t EntryType) String() string        { return name(entryTypeNames, t) }
func (k HandshakeKind) String() string    { return name(handshakeNames, k) }
func (o HandshakeOutcome) String() string { return name(outcomeNames, o) }
func (k TeardownKind) String() string     { return name(teardownNames, k) }
func (s Severity) String() string         { return name(severityNames, s) }
