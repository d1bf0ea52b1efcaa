package finding

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/timeline"
)

// server is a connection that came in, up to its SYN-ACK.
func server(syns, synacks int) *connection {
	c := client()
	c.t.Role = timeline.RoleServer
	c.t.Local, c.t.Remote = c.t.Remote, c.t.Local
	for i := range syns {
		c.segment(rx, syn, timeline.StepSYN, 0, 0).last().Retransmit = i > 0
	}
	c.t.State = events.Listen
	for i := range synacks {
		if i == 0 {
			c.to(events.SynRecv)
		}
		c.segment(tx, synACK, timeline.StepSYNACK, 0, 1).last().Retransmit = i > 0
	}
	return c
}

func (c *connection) last() *timeline.Entry { return &c.t.Entries[len(c.t.Entries)-1] }

// is checks the codes, and that words are in the text of the first finding.
func (c *connection) is(t *testing.T, want, words string) {
	t.Helper()
	New(Options{
		DropReason:  func(uint32) string { return "QDISC_DROP" },
		ResetReason: func(uint32) string { return "NO_SOCKET" },
	}).Find(&c.t)
	if got := codes(&c.t); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	if len(c.t.Findings) > 0 && !strings.Contains(c.t.Findings[0].Text, words) {
		t.Errorf("%q is not in %q", words, c.t.Findings[0].Text)
	}
}

// TestFullQueues: which queue it was, what it cost, and when it is no finding.
func TestFullQueues(t *testing.T) {
	overflow := func(c *connection, q events.Queues) *connection {
		c.t.Handshake.Overflows, c.t.Handshake.Queues = 1, timeline.Some(q)
		return c
	}
	queue := func(c *connection, waiting, backlog uint32) *connection {
		c.t.Handshake.AcceptQueue = timeline.Some(timeline.Queue{Waiting: waiting, Backlog: backlog})
		return c
	}
	unanswered := overflow(server(1, 0), events.Queues{Waiting: 3, Backlog: 2, MaxHalfOpen: 128})
	unanswered.t.Handshake.Outcome, unanswered.t.End = timeline.OutcomeTimedOut, timeline.Some(unanswered.next())
	unanswered.is(t, "accept-queue-full", "3 connections waited for accept(), its backlog is 2. It was not answered")

	halfOpen := events.Queues{HalfOpen: 2, Backlog: 2, MaxHalfOpen: 128}
	cookie := overflow(server(1, 1), halfOpen)
	cookie.t.Handshake.Kind = timeline.HandshakeSYNCookie
	cookie.is(t, "syn-queue-full syn-cookie", "answered with a SYN cookie")
	overflow(server(1, 1), halfOpen).is(t, "", "")

	queue(server(1, 2), 3, 2).is(t, "accept-queue-full synack-retransmitted", "The kernel ignores the third ACK then")
	queue(server(1, 2), 1, 0).is(t, "accept-queue-full synack-retransmitted", "1 connection waited for accept(), its backlog is 0")
	queue(server(1, 2), 2, 2).is(t, "synack-retransmitted", "")
	queue(server(2, 1), 2, 2).is(t, "accept-queue-full syn-retransmitted", "1 SYN got no answer, and when one did, 2 connections waited")
	queue(server(2, 1), 1, 2).is(t, "syn-retransmitted", "")
	// The answer was lost, not the SYN.
	late := queue(server(1, 1), 2, 2).segment(rx, syn, timeline.StepSYN, 0, 0)
	late.last().Retransmit = true
	late.is(t, "syn-retransmitted", "")
}

// TestConnectErrors: connect() that failed before a SYN, and who said so by ICMP.
func TestConnectErrors(t *testing.T) {
	failed := func(outcome timeline.HandshakeOutcome, errno unix.Errno) *connection {
		c := client()
		c.t.Handshake.Outcome, c.t.Handshake.Errno = outcome, uint16(errno)
		c.t.End = timeline.Some(uint64(5e6))
		return c
	}
	failed(timeline.OutcomeUnreachable, unix.ENETUNREACH).is(t, "connect-unreachable", "(ENETUNREACH): connect() failed at once, as no route leads there")
	failed(timeline.OutcomeAborted, unix.EINVAL).is(t, "connect-failed-here", "failed at once (EINVAL)")

	for from, who := range map[string]string{"192.0.2.254": "192.0.2.254", "192.0.2.1": "this host itself", "192.0.2.2": "that host itself"} {
		c := failed(timeline.OutcomeUnreachable, unix.EHOSTUNREACH)
		c.to(events.SynSent).segment(tx, syn, timeline.StepSYN, 0, 0).to(events.Close)
		c.t.ICMP = timeline.Some(timeline.ICMPError{From: netip.MustParseAddr(from), Type: 3, Code: 1})
		c.is(t, "connect-unreachable", "; "+who+" said host-unreachable (ICMP type 3, code 1)")
	}
}

// TestRefusedInTheKernelsWord: the reason of the RST that refuses.
func TestRefusedInTheKernelsWord(t *testing.T) {
	c := server(1, 0)
	c.segment(tx, events.RST|events.ACK, timeline.StepRST, 0, 1)
	c.t.Handshake.Outcome, c.t.End = timeline.OutcomeRefused, timeline.Some(c.next())
	c.t.Teardown.ResetReason = 1
	c.is(t, "refused-here", "(NO_SOCKET, in the kernel's word)")
}

// TestRejectedHere: a firewall's RST is an answer, and the service may well be there.
func TestRejectedHere(t *testing.T) {
	c := server(1, 0)
	c.last().Type, c.last().DropReason = timeline.EntryDrop, 8
	c.segment(tx, events.RST|events.ACK, timeline.StepRST, 0, 1)
	c.t.Handshake.Outcome, c.t.End = timeline.OutcomeRefused, timeline.Some(c.next())
	c.is(t, "refused-here", "and answered with an RST: a firewall rule rejects it")
}

// TestWhyAgain: what had data sent again, that it was in vain, and that this host had dropped it.
func TestWhyAgain(t *testing.T) {
	c := client().opened().closed()
	c.t.Traffic = timeline.Traffic{
		TxSegments: timeline.Some(uint64(9)), Retransmits: timeline.Some(uint64(3)),
		RetransmitsBy: timeline.Some([3]uint64{1, 0, 2}), Duplicates: timeline.Some(uint64(1)),
		DroppedOut: timeline.Dropped{Segments: 2, Reason: 64},
	}
	c.is(t, "data-dropped-here data-retransmitted", "2 segments with data were dropped here on the way out (QDISC_DROP)")
	for _, want := range []string{"1 by the retransmission timer and 2 as tail loss probe", "got 1 segment twice", "dropped 2 segments on the way out (QDISC_DROP)"} {
		if text := c.t.Findings[1].Text; !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}

// TestNegotiated: what was asked for and not had.
func TestNegotiated(t *testing.T) {
	for want, change := range map[string]func(h *timeline.Handshake){
		"ecn-refused":       func(h *timeline.Handshake) { h.ECN = timeline.ECNAsked },
		"fast-open-refused": func(h *timeline.Handshake) { h.FastOpen = timeline.FastOpenRefused },
		"mptcp-fallback": func(h *timeline.Handshake) {
			h.LocalOptions = timeline.Some(events.Options{Present: events.OptionMPTCP})
			h.RemoteOptions = timeline.Some(events.Options{})
		},
		"": func(h *timeline.Handshake) { h.ECN, h.FastOpen = timeline.ECNAgreed, timeline.FastOpenAccepted },
	} {
		c := client().opened().closed()
		change(&c.t.Handshake)
		c.is(t, want, "")
	}
}

// TestConnectCancelled: who gave up, and what ICMP had said by then.
func TestConnectCancelled(t *testing.T) {
	for words, change := range map[string]func(*timeline.Timeline){
		"The application closed the socket, or ended, 3.00 ms after it began": func(*timeline.Timeline) {},
		"The application gave up, by shutdown() or connect()": func(tl *timeline.Timeline) {
			tl.ClosedBy.Call = events.CloseDisconnect
		},
		"ss (pid 99) destroyed the socket of the application, as ss -K does, 3.00 ms": func(tl *timeline.Timeline) {
			tl.ClosedBy.Call, tl.ClosedBy.PID = events.CloseDestroy, 99
			copy(tl.ClosedBy.Comm[:], "ss")
		},
		"no SYN-ACK came; that host itself said port-unreachable": func(tl *timeline.Timeline) {
			tl.ICMP = timeline.Some(timeline.ICMPError{From: tl.Remote.Addr(), Type: 3, Code: 3})
		},
	} {
		c := client().to(events.SynSent).segment(tx, syn, timeline.StepSYN, 0, 0).to(events.Close)
		c.t.Handshake.Outcome, c.t.Teardown.Kind, c.t.End = timeline.OutcomeAborted, timeline.TeardownNone, timeline.Some(uint64(3e6))
		change(&c.t)
		c.is(t, "connect-cancelled", words)
	}
}
