package live

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tcptrace/events"
	"tcptrace/timeline"
)

// class is a section of the table; those that matter more come first.
type class uint8

const (
	failed    class = iota // ended without ever being established, or by a reset or a time-out
	stuck                  // in a state that should not last, for too long
	resending              // segments were sent again just now
	open
	closed
	classes // how many there are
)

var classNames = [classes]string{"FAILED", "STUCK", "RETRANSMITTING", "OPEN", "CLOSED"}

const (
	// opening and closing take a round trip or two: who is at it for longer waits for something.
	tooLong = uint64(time.Second)
	// resent: how long a retransmission makes a connection matter.
	resent = uint64(5 * time.Second)
	// How long those that ended stay on the screen, and how many at most.
	failedStays, failedMost = uint64(30 * time.Second), 512
	closedStays, closedMost = uint64(5 * time.Second), 256
)

// row is a connection on the screen.
type row struct {
	id uint64
	// t is the Assembler's, while it has the ID id: memory is used again. Of one that has ended, or
	// while the view is paused, it is a copy.
	t     *timeline.Timeline
	own   bool
	class class
	since uint64 // when it came into its state

	// Of the socket's counters: how many bytes both ways when they were last looked at, when that
	// was, and how many a second before.
	bytes, sampledAt, rate uint64
	retransmits            uint32 // those that no entry tells of
	resentAt               uint64 // when those were last seen to grow, 0 never

	// Of those that failed: how many alike it stands for, itself included, and whether they are several processes'.
	times     int
	processes bool
}

// there tells whether t still is this connection.
func (r *row) there() bool { return r.own || r.t.ID == r.id }

// look brings the row up to date. It returns how many segments were sent again since the last time.
func (r *row) look(now uint64, closeWait uint64) (again uint32) {
	r.since = r.t.StateSince()
	if r.t.CountersKnown() {
		c := r.t.Counters()
		n := ofData(r.t, c.Retransmits)
		if sum := c.BytesSent + c.BytesReceived; r.sampledAt == 0 {
			r.bytes, r.sampledAt = sum, now
			if !r.t.Complete {
				r.retransmits = n // of before the tracing
			}
		} else if now-r.sampledAt >= uint64(900*time.Millisecond) {
			r.rate = uint64(float64(sum-min(sum, r.bytes)) / (float64(now-r.sampledAt) / 1e9))
			r.bytes, r.sampledAt = sum, now
		}
		if n > r.retransmits {
			again = n - r.retransmits
			r.resentAt, r.retransmits = now, n
		}
	}
	r.class = r.classify(now, closeWait)
	return again
}

func (r *row) classify(now, closeWait uint64) class {
	lasted := now - min(now, r.since)
	switch r.t.State {
	case events.SynSent, events.SynRecv, events.FinWait1, events.LastAck, events.Closing:
		if lasted >= tooLong {
			return stuck
		}
	case events.CloseWait, events.FinWait2:
		if lasted >= closeWait {
			return stuck
		}
	case events.Close:
		if r.t.End.Known {
			return r.class // what it was, until it is told
		}
		if lasted >= tooLong {
			return stuck // SYNs come, and are dropped here
		}
	case events.TimeWait:
		return closed
	}
	if r.resentAt != 0 && now-r.resentAt < resent {
		return resending
	}
	return open
}

// endedClass is the section of a timeline that was told.
func endedClass(t *timeline.Timeline) class {
	switch t.Handshake.Outcome {
	case timeline.OutcomeRefused, timeline.OutcomeTimedOut, timeline.OutcomeReset,
		timeline.OutcomeUnreachable, timeline.OutcomeAborted:
		return failed
	}
	switch t.Teardown.Kind {
	case timeline.TeardownReset, timeline.TeardownTimedOut:
		return failed
	}
	return closed
}

// likeness is what connections that failed have in common, where one row stands for all of them. Their processes need not
// be one: a command that is started again and again fails each time.
type likeness struct {
	comm    events.Comm
	role    timeline.Role
	remote  netip.Addr
	port    uint16 // the server's
	code    string // of the first finding
	outcome timeline.HandshakeOutcome
}

func (r *row) likeness() likeness {
	t := r.t
	l := likeness{comm: t.Process.Comm, role: t.Role, remote: t.Remote.Addr(), port: t.Remote.Port(),
		outcome: t.Handshake.Outcome}
	if t.Role == timeline.RoleServer {
		l.port = t.Local.Port()
	}
	if len(t.Findings) > 0 {
		l.code = t.Findings[0].Code
	}
	return l
}

// Sort is an order of the table.
type Sort uint8

// The orders; s goes from one to the next.
const (
	// SortMatter has sections: what failed, what is stuck, the busiest.
	SortMatter Sort = iota
	SortTraffic
	SortState // longest in its state
	SortNew
	SortProcess
	SortRemote
	sorts // how many there are
)

var sortNames = [sorts]string{"what matters", "traffic", "time in state", "newest", "process", "remote address"}

func (s Sort) String() string { return sortNames[s] }

// order is that of two rows; the rest of ties is by age, so that rows keep their places.
func (s Sort) order(a, b *row) int {
	c := 0
	switch s {
	case SortMatter:
		if c = cmp.Compare(a.class, b.class); c != 0 {
			return c
		}
		switch a.class {
		case failed:
			c = cmp.Compare(b.times, a.times)
		case closed:
			c = cmp.Compare(b.t.WrittenAt, a.t.WrittenAt)
		case stuck:
			c = cmp.Compare(a.since, b.since)
		case resending:
			c = cmp.Compare(b.resentAt, a.resentAt)
		case open:
			if c = cmp.Compare(b.rate, a.rate); c == 0 {
				c = cmp.Compare(b.bytes, a.bytes)
			}
		}
	case SortTraffic:
		if c = cmp.Compare(b.rate, a.rate); c == 0 {
			c = cmp.Compare(b.bytes, a.bytes)
		}
	case SortState:
		c = cmp.Compare(a.since, b.since)
	case SortNew:
		c = cmp.Compare(b.t.Start, a.t.Start)
	case SortProcess:
		if c = bytes.Compare(a.t.Process.Comm[:], b.t.Process.Comm[:]); c == 0 {
			c = cmp.Compare(a.t.Process.PID, b.t.Process.PID)
		}
	case SortRemote:
		if c = a.t.Remote.Addr().Compare(b.t.Remote.Addr()); c == 0 {
			c = cmp.Compare(a.t.Remote.Port(), b.t.Remote.Port())
		}
	}
	if c == 0 {
		c = cmp.Compare(b.id, a.id)
	}
	return c
}

// matcher keeps the rows in which each word of the filter is found: in state, process, addresses and findings.
type matcher struct {
	words [][]byte
	text  []byte
}

func (m *matcher) set(filter string) {
	m.words = m.words[:0]
	for _, w := range strings.Fields(filter) {
		m.words = append(m.words, lower([]byte(w)))
	}
}

// asksForFindings: one of the words may be of a finding's code.
func (m *matcher) asksForFindings() bool {
	return slices.ContainsFunc(m.words, func(word []byte) bool {
		return bytes.ContainsFunc(word, func(c rune) bool { return 'a' <= c && c <= 'z' || c == '-' }) &&
			!bytes.ContainsFunc(word, func(c rune) bool {
				return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-')
			})
	})
}

func (m *matcher) matches(t *timeline.Timeline) bool {
	if len(m.words) == 0 {
		return true
	}
	b := append(m.text[:0], t.State.String()...)
	b = append(append(b, ' '), t.Role.String()...)
	if t.Process.Source != events.SourceUnknown {
		b = append(append(b, ' '), t.Process.Comm.String()...)
		b = strconv.AppendUint(append(b, '/'), uint64(t.Process.PID), 10)
	}
	b = t.Local.AppendTo(append(b, ' '))
	b = t.Remote.AppendTo(append(b, ' '))
	for i := range t.Findings {
		b = append(append(b, ' '), t.Findings[i].Code...)
	}
	m.text = lower(b)
	return !slices.ContainsFunc(m.words, func(word []byte) bool { return !bytes.Contains(m.text, word) })
}

// lower turns ASCII's capitals into small letters, in place: names are bytes, and need not be UTF-8.
func lower(b []byte) []byte {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}
