package finding

import (
	"fmt"

	"tcptrace/timeline"
)

// overflow tells of a listener that had no room for the connection.
func (f *Finder) overflow() {
	h, s := &f.t.Handshake, &f.s
	if f.t.Role != timeline.RoleServer {
		return
	}
	if h.Overflows > 0 {
		q := h.Queues.Value
		of := fmt.Sprintf("of %s, %s", f.t.Local, f.process())
		if q.Waiting > q.Backlog {
			f.add("accept-queue-full", "%s came when the accept queue %s, was full: %s waited for accept(), its backlog is %d.%s",
				count(uint64(h.Overflows), "SYN"), of, count(uint64(q.Waiting), "connection"), q.Backlog, f.unansweredSYN())
		} else if h.Kind == timeline.HandshakeSYNCookie || s.synack[tx].n == 0 || s.syn[rx].repeats > 0 {
			f.add("syn-queue-full", "%s came when the SYN queue %s, was full: %s half-open, with a backlog of %d and net.ipv4.tcp_max_syn_backlog at %d.%s",
				count(uint64(h.Overflows), "SYN"), of, count(uint64(q.HalfOpen), "connection")+plural(int(q.HalfOpen), " was", " were"), q.Backlog, q.MaxHalfOpen, f.unansweredSYN())
		}
		return
	}
	if !h.AcceptQueue.Known {
		return
	}
	q := h.AcceptQueue.Value
	switch {
	case q.Full() && s.synack[tx].repeats > 0:
		f.add("accept-queue-full", "The SYN-ACK was sent again while the accept queue of %s, %s, was full: %s waited for accept(), its backlog is %d. The kernel ignores the third ACK then.",
			f.t.Local, f.process(), count(uint64(q.Waiting), "connection"), q.Backlog)
	case q.Waiting >= q.Backlog && s.syn[rx].repeats > 0 && s.syn[rx].drops == 0 && f.answeredLate():
		f.add("accept-queue-full", "%s got no answer, and when one did, %s waited for accept() on %s, %s, whose backlog is %d: the queue was full before (inferred).",
			count(uint64(s.syn[rx].n-1), "SYN"), count(uint64(q.Waiting), "connection"), f.t.Local, f.process(), q.Backlog)
	}
}

// unansweredSYN says what became of a SYN that found a full queue.
func (f *Finder) unansweredSYN() string {
	switch {
	case f.t.Handshake.Kind == timeline.HandshakeSYNCookie:
		return " It was answered with a SYN cookie."
	case f.s.synack[tx].n == 0:
		return " It was not answered."
	}
	return ""
}

// answeredLate reports whether a SYN came again before the first SYN-ACK went.
func (f *Finder) answeredLate() bool {
	for i := range f.t.Entries {
		switch e := &f.t.Entries[i]; {
		case e.Step == timeline.StepSYNACK:
			return false
		case e.Step == timeline.StepSYN && e.Retransmit:
			return true
		}
	}
	return false
}

// notBegun tells of connect() that failed before it was in SYN_SENT.
func (f *Finder) notBegun() {
	h := &f.t.Handshake
	if h.Outcome == timeline.OutcomeUnreachable {
		f.add("connect-unreachable", "%s could not be reached%s: connect() failed at once, as no route leads there, or one forbids it.", f.t.Remote, errno(h.Errno))
		return
	}
	f.add("connect-failed-here", "connect() to %s failed at once%s, before a SYN was thought of.", f.t.Remote, errno(h.Errno))
}

// icmp is what an ICMP message said, "; 192.0.2.254 said host-unreachable (ICMP type 3, code 1)".
func (f *Finder) icmp() string {
	if !f.t.ICMP.Known {
		return ""
	}
	m := f.t.ICMP.Value
	protocol, who := "ICMP", m.From.String()
	if m.From.Is6() {
		protocol = "ICMPv6"
	}
	switch m.From {
	case f.t.Local.Addr():
		who = "this host itself"
	case f.t.Remote.Addr():
		who = "that host itself"
	}
	return fmt.Sprintf("; %s said %s (%s type %d, code %d)", who, m.Name(), protocol, m.Type, m.Code)
}

// negotiated tells of what both sides could have had, beside the options.
func (f *Finder) negotiated() {
	h := &f.t.Handshake
	if h.FastOpen == timeline.FastOpenRefused {
		f.add("fast-open-refused", "The SYN brought a Fast Open cookie%s, and the SYN-ACK did not take it up.", f.dataInSYN())
	}
	if h.ECN == timeline.ECNAsked {
		f.add("ecn-refused", "The SYN asked for ECN, the SYN-ACK did not grant it.")
	}
	local, remote := h.LocalOptions.Value.Present, h.RemoteOptions.Value.Present
	if h.LocalOptions.Known && h.RemoteOptions.Known && local.Has(multipath) != remote.Has(multipath) {
		who := "This end"
		if remote.Has(multipath) {
			who = f.t.Remote.String()
		}
		f.add("mptcp-fallback", "%s offered Multipath TCP, the other side did not: the connection fell back to plain TCP.", who)
	}
	if h.Kind == timeline.HandshakeSYNCookie && f.t.Role == timeline.RoleServer {
		f.add("syn-cookie", "The SYN was answered with a SYN cookie%s.", f.cookieAnswer())
	}
}

func (f *Finder) dataInSYN() string {
	for _, p := range f.s.syn {
		if p.first != nil && p.first.Len > 0 {
			return " and " + size(uint64(p.first.Len)) + " of data"
		}
	}
	return ""
}

func (f *Finder) cookieAnswer() string {
	if f.t.Handshake.Outcome == timeline.OutcomeEstablished {
		return ", and the third ACK brought it back: it was valid"
	}
	return ""
}

// whyAgain says what had data sent again, as far as it is known.
func (f *Finder) whyAgain() string {
	c := &f.t.Traffic
	s := ""
	if by := c.RetransmitsBy; by.Known {
		var all []string
		for kind, why := range [...]string{"by the retransmission timer", "by fast recovery", "as tail loss probe"} {
			if n := by.Value[kind]; n > 0 {
				all = append(all, fmt.Sprintf("%d %s", n, why))
			}
		}
		if len(all) > 0 {
			s = " Of all that was sent again: " + list(all) + "."
		}
	}
	if d := c.Duplicates; d.Known && d.Value > 0 {
		s += fmt.Sprintf(" The other end got %s twice: sent again in vain.", count(d.Value, "segment"))
	}
	if d := c.DroppedOut; d.Segments > 0 {
		s += fmt.Sprintf(" This host itself dropped %s on the way out (%s).", count(d.Segments, "segment"), f.reason(d.Reason))
	}
	return s
}

// dataDropped tells of data that this host dropped; what it costs is the sender's to see.
func (f *Finder) dataDropped() {
	for _, d := range [...]struct {
		dropped timeline.Dropped
		dir     timeline.Dir
	}{{f.t.Traffic.DroppedIn, rx}, {f.t.Traffic.DroppedOut, tx}} {
		if n := d.dropped.Segments; n > 0 {
			f.add("data-dropped-here", "%s with data %s dropped here on the way %s (%s).",
				count(n, "segment"), plural(int(n), "was", "were"), inOut(d.dir), f.reason(d.dropped.Reason))
		}
	}
}
