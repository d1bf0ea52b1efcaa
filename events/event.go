// Package events is the vocabulary of tcptrace: what the kernel programs put in
// the ring, seen in place, and the ring itself. It loads nothing and does no
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

// Event is one record of the ring (bpf/event.h, struct event), read where it
// lies. It is valid only until the ring's consumer position is committed.
type Event struct{ r gen.BPFEvent }

// View is the event that lies in mem, without a copy. It is nil where mem is not
// exactly one record, or of a kind that is not known.
func View(mem []byte) *Event {
	if len(mem) != Size {
		return nil
	}
	e := (*Event)(unsafe.Pointer(unsafe.SliceData(mem)))
	if k := e.Kind(); k < KindState || k > KindTimeWaitEnd {
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
)

var kindNames = [...]string{"", "state", "transmit", "receive", "drop", "owner", "snapshot", "accept", "time-wait-end"}

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
)

var sourceNames = [...]string{"unknown", "listen", "snapshot", "accept", "connect", "io"}

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

// Errno is sk_err at a state change, 0 for none.
func (e *Event) Errno() uint16 { return e.r.Error }

// PID is the thread group of the process that acted or owns, by the initial pid
// namespace's numbers. 0 where neither Source nor NoteByProcess says otherwise.
func (e *Event) PID() uint32 { return e.r.Pid }
func (e *Event) UID() uint32 { return e.r.Uid }

// ProcessStart is when PID's process started, in units of 10 ms of CLOCK_BOOTTIME, 0 unknown: with
// its PID it names a process for good.
func (e *Event) ProcessStart() uint32 { return e.r.Of.Segment.ProcessStart }

// TID is the thread that acted, 0 where none did.
func (e *Event) TID() uint32 {
	switch e.Kind() {
	case KindState, KindOwner, KindAccept:
		return e.counters().Tid
	}
	return 0
}

func (e *Event) CgroupID() uint64    { return e.r.CgroupId }
func (e *Event) Comm() Comm          { return Comm(e.r.Comm) }
func (e *Event) Source() OwnerSource { return OwnerSource(e.r.OwnerSource) }

// PayloadLen is the segment's bytes after the TCP header.
func (e *Event) PayloadLen() uint32 { return e.r.Of.Segment.PayloadLen }

// DropReason is a number of the running kernel's enum skb_drop_reason, 0 unknown.
func (e *Event) DropReason() uint32 { return e.r.Of.Segment.DropReason }

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

// counters is the other side of the union, of which Go has only the first.
func (e *Event) counters() *gen.BPFCounters { return (*gen.BPFCounters)(unsafe.Pointer(&e.r.Of)) }

// The Tuple here and the one of the contract must not drift apart, and counters must be inside
// the union: none of these compiles otherwise.
const (
	_ = uint(unsafe.Sizeof(Tuple{}) - unsafe.Sizeof(gen.BPFTuple{}))
	_ = uint(unsafe.Sizeof(gen.BPFTuple{}) - unsafe.Sizeof(Tuple{}))
	_ = uint(unsafe.Offsetof(gen.BPFEvent{}.Of.Segment.ProcessStart) - unsafe.Sizeof(gen.BPFCounters{}))
)
