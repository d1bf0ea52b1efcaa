package timeline

import (
	"net/netip"
	"slices"

	"tcptrace/events"
)

// Queue is how full a listener's queue of connections that wait for accept() is.
type Queue struct {
	// Waiting may be Backlog+1: the kernel takes one more than listen() asked for.
	Waiting, Backlog uint32
}

// Full reports whether the kernel takes no more.
func (q Queue) Full() bool { return q.Waiting > q.Backlog }

// connectFailed is connect() that returned an error at once: after SYN_SENT, without a SYN, or before it.
func (a *Assembler) connectFailed(e *events.Event) {
	t := a.failed[e.Sock()]
	delete(a.failed, e.Sock())
	if t != nil && t.Remote == e.Tuple().Remote() {
		t.track.errno = e.Errno()
		return
	}
	t = a.open(e, e.Time())
	t.Role, t.State = RoleClient, events.Close
	t.track.errno = e.Errno()
	a.connects(t, e)
	a.close(t, e.Time())
}

// mayHaveFailed: the socket went from SYN_SENT to CLOSE without a SYN and an error of its own; what
// connect() returned may follow.
func (a *Assembler) mayHaveFailed(t *Timeline, e *events.Event) {
	sent := slices.ContainsFunc(t.Entries, func(e Entry) bool { return e.Type != EntryState })
	if e.OldState() == events.SynSent && !sent && e.Errno() == 0 {
		t.track.failedSock = e.Sock()
		a.failed[e.Sock()] = t
	}
}

// icmp takes an ICMP error that came.
func (a *Assembler) icmp(e *events.Event) {
	t := a.find(e)
	if t == nil {
		return
	}
	m := e.ICMP()
	t.ICMP = Some(ICMPError{From: netip.AddrFrom16(m.From).Unmap(), Type: m.Type, Code: m.Code})
}

// overflow takes a SYN that a full queue may have cost. Whether it did, the answer shows.
func (a *Assembler) overflow(e *events.Event) {
	t := a.find(e)
	if t == nil {
		return
	}
	a.listens(t, e)
	h := &t.Handshake
	t.track.queuesBefore, t.track.overflowed = h.Queues, true
	h.Overflows++
	h.Queues = Some(e.Queues())
}

// granted: the SYN that found a queue full is answered as if it had not. Where as many connections are half open as the backlog
// says, newer kernels take one more (an empty queue with a backlog of 0), and accept() may just have made room.
func (t *Timeline) granted() {
	if !t.track.overflowed {
		return
	}
	t.track.overflowed = false
	if h := &t.Handshake; !t.track.cookie {
		h.Overflows--
		h.Queues = t.track.queuesBefore
	}
}

// synACKSent notes how full the listener's queue is at a SYN-ACK.
func (t *Timeline) synACKSent(e *events.Event) {
	t.track.cookie = t.track.cookie || e.Notes().Has(events.NoteSYNCookie)
	t.granted()
	waiting, backlog, known := e.AcceptQueue()
	if !known {
		return
	}
	q := Queue{waiting, backlog}
	// The fullest counts.
	if h := &t.Handshake; !h.AcceptQueue.Known || q.Waiting > h.AcceptQueue.Value.Waiting {
		h.AcceptQueue = Some(q)
	}
}
