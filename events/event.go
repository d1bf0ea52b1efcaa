// Package events is the vocabulary of tcptrace: what the kernel programs put in
// a ring, seen in place, and the rings themselves. It loads nothing and does no
// I/O: recorded events replay through the same code.
package events

import (
	"bytes"
	"net/netip"
	"strconv"
	"unsafe"

	"tcptrace/gen"
)

// Size of a record in bytes. A ring record of any other size is not ours.
const Size = int(unsafe.Sizeof(gen.BPFEvent{}))

// Event is one record of a ring (bpf/event.h, struct event), read where it
// lies. It is valid only until the next one is read.
type Event struct{ r gen.BPFEvent }

// View is the event that lies in mem, without a copy. It is nil where mem is not
// exactly one record, or of a kind that is not known.
func View(mem []byte) *Event {
	if len(mem) != Size {
		return nil
	}
	e := (*Event)(unsafe.Pointer(unsafe.SliceData(mem)))
	if k := e.Kind(); k < KindState || int(k) >= len(kindNames) {
		return nil
	}
	return e
}

// Bytes are the record itself, not a copy.
func (e *Event) Bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(e)), Size)
}

// Kind says what happened.
type Kind uint8

// The kinds of events, bpf/event.h, enum event_kind.
const (
	KindState       = Kind(gen.BPFEventKindKIND_STATE)
	KindTransmit    = Kind(gen.BPFEventKindKIND_TRANSMIT)
	KindReceive     = Kind(gen.BPFEventKindKIND_RECEIVE)
	KindDrop        = Kind(gen.BPFEventKindKIND_DROP)
	KindOwner       = Kind(gen.BPFEventKindKIND_OWNER)
	KindSnapshot    = Kind(gen.BPFEventKindKIND_SNAPSHOT)
	KindAccept      = Kind(gen.BPFEventKindKIND_ACCEPT)
	KindTimeWaitEnd = Kind(gen.BPFEventKindKIND_TIME_WAIT_END)
	KindReset       = Kind(gen.BPFEventKindKIND_RESET)
	KindICMP        = Kind(gen.BPFEventKindKIND_ICMP)
	// KindConnectError: connect() failed at once.
	KindConnectError = Kind(gen.BPFEventKindKIND_CONNECT_ERROR)
	// KindOverflow: a SYN came to a listener with a full queue.
	KindOverflow = Kind(gen.BPFEventKindKIND_OVERFLOW)
)

var kindNames = [...]string{"", "state", "transmit", "receive", "drop", "owner", "snapshot", "accept", "time-wait-end",
	"reset", "icmp", "connect-error", "overflow"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// OwnerSource says how the owner of a socket is known; greater is stronger.
type OwnerSource uint8

// The sources, bpf/event.h, enum owner_source.
const (
	SourceUnknown  = OwnerSource(gen.BPFOwnerSourceOWNER_UNKNOWN)
	SourceListen   = OwnerSource(gen.BPFOwnerSourceOWNER_LISTEN)
	SourceSnapshot = OwnerSource(gen.BPFOwnerSourceOWNER_SNAPSHOT)
	SourceAccept   = OwnerSource(gen.BPFOwnerSourceOWNER_ACCEPT)
	SourceConnect  = OwnerSource(gen.BPFOwnerSourceOWNER_CONNECT)
	SourceIO       = OwnerSource(gen.BPFOwnerSourceOWNER_IO)
	// SourceInherited is no event's: the process held the socket when its former owner did not any more.
	SourceInherited = SourceIO + 1
)

var sourceNames = [...]string{"unknown", "listen", "snapshot", "accept", "connect", "io", "inherited"}

func (s OwnerSource) String() string {
	if int(s) < len(sourceNames) {
		return sourceNames[s]
	}
	return "source " + strconv.Itoa(int(s))
}

// Notes are facts about an event that are either so or not.
type Notes uint8

// The notes, bpf/event.h, enum event_note.
const (
	NoteOrphan      = Notes(gen.BPFEventNoteNOTE_ORPHAN)
	NoteFINReceived = Notes(gen.BPFEventNoteNOTE_FIN_RECEIVED)
	NoteByProcess   = Notes(gen.BPFEventNoteNOTE_BY_PROCESS)
	NoteSYNCookie   = Notes(gen.BPFEventNoteNOTE_SYN_COOKIE)
	NoteOutbound    = Notes(gen.BPFEventNoteNOTE_OUTBOUND)
	NoteUnconfirmed = Notes(gen.BPFEventNoteNOTE_UNCONFIRMED)
	NoteShared      = Notes(gen.BPFEventNoteNOTE_SHARED)
	NoteLast        = Notes(gen.BPFEventNoteNOTE_LAST)
	NoteUntold      = Notes(gen.BPFEventNoteNOTE_UNTOLD)    // of a drop
	NoteForwarded   = Notes(gen.BPFEventNoteNOTE_FORWARDED) // of a drop
)

// Has reports whether all of want are set.
func (n Notes) Has(want Notes) bool { return n&want == want }

// Comm is a process's name as the kernel keeps it, NUL-padded. A process may put
// any bytes in it: who prints it must clean it first.
type Comm [16]byte

// String is the name as it is, up to its NUL.
func (c Comm) String() string {
	if i := bytes.IndexByte(c[:], 0); i >= 0 {
		return string(c[:i])
	}
	return string(c[:])
}

// Tuple names an endpoint; it is comparable. Addresses are in network byte order, IPv4 in
// its IPv6-mapped form whatever the socket's family; ports in host byte order.
type Tuple struct {
	LocalAddr, RemoteAddr [16]byte
	LocalPort, RemotePort uint16
	// Netns is the inode number of the network namespace.
	Netns uint32
}

// Local is the local address, unmapped.
func (t *Tuple) Local() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.LocalAddr).Unmap(), t.LocalPort)
}

// Remote is the remote address, unmapped.
func (t *Tuple) Remote() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.RemoteAddr).Unmap(), t.RemotePort)
}

// Reverse is the tuple as the other end sees it, were it in the same namespace.
func (t *Tuple) Reverse() Tuple {
	return Tuple{t.RemoteAddr, t.LocalAddr, t.RemotePort, t.LocalPort, t.Netns}
}

// Loss is what found the ring full, of one endpoint.
type Loss struct {
	// Tuple is the endpoint's.
	Tuple Tuple
	// FirstNS is when the first lost record was made, CLOCK_BOOTTIME.
	FirstNS uint64
	// Sock is the address of its struct sock, 0 unknown.
	Sock uint64
	// Records is how many were lost.
	Records uint64
}

// Counters are the socket's own (struct tcp_sock) at the time of the event.
type Counters struct {
	BytesSent          uint64 // payload, retransmissions too
	BytesRetransmitted uint64 // the part of BytesSent that was sent again
	BytesReceived      uint64 // payload, in order, once
	SegmentsOut        uint32 // RFC 4898, SegsOut
	SegmentsIn         uint32 // RFC 4898, SegsIn
	Retransmits        uint32 // segments
	SRTTMicros         uint32 // smoothed round-trip time, 0 unknown
}

// RetransmitKind says what made TCP send a segment again.
type RetransmitKind uint8

// The kinds, bpf/event.h, enum retransmit_kind.
const (
	RetransmitTimeout = RetransmitKind(gen.BPFRetransmitKindRETRANSMIT_TIMEOUT)
	RetransmitFast    = RetransmitKind(gen.BPFRetransmitKindRETRANSMIT_FAST)
	RetransmitProbe   = RetransmitKind(gen.BPFRetransmitKindRETRANSMIT_PROBE)
)

// Ending is what only the change to CLOSE tells of a socket.
type Ending struct {
	// DSACKs are the segments that the other end says it got twice.
	DSACKs uint32
	// Unread is payload in bytes that was received and not read.
	Unread uint32
	// FINTimeoutMS is how long FIN_WAIT2, which it was in, lasts without the peer's FIN, in
	// milliseconds; 0 not known.
	FINTimeoutMS uint32
	// SndNxt is, from another state, the sequence number that would have been sent next; 0 not known.
	SndNxt uint32
	// LingerZero: SO_LINGER was set to 0.
	LingerZero bool
	// FlowKnown: the rest, which is counted in the kernel programs, is known.
	FlowKnown bool
	// RetransmitsBy are the segments sent again, by RetransmitKind.
	RetransmitsBy [3]uint16
	// DropsIn and DropsOut are data segments that this host dropped, and DropReasonIn and
	// DropReasonOut, of the running kernel's enum skb_drop_reason, why the last of them.
	DropsIn, DropsOut, DropReasonIn, DropReasonOut uint16
}

// ICMP is an error message about a segment that was sent.
type ICMP struct {
	// From is who says so, in network byte order, IPv4 in its IPv6-mapped form.
	From [16]byte
	// Seq is the segment's sequence number.
	Seq uint32
	// Type and Code are of ICMP or of ICMPv6, by the connection's family.
	Type, Code uint8
}

// Queues are a listener's.
type Queues struct {
	// Waiting connections are established and not accepted; Backlog is how many may be.
	Waiting, Backlog uint32
	// HalfOpen connections await the third ACK; MaxHalfOpen is net.ipv4.tcp_max_syn_backlog.
	HalfOpen, MaxHalfOpen uint32
}

// CloseCall is by what a process closed its side of a connection.
type CloseCall uint8

// The calls, bpf/event.h, enum close_call.
const (
	CloseUnknown    = CloseCall(gen.BPFCloseCallCLOSE_UNKNOWN)
	CloseClose      = CloseCall(gen.BPFCloseCallCLOSE_CLOSE)
	CloseShutdown   = CloseCall(gen.BPFCloseCallCLOSE_SHUTDOWN)
	CloseExit       = CloseCall(gen.BPFCloseCallCLOSE_EXIT)
	CloseDisconnect = CloseCall(gen.BPFCloseCallCLOSE_DISCONNECT)
	CloseDestroy    = CloseCall(gen.BPFCloseCallCLOSE_DESTROY)
)

var closeCallNames = [...]string{"unknown", "close", "shutdown", "exit", "disconnect", "destroy"}

func (c CloseCall) String() string {
	if int(c) < len(closeCallNames) {
		return closeCallNames[c]
	}
	return "call " + strconv.Itoa(int(c))
}

// Earlier is where a connection stood that was there before the tracer.
type Earlier struct {
	// BytesAcked are those of this side; a client's SYN counts too, and a FIN.
	BytesAcked uint64
	// TimeWait is when TIME_WAIT began, where that is the state: nanoseconds of CLOCK_BOOTTIME, 0 unknown.
	TimeWait uint64
	// SndNxt, SndUna and RcvNxt are sequence numbers, RFC 9293, section 3.3.1. A request sock's
	// are the initial ones plus 1, SndUna 0.
	SndNxt, SndUna, RcvNxt uint32
	// Steady: nothing changed them while they were read.
	Steady bool
	// Scaled: the scales are those in use. SndScale is the shift count of the windows that the
	// other side sends, RcvScale of those that this side sends.
	Scaled             bool
	SndScale, RcvScale uint8
}

func (e *Event) Kind() Kind   { return Kind(e.r.Kind) }
func (e *Event) Notes() Notes { return Notes(e.r.Notes) }

// Time is nanoseconds of CLOCK_BOOTTIME.
func (e *Event) Time() uint64 { return e.r.TimeNs }

// Sock is the address of the struct sock, 0 where none is known. It names a
// socket only while that lives.
func (e *Event) Sock() uint64 { return e.r.Sock }

// Tuple is the endpoint, in place.
func (e *Event) Tuple() *Tuple { return (*Tuple)(unsafe.Pointer(&e.r.Tuple)) }

// OldState and NewState are of KindState; a KindSnapshot has NewState alone. The OldState of a
// KindTimeWaitEnd is TimeWait, or FinWait2 of an orphan.
func (e *Event) OldState() State { return State(e.r.OldState) }
func (e *Event) NewState() State { return State(e.r.NewState) }

// Errno is sk_err at a state change, what connect() returned of KindConnectError; 0 for none.
func (e *Event) Errno() uint16 { return e.r.Error }

// ResetReason is a number of the running kernel's enum sk_rst_reason, 0 unknown: of KindReset,
// and of a RST that KindTransmit tells.
func (e *Event) ResetReason() uint32 {
	switch e.Kind() {
	case KindReset:
		return uint32(e.r.Error)
	case KindTransmit:
		return e.r.Of.Segment.Reason
	}
	return 0
}

// AcceptQueue is how many connections wait for accept(), and the backlog, at a SYN-ACK that
// KindTransmit tells; known is false where the kernel does not say.
func (e *Event) AcceptQueue() (waiting, backlog uint32, known bool) {
	s := &e.r.Of.Segment
	if e.Kind() != KindTransmit || s.QueueMax == 0 {
		return 0, 0, false
	}
	return uint32(s.QueueLen), uint32(s.QueueMax) - 1, true
}

// ICMP is of KindICMP.
func (e *Event) ICMP() ICMP {
	m := (*gen.BPFToldIcmp)(unsafe.Pointer(&e.r.Of))
	return ICMP{From: m.From, Seq: m.Seq, Type: m.Type, Code: m.Code}
}

// Queues are of KindOverflow.
func (e *Event) Queues() Queues {
	q := (*gen.BPFQueues)(unsafe.Pointer(&e.r.Of))
	return Queues{q.AcceptLen, q.Backlog, q.SynLen, q.SynMax}
}

// Ending is of a KindState to CLOSE.
func (e *Event) Ending() Ending {
	c := e.change()
	var finTimeout, sndNxt uint32
	if e.OldState() == FinWait2 {
		finTimeout = c.FinTimeoutOrSndNxt
	} else {
		sndNxt = c.FinTimeoutOrSndNxt
	}
	return Ending{
		DSACKs: uint32(c.Dsacks), Unread: c.Unread, FINTimeoutMS: finTimeout, SndNxt: sndNxt, LingerZero: c.Linger0 != 0,
		FlowKnown: c.FlowKnown != 0, RetransmitsBy: c.RetransmitsBy,
		DropsIn: c.DropsIn, DropsOut: c.DropsOut,
		DropReasonIn: c.DropReasonIn, DropReasonOut: c.DropReasonOut,
	}
}

// PID is the thread group of the process that acted or owns, by the initial pid
// namespace's numbers. 0 where neither Source nor NoteByProcess says otherwise.
func (e *Event) PID() uint32 { return e.r.Pid }
func (e *Event) UID() uint32 { return e.r.Uid }

// ProcessStart is when PID's process started, in units of 10 ms of CLOCK_BOOTTIME, 0 unknown: with
// its PID it names a process for good.
func (e *Event) ProcessStart() uint32 { return e.r.ProcessStart }

// TID is the thread that acted, 0 where none did.
func (e *Event) TID() uint32 { return e.r.Tid }

func (e *Event) CgroupID() uint64    { return e.r.CgroupId }
func (e *Event) Comm() Comm          { return Comm(e.r.Comm) }
func (e *Event) Source() OwnerSource { return OwnerSource(e.r.OwnerSource) }

// PayloadLen is the segment's bytes after the TCP header.
func (e *Event) PayloadLen() uint32 { return e.r.Of.Segment.PayloadLen }

// DropReason is a number of the running kernel's enum skb_drop_reason, 0 unknown.
func (e *Event) DropReason() uint32 { return e.r.Of.Segment.Reason }

// Header is the TCP header, in place. It is never shorter than 20 bytes.
func (e *Event) Header() Header {
	const shortest, longest = 20, len(e.r.Of.Segment.TcpHeader)
	n := min(max(int(e.r.Of.Segment.TcpHeader[12]>>4)*4, shortest), longest)
	return e.r.Of.Segment.TcpHeader[:n]
}

// Counters are of KindState and KindSnapshot.
func (e *Event) Counters() Counters {
	c := e.counters()
	return Counters{
		BytesSent:          c.BytesSent,
		BytesRetransmitted: c.BytesRetransmitted,
		BytesReceived:      c.BytesReceived,
		SegmentsOut:        c.SegmentsOut,
		SegmentsIn:         c.SegmentsIn,
		Retransmits:        c.Retransmits,
		SRTTMicros:         c.SrttUs,
	}
}

// UserPID is the process that read from or wrote to the socket last, 0 for none that was seen. It
// is of a KindState with NoteByProcess, as are the call that closed, and for CloseExit the signal that
// ended the process, 0 if it ended by itself.
func (e *Event) UserPID() uint32      { return e.change().UserPid }
func (e *Event) CloseCall() CloseCall { return CloseCall(e.change().CloseCall) }
func (e *Event) CloseSignal() uint8   { return e.change().CloseSignal }

// Earlier is of KindSnapshot.
func (e *Event) Earlier() Earlier {
	w := (*gen.BPFEarlier)(unsafe.Pointer(&e.r.Of))
	return Earlier{
		BytesAcked: w.BytesAcked,
		TimeWait:   w.TimeWaitNs,
		SndNxt:     w.SndNxt,
		SndUna:     w.SndUna,
		RcvNxt:     w.RcvNxt,
		Steady:     w.Notes&uint8(gen.BPFEarlierNoteEARLIER_STEADY) != 0,
		Scaled:     w.Notes&uint8(gen.BPFEarlierNoteEARLIER_SCALED) != 0,
		SndScale:   w.SndWscale,
		RcvScale:   w.RcvWscale,
	}
}

// counters is the other side of the union, of which Go has only the first.
func (e *Event) counters() *gen.BPFCounters { return (*gen.BPFCounters)(unsafe.Pointer(&e.r.Of)) }

// change is more of it, of KindState.
func (e *Event) change() *gen.BPFChange { return (*gen.BPFChange)(unsafe.Pointer(&e.r.Of)) }

// The Tuple here and the one of the contract must not drift apart, and counters must be inside
// the union: none of these compiles otherwise.
const (
	_ = uint(unsafe.Sizeof(Tuple{}) - unsafe.Sizeof(gen.BPFTuple{}))
	_ = uint(unsafe.Sizeof(gen.BPFTuple{}) - unsafe.Sizeof(Tuple{}))
	_ = uint(unsafe.Sizeof(gen.BPFEvent{}.Of) - unsafe.Sizeof(gen.BPFChange{}))
	_ = uint(unsafe.Sizeof(gen.BPFEvent{}.Of) - unsafe.Sizeof(gen.BPFToldIcmp{}))
	_ = uint(unsafe.Sizeof(gen.BPFEvent{}.Of) - unsafe.Sizeof(gen.BPFQueues{}))
	_ = uint(unsafe.Sizeof(gen.BPFEvent{}.Of) - unsafe.Sizeof(gen.BPFEarlier{}))
)
