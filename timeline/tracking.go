package timeline

import "tcptrace/events"

// tracking is what the state machine remembers of a timeline between events.
type tracking struct {
	live, half links
	turn       uint32
	due        uint64 // when the queue it is in gives it up
	giveUp     uint64 // when a half-open server side is thought to have ended; 0 never

	sock            uint64 // address of its struct sock, 0 none
	tuple, alias    events.Tuple
	meetKey         events.Tuple // where it waits for its peer
	bound, hasAlias bool
	waits           bool
	server          bool // its SYN came in
	unconfirmed     bool // by SYNs that nothing here has reacted to: perhaps not of this host
	withheld        bool // by an RST that no known endpoint sent or received: whose it is shows soon
	cookie          bool
	overflowed      bool // its last SYN found a queue of the listener full, and has no answer yet
	established     bool
	visitedClosing  bool
	timedOut        bool
	aborted         bool // CLOSE by a process, without a FIN
	orphaned        bool // no process held the socket any more at CLOSE

	// queuesBefore are Handshake.Queues without that SYN.
	queuesBefore Maybe[events.Queues]

	local, remote half
	// peer is the other end's timeline, while that has the ID PeerID: memory is used again.
	peer *Timeline
	// peerElsewhere: that end is in another network namespace.
	peerElsewhere bool

	// explained is the RST of the other end that Teardown.ResetReason is for.
	explained Maybe[resetID]

	doubtfulReset uint64 // when a RST came to it while half open that it may not believe, 0 none since its last SYN-ACK

	acceptedAt uint64 // when accept() took it, 0 not known
	// holder is a process that held the socket at the end, ownerHolds that the owner did.
	holder     Process
	ownerHolds bool
	earlier    bool // it was there before the tracer

	timeWaitStart, timeWaitEnd uint64
	vanished                   bool // the kernel ended its TIME_WAIT before its time
	orphanFinWait2             bool
	orphanFINAt                uint64 // when the peer's FIN came to it, 0 not yet
	orphanExpired              bool
	errno                      uint16 // sk_err at CLOSE, or what connect() returned
	failedSock                 uint64 // its place in Assembler.failed, 0 none

	counters      events.Counters
	countersKnown bool
	sampled       bool // counters are a snapshot's
	ending        events.Ending
	finCounted    bool // the FIN is in Counters.BytesReceived
	countersFinal bool // later segments are not in the counters
	extraTx       uint64
	extraRx       uint64

	// replacesID is the connection in TIME_WAIT whose tuple this SYN asks for; 0 once that is
	// settled. replaces is its timeline while that has this ID: memory is used again.
	replacesID uint64
	replaces   *Timeline
}

func (t *Timeline) currentTurn() uint32 { return t.track.turn }

// half is what one side has sent.
type half struct {
	isn      uint32
	isnKnown bool
	// offered are the options of its SYN or SYN-ACK.
	offered events.Options
	// scale is the shift count of its windows, 0 unless both sides offered one.
	scale      uint8
	scaleKnown bool
	synAt      uint64
	synFlags   events.Flags // SYN, or SYN and ACK: which of them it sent last
	synAgain   bool         // and more than once
	prevSYN    uint64       // the SYN or SYN-ACK before the last
	lastSYN    uint64

	// owesACK: the other side's SYN-ACK came; the next ACK completes the handshake.
	owesACK bool

	finEnd     uint32 // sequence number after its FIN
	finSent    bool   // a FIN was sent
	finArrived bool   // and nothing shows that it was dropped
	finAcked   bool   // the other side has acknowledged it since it last arrived

	next      uint32 // highest sequence number sent, plus 1
	nextKnown bool
}

// unanswered: its FIN was not acknowledged.
func (h *half) unanswered() bool { return h.finSent && !h.finAcked }

func (t *Timeline) side(d Dir) (from, to *half) {
	if d == Tx {
		return &t.track.local, &t.track.remote
	}
	return &t.track.remote, &t.track.local
}

// reached reports a >= b in sequence space (RFC 9293, section 3.4).
func reached(a, b uint32) bool { return int32(a-b) >= 0 }

func (t *Timeline) setCounters(e *events.Event) {
	t.track.counters = e.Counters()
	t.track.countersKnown, t.track.sampled = true, false
	t.track.finCounted = e.Notes().Has(events.NoteFINReceived)
}
