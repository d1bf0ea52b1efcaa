package timeline

import (
	"golang.org/x/sys/unix"

	"tcptrace/events"
)

// conclude derives from the entries what they add up to.
func (t *Timeline) conclude() {
	s := t.summarize()
	t.concludeRole(&s)
	t.concludeHandshake(&s)
	t.concludeTeardown(&s)
	t.Teardown.ResetCause = t.inferReset(&s)
	t.concludeNegotiation(&s)
	t.concludeTraffic(&s)
	t.concludeCapture()
}

// summary is one walk over the entries: where each part of the connection's
// life is to be found. nil where it was not seen.
type summary struct {
	synTx, synRx                          *Entry // first SYN without ACK
	synackTx, synackRx                    *Entry
	ack                                   *Entry // third ACK
	finTx, finRx                          *Entry // first
	rst                                   *Entry // first
	timeWait, closed, established         *Entry
	synRepeats, synackRepeats, finRepeats uint32
	synackTxN, synRxN                     uint64
}

func first(at **Entry, e *Entry) {
	if *at == nil {
		*at = e
	}
}

func (t *Timeline) summarize() (s summary) {
	for i := range t.Entries {
		e := &t.Entries[i]
		switch {
		case e.Type == EntryState:
			switch e.To {
			case events.TimeWait:
				first(&s.timeWait, e)
			case events.Close:
				s.closed = e
			case events.Established:
				first(&s.established, e)
			}
			continue
		case e.Type == EntryGap, e.Type == EntryOwner:
			continue
		case e.Type == EntryDrop && e.Dir == Rx && e.Step != StepSYN:
			continue // TCP never got it; a dropped SYN all the same says who wanted what
		}
		s.step(e)
	}
	s.rst = t.EndingReset()
	return s
}

func (s *summary) step(e *Entry) {
	tx := e.Dir == Tx
	pick := func(forTx, forRx **Entry) **Entry {
		if tx {
			return forTx
		}
		return forRx
	}
	switch e.Step {
	case StepSYN:
		first(pick(&s.synTx, &s.synRx), e)
		if e.Retransmit {
			s.synRepeats++
		}
		if !tx && e.Type == EntrySegment {
			s.synRxN++
		}
	case StepSYNACK:
		first(pick(&s.synackTx, &s.synackRx), e)
		if e.Retransmit {
			s.synackRepeats++
		}
		if tx {
			s.synackTxN++
		}
	case StepACK:
		// Of several the one that completed it: the kernel ignores an ACK while the queue for accept() is full.
		if s.established == nil || s.ack == nil {
			s.ack = e
		}
	case StepFIN:
		if !tx && s.established == nil && s.synackTx != nil {
			first(&s.ack, e) // the third ACK was lost: the FIN acknowledges the SYN-ACK
		}
		first(pick(&s.finTx, &s.finRx), e)
		if e.Retransmit {
			s.finRepeats++
		}
	}
}

func (t *Timeline) concludeRole(s *summary) {
	switch {
	case s.synTx != nil && s.synRx != nil:
		t.Role = RoleSimultaneous
	case s.synTx != nil || s.synackRx != nil:
		t.Role = RoleClient
	case s.synRx != nil || s.synackTx != nil:
		t.Role = RoleServer
	}
}

func (t *Timeline) concludeHandshake(s *summary) {
	h := &t.Handshake
	h.SYNRetransmits, h.SYNACKRetransmits = s.synRepeats, s.synackRepeats
	t.track.local.conclude(&h.LocalISN, &h.LocalOptions)
	t.track.remote.conclude(&h.RemoteISN, &h.RemoteOptions)

	begun := s.synTx != nil || s.synRx != nil || s.synackTx != nil || s.synackRx != nil
	switch {
	case t.Role == RoleSimultaneous:
		h.Kind = HandshakeSimultaneous
		if s.established != nil {
			h.DurationNS = since(s.synTx, s.established)
		}
	case t.track.cookie:
		h.Kind = HandshakeSYNCookie
	case begun && s.usedFastOpen():
		h.Kind = HandshakeFastOpen
	case begun || t.Role == RoleClient && !t.track.earlier:
		h.Kind = HandshakeThreeWay
	}
	switch t.Role {
	case RoleClient:
		h.DurationNS = since(s.synTx, s.synackRx)
	case RoleServer:
		if s.ack != nil && s.ack.Dir == Rx {
			h.DurationNS = since(s.synRx, s.ack)
			if t.track.acceptedAt != 0 && s.ack != nil && t.track.acceptedAt >= s.ack.Time {
				h.AcceptWaitNS = Some(t.track.acceptedAt - s.ack.Time)
			}
		}
	}
	h.Outcome = t.outcome(s, begun)
	if h.Outcome != OutcomeEstablished && h.Outcome != OutcomeUnobserved {
		h.Errno = t.track.errno
	} else {
		t.Teardown.Errno = t.track.errno
	}
}

func (h *half) conclude(isn *Maybe[uint32], options *Maybe[events.Options]) {
	if h.isnKnown {
		*isn = Some(h.isn)
	}
	if h.synAt != 0 {
		*options = Some(h.offered)
	}
}

// since is how long it was from one entry to a later one, where both were seen.
func since(from, to *Entry) Maybe[uint64] {
	if from == nil || to == nil || to.Time < from.Time {
		return Maybe[uint64]{}
	}
	return Some(to.Time - from.Time)
}

func (t *Timeline) outcome(s *summary, begun bool) HandshakeOutcome {
	switch {
	case t.track.established:
		if !begun {
			return OutcomeUnobserved
		}
		return OutcomeEstablished
	case !begun && (t.Role != RoleClient || t.track.earlier):
		return OutcomeUnobserved
	case !t.End.Known:
		return OutcomeInProgress
	}
	switch unix.Errno(t.track.errno) {
	case unix.ECONNREFUSED:
		return OutcomeRefused
	case unix.ECONNRESET:
		return OutcomeReset
	case unix.ETIMEDOUT:
		return OutcomeTimedOut
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.ENONET,
		unix.EACCES, unix.EPROTO, unix.ENOPROTOOPT, unix.EMSGSIZE:
		return OutcomeUnreachable // what ICMP errors turn into (icmp_err_convert)
	}
	switch {
	case t.track.timedOut:
		return OutcomeTimedOut
	case t.Role == RoleServer && s.rst != nil && s.rst.Dir == Tx && s.synackTx == nil:
		return OutcomeRefused
	case s.rst != nil && s.rst.Dir == Rx:
		return OutcomeReset
	}
	return OutcomeAborted
}

func (t *Timeline) concludeTeardown(s *summary) {
	d := &t.Teardown
	d.FINRetransmits = s.finRepeats
	established := t.track.established || t.Handshake.Outcome == OutcomeUnobserved
	opening := s.finTx
	closing := s.finRx
	if opening == nil || closing != nil && closing.Time < opening.Time {
		opening, closing = closing, opening
	}

	over := s.timeWait
	if over == nil {
		over = s.closed
	}
	properly := s.timeWait != nil || over != nil && over.From == events.LastAck && t.track.errno == 0 && !t.givenUp(s)
	begin := opening
	switch {
	case !established && opening == nil:
		d.Kind = TeardownNone
		t.concludeFailure(s)
		return
	case over == nil:
		d.Kind = TeardownNone // still open
	case s.rst != nil && !properly:
		d.Kind = TeardownReset
		if begin == nil || s.rst.Time < begin.Time {
			begin = s.rst
		}
	case t.gaveUp(over):
		d.Kind = TeardownTimedOut
	case t.track.visitedClosing:
		d.Kind = TeardownSimultaneous
	case closing == nil, unix.Errno(t.track.errno) == unix.ECONNABORTED: // ss -K sends no RST in LAST_ACK
		d.Kind = TeardownUnobserved
	case closing.FINACK:
		d.Kind = TeardownThreeSegment
	default:
		d.Kind = TeardownFourWay
	}
	if d.ResetBy == SideRemote && !t.isExplained() {
		d.ResetReason = 0
	}
	if d.Kind != TeardownReset && properly {
		d.ResetBy = SideUnknown // it came too late to end anything, or was ignored
	}
	d.DurationNS = since(begin, over)
	d.HalfClosedNS = since(opening, closing)
	t.concludeCloser(begin)
}

// givenUp: in LAST_ACK this end sent a RST instead of waiting for the ACK of its FIN: close() found data unread after shutdown().
func (t *Timeline) givenUp(s *summary) bool {
	return s.rst != nil && s.rst.Dir == Tx && t.track.local.unanswered()
}

// gaveUp: the kernel gave up on the other side. The error is ETIMEDOUT, or what an ICMP message had said of a segment meanwhile
// (tcp_write_err()). One that the application asked for (IP_RECVERR) may also be pending when the connection is closed in order.
func (t *Timeline) gaveUp(over *Entry) bool {
	k := &t.track
	switch unix.Errno(k.errno) {
	case unix.ETIMEDOUT:
		return true
	case 0, unix.ECONNRESET, unix.EPIPE, unix.ECONNABORTED:
		return k.orphanExpired
	}
	switch over.From {
	case events.Established, events.CloseWait, events.FinWait1:
		return over.To == events.Close
	case events.LastAck, events.Closing:
		return over.To == events.Close && k.local.unanswered()
	}
	return k.orphanExpired
}

func (t *Timeline) concludeCloser(begin *Entry) {
	d, c := &t.Teardown, &t.ClosedBy
	switch {
	case d.Kind == TeardownTimedOut:
		c.Side = SideKernel
	case t.track.visitedClosing:
		c.Side, d.Initiator = SideBoth, SideBoth
		return
	}
	if begin == nil {
		switch {
		case c.Side == SideKernel:
			*c = Closer{Side: SideKernel}
		case t.track.aborted:
			c.Side, d.Initiator = SideLocal, SideLocal
		case c.PID != 0:
			c.Side = SideLocal // its FIN waits behind data that the other end does not take
		}
		return
	}
	d.Initiator = SideLocal
	if begin.Dir == Rx {
		d.Initiator = SideRemote
	}
	if c.Side == SideUnknown {
		c.Side = d.Initiator
	}
	if c.Side != SideLocal {
		*c = Closer{Side: c.Side}
	}
}

// concludeFailure says who ended a handshake that came to nothing.
func (t *Timeline) concludeFailure(s *summary) {
	c := &t.ClosedBy
	switch t.Handshake.Outcome {
	case OutcomeAborted:
		c.Side = SideLocal
	case OutcomeTimedOut, OutcomeUnreachable:
		*c = Closer{Side: SideKernel}
	case OutcomeRefused, OutcomeReset:
		*c = Closer{Side: SideRemote}
		if t.Role == RoleServer && t.Handshake.Outcome == OutcomeRefused {
			c.Side = SideKernel // nobody listens: the kernel itself refused
		}
	}
}

func (t *Timeline) concludeTraffic(s *summary) {
	k := &t.track
	if !k.countersKnown {
		return
	}
	c := &k.counters
	rx := c.BytesReceived
	if k.finCounted && rx > 0 {
		rx-- // the kernel counts the FIN's sequence number as a byte
	}
	// The child of a listener counts from its birth: its SYN-ACKs were a request sock's,
	// of its SYNs it knows one.
	var early, repeated uint64
	if t.Role == RoleServer {
		early = s.synackTxN
		if s.synRxN > 0 {
			repeated = s.synRxN - 1
		}
	}
	t.Traffic = Traffic{
		TxBytes:     Some(k.bytesSent()),
		RxBytes:     Some(rx),
		TxSegments:  Some(uint64(c.SegmentsOut) + early + k.extraTx),
		RxSegments:  Some(uint64(c.SegmentsIn) + repeated + k.extraRx),
		Retransmits: Some(uint64(c.Retransmits)),
	}
	if k.countersFinal {
		t.Traffic.concludeEnding(&k.ending)
	}
	if c.SRTTMicros > 0 {
		t.Traffic.SRTTNS = Some(uint64(c.SRTTMicros) * 1000)
	}
}

// bytesSent is the payload that was sent, each byte once. The kernel counts what its own host dropped (a full queue of a
// device, a firewall) as sent, and again when it goes again, which it does not call a retransmission. The sequence number at
// which the connection stood at its end shows how much there was, up to 4 GiB; or that of its FIN.
func (k *tracking) bytesSent() uint64 {
	sent := k.counters.BytesSent - min(k.counters.BytesSent, k.counters.BytesRetransmitted)
	end, known := k.ending.SndNxt, k.ending.SndNxt != 0
	if k.local.finSent && (!known || end == k.local.finEnd) {
		end, known = k.local.finEnd-1, true
	}
	if known && k.local.isnKnown && k.countersFinal {
		if more := uint64(uint32(sent) - (end - k.local.isn - 1)); more <= sent && more < 1<<31 {
			sent -= more
		}
	}
	return sent
}
