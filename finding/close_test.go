package finding

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/timeline"
)

// TestResetAfterClose: an RST in TIME_WAIT takes nothing back.
func TestResetAfterClose(t *testing.T) {
	c := client().opened().closed()
	c.segment(rx, events.RST, timeline.StepRST, 502, 0)
	New(Options{}).Find(&c.t)
	if got := codes(&c.t); got != "reset-after-close" {
		t.Errorf("found %q", got)
	}
	if text := c.t.Findings[0].Text; !strings.Contains(text, "in TIME_WAIT") {
		t.Error(text)
	}
}

// TestResetReasons: why, as far as what is known allows it.
func TestResetReasons(t *testing.T) {
	reset := func(dir timeline.Dir, from events.State) *connection {
		c := client().opened()
		switch from {
		case events.CloseWait:
			c.segment(rx, finACK, timeline.StepFIN, 1, 1).to(events.CloseWait)
		case events.FinWait2:
			c.to(events.FinWait1).segment(tx, finACK, timeline.StepFIN, 1, 1).
				segment(rx, ack, timeline.StepFINACK, 1, 2).to(events.FinWait2)
		}
		if dir == rx {
			c.segment(rx, events.RST, timeline.StepRST, 1, 0).to(events.Close)
		} else {
			c.to(events.Close).segment(tx, events.RST|events.ACK, timeline.StepRST, 1, 1)
		}
		c.t.Teardown.Kind = timeline.TeardownReset
		c.t.End = timeline.Some(c.next())
		return c
	}
	byProcess := func(c *connection) *connection {
		for i := range c.t.Entries {
			if e := &c.t.Entries[i]; e.To == events.Close && e.Type == timeline.EntryState {
				e.PID, e.Comm = 7, events.Comm{'n', 'c'}
			}
		}
		return c
	}
	caused := func(cause timeline.ResetCause, reason uint32) *connection {
		c := byProcess(reset(tx, events.Established))
		c.t.Teardown.ResetCause, c.t.Teardown.ResetReason, c.t.Teardown.Unread = cause, reason, 5
		return c
	}
	words := func(r uint32) string {
		return map[uint32]string{2: "NO_SOCKET", 11: "TCP_ABORT_ON_CLOSE", 13: "TCP_ABORT_ON_MEMORY", 14: "TCP_STATE"}[r]
	}
	for want, c := range map[string]*connection{
		"in ESTABLISHED: its application aborted":    reset(rx, events.Established),
		"in CLOSE_WAIT: it had sent its FIN":         reset(rx, events.CloseWait),
		"in FIN_WAIT2: it came after this end's FIN": reset(rx, events.FinWait2),
		"in FIN_WAIT2: data came though the application had": func() *connection {
			c := reset(tx, events.FinWait2)
			c.t.Teardown.ResetCause = timeline.ResetAfterClose
			return c
		}(),
		"nc (pid 7) reset the connection":                     byProcess(reset(tx, events.Established)),
		"closed with SO_LINGER 0 (inferred)":                  caused(timeline.ResetLingerZero, 0),
		"closed with SO_LINGER 0 (TCP_STATE, in the kernel's": caused(timeline.ResetLingerZero, 14),
		"with 5 B of the 12 B received left unread (inferred)": func() *connection {
			c := caused(timeline.ResetUnread, 0)
			c.t.Traffic.RxBytes = timeline.Some[uint64](12)
			return c
		}(),
		"left unread (TCP_ABORT_ON_CLOSE, in the kernel's word)": caused(timeline.ResetUnread, 11),
		": reset reason 99, in the kernel's word":                caused(timeline.ResetUnexplained, 99),
		"as ss -K does (TCP_STATE, in the kernel's word)": func() *connection {
			c := byProcess(reset(tx, events.Established))
			c.t.Teardown.Errno, c.t.Teardown.ResetReason = uint16(unix.ECONNABORTED), 14
			return c
		}(),
		"connect() to AF_UNSPEC (TCP_STATE, in the kernel's word)": func() *connection {
			c := byProcess(reset(tx, events.Established))
			c.t.Teardown.ResetReason = 14
			c.t.ClosedBy = timeline.Closer{Actor: timeline.Actor{PID: 7}, Call: events.CloseDisconnect}
			return c
		}(),
		"in FIN_WAIT2: NO_SOCKET, in the kernel's word": func() *connection {
			c := reset(tx, events.FinWait2)
			c.t.Teardown.ResetCause, c.t.Teardown.ResetReason = timeline.ResetAfterClose, 2
			return c
		}(),
		"as ss -K does (inferred)": func() *connection {
			c := byProcess(reset(tx, events.Established))
			c.t.Teardown.Errno = uint16(unix.ECONNABORTED)
			return c
		}(),
		"nc (pid 7) reset the connection with 192.0.2.2:80 at 7.00 ms, in ESTABLISHED: the socket was destroyed from outside, as ss -K does (TCP_STATE": func() *connection {
			c := caused(timeline.ResetUnexplained, 14)
			c.t.Teardown.Errno = uint16(unix.ECONNABORTED)
			return c
		}(),
		"keepalives or TCP_USER_TIMEOUT": func() *connection {
			c := reset(tx, events.Established)
			c.t.Teardown.ResetCause = timeline.ResetTimeout
			return c
		}(),
		"(TCP_ABORT_ON_MEMORY, in the kernel's word)": func() *connection {
			c := reset(tx, events.FinWait1)
			c.t.Teardown.ResetReason = 13
			return c
		}(),
		"too little memory for TCP (inferred)": func() *connection {
			c := reset(tx, events.FinWait1)
			c.t.Teardown.ResetCause = timeline.ResetMemory
			return c
		}(),
	} {
		New(Options{ResetReason: words}).Find(&c.t)
		if !slices.ContainsFunc(c.t.Findings, func(f timeline.Finding) bool { return strings.Contains(f.Text, want) }) {
			t.Errorf("%q is not in %+v", want, c.t.Findings)
		}
	}
}

// TestCloseWait: an application that has not closed is found fault with, at the end too.
func TestCloseWait(t *testing.T) {
	c := client().opened().segment(rx, finACK, timeline.StepFIN, 1, 1).to(events.CloseWait)
	c.t.Teardown.Kind = timeline.TeardownNone
	entered := c.t.Entries[len(c.t.Entries)-1].Time
	for age, want := range map[uint64]string{9e9: "", 11e9: "close-wait-leak"} {
		c.t.WrittenAt = entered + age
		New(Options{}).Find(&c.t)
		if got := codes(&c.t); got != want {
			t.Errorf("after %d ns: found %q, want %q", age, got, want)
		}
	}
}

// TestNoData is said only of what was seen whole.
func TestNoData(t *testing.T) {
	for _, complete := range []bool{true, false} {
		c := client().opened().closed()
		c.t.Complete = complete
		c.t.Traffic.TxBytes, c.t.Traffic.RxBytes = timeline.Some(uint64(0)), timeline.Some(uint64(0))
		New(Options{}).Find(&c.t)
		if got, want := codes(&c.t), map[bool]string{true: "no-data"}[complete]; got != want {
			t.Errorf("complete %v: found %q, want %q", complete, got, want)
		}
	}
}

// TestGivenUp: the kernel's error, and who had told it by ICMP. That the other end acknowledged nothing at all is not said: it may have had a window of 0.
func TestGivenUp(t *testing.T) {
	c := client().opened().to(events.Close)
	c.t.Teardown.Kind, c.t.Teardown.Errno = timeline.TeardownTimedOut, uint16(unix.EHOSTUNREACH)
	c.t.ICMP = timeline.Some(timeline.ICMPError{From: netip.MustParseAddr("192.0.2.254"), Type: 3, Code: 1})
	c.t.End = timeline.Some(c.next())
	c.is(t, "connection-timed-out", "(EHOSTUNREACH): the other end had acknowledged nothing new for too long; 192.0.2.254 said host-unreachable")

	c = client().opened().segment(rx, finACK, timeline.StepFIN, 1, 1).to(events.CloseWait).to(events.LastAck).
		segment(tx, finACK, timeline.StepFIN, 1, 2).to(events.Close)
	c.t.Teardown.Kind, c.t.Teardown.Errno = timeline.TeardownUnobserved, uint16(unix.ECONNABORTED)
	c.t.End = timeline.Some(c.next())
	c.is(t, "fin-unacknowledged", "(ECONNABORTED)")
}

// TestStrayReset: of a connection of which there is nothing else, nothing else is said.
func TestStrayReset(t *testing.T) {
	for _, dir := range []timeline.Dir{tx, rx} {
		c := client()
		c.t.Entries, c.t.Role, c.t.State, c.t.Complete = nil, timeline.RoleUnknown, events.Close, false
		c.segment(rx, finACK, timeline.StepFIN, 1, 1).segment(dir, events.RST, timeline.StepRST, 1, 0)
		c.t.Handshake.Outcome, c.t.Teardown.Kind = timeline.OutcomeUnobserved, timeline.TeardownNone
		c.t.Teardown.ResetReason = map[timeline.Dir]uint32{tx: 2}[dir]
		c.t.End = timeline.Some(c.next())
		c.is(t, "reset-stray", map[timeline.Dir]string{
			tx: "had no such connection, or none any more (NO_SOCKET, in the kernel's word)",
			rx: "no socket was seen here",
		}[dir])
	}
	// One whose first change of state is its end has been somewhere before.
	c := client()
	c.t.Entries, c.t.Complete = nil, false
	c.segment(rx, events.RST, timeline.StepRST, 1, 0)
	c.t.State = events.Established
	c.to(events.Close)
	c.t.Handshake.Outcome, c.t.Teardown.Kind = timeline.OutcomeUnobserved, timeline.TeardownReset
	c.is(t, "reset-received", "in ESTABLISHED")
}
