package timeline

import (
	"bytes"

	"tcptrace/events"
)

// This file says of a timeline what programs that read captures would say of a
// capture taken at this end: Zeek's conn_state and history (docs.zeek.org, conn.log)
// and Wireshark's tcp.completeness. A segment that this host dropped on its
// way out is in no such capture; one dropped on its way in is.

// Completeness is Wireshark's tcp.completeness, a sum of bits.
type Completeness uint8

// The bits, as Wireshark numbers them.
const (
	CompleteSYN Completeness = 1 << iota
	CompleteSYNACK
	CompleteACK
	CompleteData
	CompleteFIN
	CompleteRST
)

// captured reports whether a capture at this end has the entry.
func (e *Entry) captured() bool {
	return e.Type == EntrySegment || e.Type == EntryDrop && e.Dir == Rx
}

// concludeCapture fills in ConnState, History and Completeness.
func (t *Timeline) concludeCapture() {
	originator := t.originator()
	if originator == 0 {
		return // nothing was seen that a capture would hold
	}
	z := zeek{history: t.History[:0]}
	hidden := t.hiddenData()
	if t.refusedData() {
		hidden[Rx] = true
		t.Completeness |= CompleteData
	}
	ended := t.finalReset()
	for i := range t.Entries {
		e := &t.Entries[i]
		if !e.captured() {
			continue
		}
		for end, dir := range [2]Dir{originator, Tx + Rx - originator} {
			if hidden[dir] && (i == ended || e.shows(dir)) {
				hidden[dir] = false
				z.once(end, 'D')
			}
		}
		end := 0
		if e.Dir != originator {
			end = responder
		}
		z.segment(end, e)
		t.Completeness |= completenessOf(e)
	}
	for end, dir := range [2]Dir{originator, Tx + Rx - originator} {
		if hidden[dir] {
			z.once(end, 'D')
		}
	}
	bytes := t.Traffic.TxBytes.Value + t.Traffic.RxBytes.Value
	if bytes > 0 && t.Handshake.Outcome == OutcomeEstablished {
		t.Completeness |= CompleteData
	}
	if t.Local == t.Remote {
		return // connected to itself: Zeek has no way to tell its two ends apart
	}
	t.History = z.history
	t.ConnState = z.connState(bytes == 0)
}

// hiddenData tells for each direction whether there was data that no entry shows: data
// segments are entries only with --segments all. The counters of a socket that was there
// before count what no capture would hold.
func (t *Timeline) hiddenData() (hidden [Rx + 1]bool) {
	if t.Handshake.Outcome != OutcomeEstablished {
		return hidden
	}
	var shown [Rx + 1]uint64
	for i := range t.Entries {
		if e := &t.Entries[i]; e.captured() && !e.Retransmit {
			shown[e.Dir] += uint64(e.Len)
		}
	}
	hidden[Tx] = t.Traffic.TxBytes.Value > shown[Tx]
	hidden[Rx] = t.Traffic.RxBytes.Value > shown[Rx]
	return hidden
}

// refusedData: data came that no application could read any more, and was answered by an RST. The socket counts none of it.
func (t *Timeline) refusedData() bool {
	return t.Teardown.ResetCause == ResetAfterClose && !t.track.remote.finSent
}

// finalReset is the place of the first RST after which nothing else came or went; -1 where there is none. All data were before it.
func (t *Timeline) finalReset() int {
	at := -1
	for i := range t.Entries {
		switch e := &t.Entries[i]; {
		case !e.captured():
		case e.Step != StepRST:
			at = -1
		case at < 0:
			at = i
		}
	}
	return at
}

// shows reports whether the segment's numbers show that data had been sent in the direction before.
func (e *Entry) shows(data Dir) bool {
	number := e.AckRel
	if e.Dir == data {
		number = e.SeqRel
	}
	return number.Known && number.Value > 1 && !e.Flags.Has(events.SYN)
}

// originator is the direction in which the first SYN's sender sends, as this end sees
// it; where no SYN was seen, the first segment's. 0 where there was none.
func (t *Timeline) originator() Dir {
	first := Dir(0)
	for i := range t.Entries {
		if e := &t.Entries[i]; e.captured() {
			if first == 0 {
				first = e.Dir
			}
			if e.Step == StepSYN {
				return e.Dir
			}
		}
	}
	switch {
	case first == 0:
	case t.Role == RoleClient:
		return Tx
	case t.Role == RoleServer:
		return Rx
	}
	return first
}

// completenessOf is what a segment adds. Wireshark takes any segment with the ACK flag
// that neither is a SYN-ACK nor carries data for the ACK, be it a FIN or a RST.
func completenessOf(e *Entry) (c Completeness) {
	switch e.Flags & (events.SYN | events.ACK) {
	case events.SYN:
		c |= CompleteSYN
	case events.SYN | events.ACK:
		c |= CompleteSYNACK
	case events.ACK:
		if e.Len == 0 {
			c |= CompleteACK
		}
	}
	if e.Len > 0 {
		c |= CompleteData
	}
	if e.Flags.Has(events.FIN) {
		c |= CompleteFIN
	}
	if e.Flags.Has(events.RST) {
		c |= CompleteRST
	}
	return c
}

// zeek is what Zeek remembers of a connection: of the originator and the responder
// each a state and what the history has of it.
type zeek struct {
	history []byte
	ends    [2]zeekEnd
}

// responder is the place of the responder in zeek.ends.
const responder = 1

type zeekEnd struct {
	state, before             zeekState
	lastSYN, lastFIN, lastRST uint32
	zeroWindows, dataRepeats  int
	hasSYN, hasFIN, hasRST    bool
	letters                   uint32 // those of which there is at most one, bit 0 is A
}

type zeekState uint8

const (
	zeekInactive zeekState = iota
	zeekSYNSent
	zeekSYNACKSent
	zeekPartial
	zeekEstablished
	zeekClosed
	zeekReset
)

func (e *zeekEnd) to(s zeekState) { e.before, e.state = e.state, s }

// letter appends a letter, the originator's as it is, the responder's small.
func (z *zeek) letter(end int, c byte) {
	if end == responder {
		c += 'a' - 'A'
	}
	z.history = append(z.history, c)
}

// once appends a letter of which each side has at most one.
func (z *zeek) once(end int, c byte) {
	if bit := uint32(1) << (c - 'A'); z.ends[end].letters&bit == 0 {
		z.ends[end].letters |= bit
		z.letter(end, c)
	}
}

// again appends a letter that is repeated where the sequence number differs from the last one's.
func (z *zeek) again(end int, c byte, has *bool, last *uint32, seq uint32) {
	if !*has || *last != seq {
		z.letter(end, c)
	}
	*has, *last = true, seq
}

// rarely appends a letter the first, the 10th, the 100th … time.
func (z *zeek) rarely(end int, c byte, n *int) {
	*n++
	power := 1
	for power < *n {
		power *= 10
	}
	if power == *n {
		z.letter(end, c)
	}
}

func (z *zeek) segment(end int, e *Entry) {
	own, peer := &z.ends[end], &z.ends[1-end]
	switch f := e.Flags & (events.SYN | events.FIN | events.RST); f {
	case 0:
		if e.Len > 0 {
			z.once(end, 'D')
		} else if e.Flags.Has(events.ACK) {
			z.once(end, 'A')
		}
	case events.SYN:
		c := byte('S')
		if e.Flags.Has(events.ACK) {
			c = 'H'
		}
		z.again(end, c, &own.hasSYN, &own.lastSYN, e.Seq)
	case events.FIN:
		z.again(end, 'F', &own.hasFIN, &own.lastFIN, e.Seq+e.Len)
	case events.RST:
		z.again(end, 'R', &own.hasRST, &own.lastRST, e.Seq)
	default:
		if f.Has(events.FIN | events.RST) {
			z.once(end, 'I')
		} else {
			z.once(end, 'Q')
		}
	}
	if e.Window == 0 && !e.Flags.Has(events.RST) && peer.state != zeekClosed && own.state != zeekReset {
		z.rarely(end, 'W', &own.zeroWindows)
	}
	if e.Retransmit && e.Len > 0 && e.Flags&events.SYN == 0 && own.state != zeekReset {
		z.rarely(end, 'T', &own.dataRepeats)
	}
	z.advance(end, e)
}

// advance takes Zeek's states on by a segment.
func (z *zeek) advance(end int, e *Entry) {
	own, peer := &z.ends[end], &z.ends[1-end]
	syn, ack := e.Flags.Has(events.SYN), e.Flags.Has(events.ACK)
	fin, rst := e.Flags.Has(events.FIN), e.Flags.Has(events.RST)
	switch own.state {
	case zeekInactive:
		switch {
		case rst:
			own.to(zeekReset)
		case fin:
			own.to(zeekClosed)
		case syn && end == responder:
			if peer.state == zeekSYNSent {
				peer.to(zeekEstablished)
			}
			own.to(zeekEstablished)
		case syn && ack:
			own.to(zeekSYNACKSent)
		case syn:
			own.to(zeekSYNSent)
		case end == responder && e.Len == 0 && peer.state == zeekSYNSent:
			// A pure ACK before the SYN-ACK says nothing yet.
		case ack && peer.state == zeekEstablished:
			own.to(zeekEstablished)
		default:
			own.to(zeekPartial)
		}
	case zeekSYNSent, zeekSYNACKSent:
		if fin {
			own.to(zeekClosed)
		}
		if rst {
			own.to(zeekReset)
		}
	case zeekEstablished, zeekPartial:
		switch {
		case rst:
			own.to(zeekReset)
		case fin:
			own.to(zeekClosed)
			if peer.state == zeekReset && peer.before == zeekClosed {
				peer.to(zeekClosed) // FIN, then RST: an orderly close after all
			}
		case syn && !ack && own.state == zeekPartial && peer.state == zeekInactive:
			own.to(zeekSYNSent)
		}
	case zeekClosed:
		if rst && peer.state != zeekClosed {
			own.to(zeekReset)
		}
	}
}

// connState is Zeek's conn_state.
func (z *zeek) connState(empty bool) ConnState {
	o, r := z.ends[0].state, z.ends[responder].state
	oInactive := o == zeekInactive || o == zeekPartial
	rInactive := r == zeekInactive || r == zeekPartial
	switch {
	case r == zeekReset && (o == zeekSYNSent || o == zeekSYNACKSent || o == zeekReset && empty):
		return ConnREJ
	case r == zeekReset && oInactive:
		return ConnRSTRH
	case r == zeekReset:
		return ConnRSTR
	case o == zeekReset && rInactive && z.resetInSYNSent():
		return ConnRSTOS0
	case o == zeekReset && rInactive:
		return ConnOTH
	case o == zeekReset:
		return ConnRSTO
	case o == zeekClosed && r == zeekClosed:
		return ConnSF
	case o == zeekClosed && rInactive:
		return ConnSH
	case o == zeekClosed:
		return ConnS2
	case r == zeekClosed && oInactive:
		return ConnSHR
	case r == zeekClosed:
		return ConnS3
	case o == zeekSYNSent && r == zeekInactive:
		return ConnS0
	case o == zeekEstablished && r == zeekEstablished:
		return ConnS1
	}
	return ConnOTH
}

// resetInSYNSent: the originator's SYN was followed by its RST, and by nothing between
// that would have taken it further.
func (z *zeek) resetInSYNSent() bool {
	before, _, found := bytes.Cut(z.history, []byte{'R'})
	return found && bytes.HasPrefix(before, []byte{'S'}) && !bytes.ContainsAny(before, "HAFGIQ")
}

// ConnState is Zeek's summary of how a connection was opened and closed.
type ConnState uint8

// The states, by Zeek's names.
const (
	ConnUnknown ConnState = iota // no segment was seen
	ConnS0
	ConnS1
	ConnSF
	ConnREJ
	ConnS2
	ConnS3
	ConnRSTO
	ConnRSTR
	ConnRSTOS0
	ConnRSTRH
	ConnSH
	ConnSHR
	ConnOTH
)

var connStateNames = []string{"", "S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"}

func (s ConnState) String() string { return name(connStateNames, s) }
