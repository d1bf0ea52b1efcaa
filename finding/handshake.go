package finding

import (
	"fmt"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

const (
	tx = timeline.Tx
	rx = timeline.Rx

	multipath = events.OptionMPTCP
)

// handshake tells how the opening failed, or what it cost.
func (f *Finder) handshake() {
	t, s := f.t, &f.s
	switch t.Handshake.Outcome {
	case timeline.OutcomeUnobserved:
		if s.drops > 0 {
			f.dropsLeft(0)
		}
		return
	case timeline.OutcomeEstablished:
		f.costly()
		return
	case timeline.OutcomeInProgress:
		if t.Role == timeline.RoleServer && s.synack[tx].n == 0 && s.drops > 0 {
			f.synDropped()
		} else {
			f.costly()
		}
		return
	}
	if t.Role == timeline.RoleServer {
		f.serverFailed()
	} else {
		f.clientFailed()
	}
}

func (f *Finder) clientFailed() {
	t, s, remote := f.t, &f.s, f.t.Remote
	syns := s.syn[tx]
	took := span(t.End.Value - min(t.End.Value, t.Start))
	switch {
	case s.synack[rx].n > 0 && s.rst != nil && s.synack[rx].drops == 0:
		f.add("handshake-reset", "%s after the SYN-ACK of %s%s: the connection was never established.",
			whoseRST(s.rst.Dir), remote, f.nobody())
	case t.Handshake.Outcome == timeline.OutcomeRefused && s.rst != nil:
		f.add("connect-refused", "%s answered the SYN with an RST after %s: nothing listens on port %d there, or a firewall rejects it%s.",
			remote, f.answerTime(), remote.Port(), errno(t.Handshake.Errno))
	case syns.n == 0 && len(t.Entries) == 0:
		f.notBegun()
	case t.Handshake.Outcome == timeline.OutcomeUnreachable && syns.n == 0:
		f.add("connect-unreachable", "%s could not be reached%s: no SYN left in %s, as the next hop's link-layer address was not found.",
			remote, errno(t.Handshake.Errno), took)
	case t.Handshake.Outcome == timeline.OutcomeUnreachable:
		f.add("connect-unreachable", "%s could not be reached%s: %s sent, %s%s; the error came after %s%s.",
			remote, errno(t.Handshake.Errno), were(uint64(syns.n), "SYN"), f.times(tx, timeline.StepSYN), f.dropped(tx, timeline.StepSYN), took, f.icmp())
	case syns.drops > 0 && syns.drops == syns.n:
		f.add("connect-dropped-here", "This host itself dropped %s to %s on the way out (%s), %s: the connection failed after %s%s.",
			allOf(syns.n, "SYN"), remote, f.reason(syns.first.DropReason), f.times(tx, timeline.StepSYN), took, errno(t.Handshake.Errno))
	case s.synack[rx].drops > 0:
		f.add("connect-dropped-here", "%s answered, but this host itself dropped %s on the way in (%s), %s: the connection failed after %s%s.",
			remote, allOf(s.synack[rx].n, "SYN-ACK"), f.reason(s.synack[rx].first.DropReason),
			f.times(rx, timeline.StepSYNACK), took, errno(t.Handshake.Errno))
	case t.Handshake.Outcome == timeline.OutcomeRefused:
		f.add("connect-refused", "%s was refused after %s without an RST: an ICMP message said so%s%s.", remote, took, errno(t.Handshake.Errno), f.icmp())
	case t.Handshake.Outcome == timeline.OutcomeTimedOut:
		f.add("connect-no-answer", "%s got no answer from %s, sent %s; after %s the kernel gave up%s%s.",
			count(uint64(syns.n), "SYN"), remote, f.times(tx, timeline.StepSYN), took, errno(t.Handshake.Errno), f.icmp())
	case syns.n == 0 && t.Local.Port() == 0:
		f.add("no-local-port", "connect() to %s ended after %s without a SYN, and without a local port%s: none of them was free.", remote, took, errno(t.Handshake.Errno))
	case syns.n == 0:
		f.add("no-syn-sent", "connect() from %s to %s ended after %s, and no SYN had left%s: these addresses and ports are taken, or it was given up while the next hop was looked for.",
			t.Local, remote, took, errno(t.Handshake.Errno))
	default:
		f.add("connect-cancelled", "%s %s after it began to connect to %s: %s sent, %s, and no SYN-ACK came%s%s.",
			f.canceller(), took, remote, were(uint64(syns.n), "SYN"), f.times(tx, timeline.StepSYN), errno(t.Handshake.Errno), f.icmp())
	}
}

// canceller is who gave up connecting, and how.
func (f *Finder) canceller() string {
	who := f.process()
	if f.t.Process.Source == events.SourceUnknown {
		who = "The application"
	}
	switch {
	case f.t.ClosedBy.Call == events.CloseDestroy:
		return human.Process(f.t.ClosedBy.Comm.String(), f.t.ClosedBy.PID) + " destroyed the socket of " + f.process() + ", as ss -K does,"
	case f.t.ClosedBy.Call == events.CloseDisconnect:
		return who + " gave up, by shutdown() or connect() to AF_UNSPEC,"
	}
	return who + " closed the socket, or ended,"
}

// nobody says that no socket was there for the SYN-ACK.
func (f *Finder) nobody() string {
	if f.s.last == nil {
		return ", for which there was no socket any more"
	}
	return ", in " + f.s.beforeRST.String()
}

// answerTime is how long the RST took to come after the last SYN before it.
func (f *Finder) answerTime() string {
	at := f.t.Start
	for i := range f.t.Entries {
		e := &f.t.Entries[i]
		if e == f.s.rst {
			break
		}
		if e.Step == timeline.StepSYN {
			at = e.Time
		}
	}
	return span(f.s.rst.Time - min(at, f.s.rst.Time))
}

func (f *Finder) serverFailed() {
	t, s, remote := f.t, &f.s, f.t.Remote
	synacks := s.synack[tx]
	switch {
	case synacks.n == 0 && t.Handshake.Overflows > 0:
		f.overflow()
	case t.Handshake.Outcome == timeline.OutcomeRefused && s.syn[rx].first != nil && s.syn[rx].first.Type == timeline.EntryDrop:
		f.add("refused-here", "The SYN of %s, for %s, was dropped here (%s), and answered with an RST: a firewall rule rejects it.",
			remote, t.Local, f.reason(s.syn[rx].first.DropReason))
	case synacks.n == 0 && s.drops > 0:
		f.synDropped()
	case t.Handshake.Outcome == timeline.OutcomeRefused:
		said := ", or this host's firewall rejects it"
		if t.Teardown.ResetReason != 0 {
			said = " (" + f.resetReason() + ", in the kernel's word)"
		}
		f.add("refused-here", "The SYN of %s was answered with an RST: no socket listens here on %s%s.", remote, t.Local, said)
	case s.rst != nil:
		f.add("handshake-reset", "%s, %s after the SYN-ACK to %s: the connection was never established.",
			whoseRST(s.rst.Dir), span(s.rst.Time-min(s.rst.Time, first(synacks, t.Start))), remote)
	case synacks.n > 0:
		f.overflow()
		f.add("synack-unanswered", "%s to %s got no ACK, sent %s%s: the half-open connection was given up.",
			count(uint64(synacks.n), "SYN-ACK"), remote, f.times(tx, timeline.StepSYNACK), f.dropped(tx, timeline.StepSYNACK))
	}
}

func first(s sent, otherwise uint64) uint64 {
	if s.first == nil {
		return otherwise
	}
	return s.first.Time
}

func (f *Finder) synDropped() {
	syns := f.s.syn[rx]
	if syns.first == nil {
		return
	}
	f.add("syn-dropped-here", "%s of %s, for %s, came %s and %s dropped here (%s): the other end gets no SYN-ACK.",
		count(uint64(syns.n), "SYN"), f.t.Remote, f.t.Local, f.times(rx, timeline.StepSYN), plural(syns.n, "was", "were"), f.reason(syns.first.DropReason))
}

// costly tells what an opening that succeeded, or still may, had to repeat.
func (f *Finder) costly() {
	t, s := f.t, &f.s
	h := &t.Handshake
	explained := 0
	f.overflow()
	for _, d := range [...]timeline.Dir{tx, rx} {
		if p := &s.syn[d]; p.repeats > 0 {
			f.add("syn-retransmitted", "The SYN %s %d times, %s%s.", sentOrCame(d), p.n, f.times(d, timeline.StepSYN), f.dropped(d, timeline.StepSYN))
			explained += p.drops
		}
		if p := &s.synack[d]; p.repeats > 0 {
			f.add("synack-retransmitted", "The SYN-ACK %s %d times, %s%s.", sentOrCame(d), p.n, f.times(d, timeline.StepSYNACK), f.dropped(d, timeline.StepSYNACK))
			explained += p.drops
		}
		if p := &s.fin[d]; p.repeats > 0 && s.lateFIN == nil {
			explained += p.drops // closing tells
		}
	}
	if h.DurationNS.Known && h.DurationNS.Value >= second {
		f.add("handshake-slow", "The handshake took %s: %s.%s", span(h.DurationNS.Value), f.sentAgain(), f.roundTrip())
	}
	f.dropsLeft(explained)
}

// sentAgain says what a handshake repeated.
func (f *Finder) sentAgain() string {
	h := &f.t.Handshake
	var all []string
	if n := h.SYNRetransmits; n > 0 {
		all = append(all, count(uint64(n), "SYN"))
	}
	if n := h.SYNACKRetransmits; n > 0 {
		all = append(all, count(uint64(n), "SYN-ACK"))
	}
	if len(all) == 0 {
		// The first SYN-ACK is awaited as long as the first SYN: it may come again before that does.
		return "nothing was seen to be sent again, so the first SYN-ACK was lost on its way, or the path or the other end is that slow"
	}
	return list(all) + " had to be sent again, the first after a second"
}

// roundTrip compares a slow handshake with the connection's round trip, where that is much shorter.
func (f *Finder) roundTrip() string {
	rtt := f.t.Traffic.SRTTNS
	if !rtt.Known || rtt.Value > f.t.Handshake.DurationNS.Value/4 {
		return ""
	}
	return fmt.Sprintf(" A round trip of this connection takes %s.", span(rtt.Value))
}

// dropsLeft tells of the drops that no other finding has told of.
func (f *Finder) dropsLeft(explained int) {
	if f.s.drops <= explained {
		return
	}
	var first *timeline.Entry
	for i := range f.t.Entries {
		if e := &f.t.Entries[i]; e.Type == timeline.EntryDrop && first == nil {
			first = e
		}
	}
	f.add("segment-dropped-here", "%s dropped here, the first at %s: %s on the way %s (%s).",
		were(uint64(f.s.drops), "segment"), f.at(first.Time), flags(first.Flags), inOut(first.Dir), f.reason(first.DropReason))
}

// negotiation compares what each side offered.
func (f *Finder) negotiation() {
	h := &f.t.Handshake
	f.negotiated()
	if h.RemoteSent.Known && h.RemoteOptions.Known {
		sent, came := h.RemoteSent.Value, h.RemoteOptions.Value
		if gone := optionNames(sent.Present &^ came.Present); gone != "" {
			f.add("option-removed", "%s of %s left there and did not arrive here: something between, on this host, takes it out.", gone, f.t.Remote)
		}
		if sent.MSS != came.MSS && sent.Present.Has(events.OptionMSS) && came.Present.Has(events.OptionMSS) {
			f.add("mss-rewritten", "%s sent a maximum segment size of %d, and %d arrived.", f.t.Remote, sent.MSS, came.MSS)
		}
	}
	if !h.LocalOptions.Known || !h.RemoteOptions.Known {
		return
	}
	const optional = events.OptionWScale | events.OptionSACKPermitted | events.OptionTimestamps
	local, remote := h.LocalOptions.Value.Present, h.RemoteOptions.Value.Present
	// Who answers offers only what the SYN offered: where one is missing it was the asking side's
	// offer that was not taken up, or the asking side that did not make one.
	if only := optionNames(local &^ remote & optional); only != "" && f.t.Role != timeline.RoleServer {
		f.add("option-not-offered", "This end offered %s, %s did not: it is off.", only, f.t.Remote)
	} else if only := optionNames(remote &^ local & optional); only != "" && f.t.Role == timeline.RoleServer {
		f.add("option-not-offered", "%s offered %s, this end did not: it is off.", f.t.Remote, only)
	}
}

var optionWords = []struct {
	option events.OptionSet
	name   string
}{
	{events.OptionMSS, "the maximum segment size"},
	{events.OptionWScale, "window scaling"},
	{events.OptionSACKPermitted, "SACK"},
	{events.OptionTimestamps, "timestamps"},
	{events.OptionFastOpen, "Fast Open"},
	{events.OptionMPTCP, "Multipath TCP"},
}

func optionNames(set events.OptionSet) string {
	var all []string
	for _, w := range optionWords {
		if set.Has(w.option) {
			all = append(all, w.name)
		}
	}
	return list(all)
}

func whoseRST(d timeline.Dir) string {
	if d == tx {
		return "This host sent an RST"
	}
	return "An RST came"
}

func sentOrCame(d timeline.Dir) string {
	if d == tx {
		return "was sent"
	}
	return "came"
}

// allOf is "the SYN", "both SYNs" or "all 3 SYNs".
func allOf(n int, of string) string {
	switch n {
	case 1:
		return "the " + of
	case 2:
		return "both " + of + "s"
	}
	return fmt.Sprintf("all %d %ss", n, of)
}

// timedOut reports whether the kernel gave up on the other end.
func (f *Finder) timedOut() bool {
	d := &f.t.Teardown
	return unix.Errno(d.Errno) == unix.ETIMEDOUT || d.Kind == timeline.TeardownTimedOut && d.Errno != 0
}
