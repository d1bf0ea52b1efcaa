package finding

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tcptrace/events"
	"tcptrace/timeline"
)

// connection is a client's, made by hand: what no kernel does can only be told so.
type connection struct{ t timeline.Timeline }

func client() *connection {
	c := &connection{}
	c.t = timeline.Timeline{
		ID: 1, Complete: true, Role: timeline.RoleClient, State: events.Close,
		Local: netip.MustParseAddrPort("192.0.2.1:40000"), Remote: netip.MustParseAddrPort("192.0.2.2:80"),
		Handshake: timeline.Handshake{Kind: timeline.HandshakeThreeWay, Outcome: timeline.OutcomeEstablished},
		Teardown:  timeline.Teardown{Kind: timeline.TeardownFourWay},
	}
	return c
}

func (c *connection) next() uint64 { return uint64(len(c.t.Entries)+1) * uint64(time.Millisecond) }

func (c *connection) to(s events.State) *connection {
	c.t.Entries = append(c.t.Entries, timeline.Entry{Time: c.next(), Type: timeline.EntryState, From: c.t.State, To: s})
	c.t.State = s
	return c
}

func (c *connection) segment(dir timeline.Dir, flags events.Flags, step timeline.Step, seq, ack uint32) *connection {
	e := timeline.Entry{Time: c.next(), Type: timeline.EntrySegment, Dir: dir, Flags: flags, Step: step, Seq: seq, Ack: ack, SeqRel: timeline.Some(seq)}
	if flags.Has(events.ACK) {
		e.AckRel = timeline.Some(ack)
	}
	c.t.Entries = append(c.t.Entries, e)
	return c
}

const (
	syn    = events.SYN
	synACK = events.SYN | events.ACK
	ack    = events.ACK
	finACK = events.FIN | events.ACK
)

// opened is a client's handshake, up to ESTABLISHED.
func (c *connection) opened() *connection {
	return c.to(events.SynSent).
		segment(tx, syn, timeline.StepSYN, 0, 0).
		segment(rx, synACK, timeline.StepSYNACK, 0, 1).
		to(events.Established).
		segment(tx, ack, timeline.StepACK, 1, 1)
}

// closed is the close of a client that sent 77 bytes and received 500, in four segments.
func (c *connection) closed() *connection {
	return c.to(events.FinWait1).
		segment(tx, finACK, timeline.StepFIN, 78, 501).
		segment(rx, ack, timeline.StepFINACK, 501, 79).
		to(events.FinWait2).
		segment(rx, finACK, timeline.StepFIN, 501, 79).
		to(events.TimeWait).
		segment(tx, ack, timeline.StepFINACK, 79, 502)
}

// of picks an entry by its step and direction.
func (c *connection) of(dir timeline.Dir, step timeline.Step) *timeline.Entry {
	for i := range c.t.Entries {
		if e := &c.t.Entries[i]; e.Dir == dir && e.Step == step {
			return e
		}
	}
	return nil
}

func codes(t *timeline.Timeline) string {
	var all []string
	for _, f := range t.Findings {
		all = append(all, f.Code)
	}
	return strings.Join(all, " ")
}

// TestSelfCheck breaks each rule of a connection that keeps them all.
func TestSelfCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(c *connection)
		want  string
	}{
		{"all is well", func(*connection) {}, ""},
		{"SYN-ACK acknowledges x", func(c *connection) {
			c.of(rx, timeline.StepSYNACK).AckRel = timeline.Some[uint32](0)
		}, "ack-number-wrong"},
		{"SYN-ACK acknowledges x-1", func(c *connection) {
			c.of(rx, timeline.StepSYNACK).AckRel = timeline.Some(^uint32(0))
		}, "ack-number-wrong"},
		{"third ACK acknowledges y+2", func(c *connection) {
			c.of(tx, timeline.StepACK).AckRel = timeline.Some[uint32](2)
		}, "ack-number-wrong"},
		{"third ACK acknowledges what came by Fast Open before it", func(c *connection) {
			c.t.Handshake.FastOpen = timeline.FastOpenAsked
			c.of(tx, timeline.StepACK).AckRel = timeline.Some[uint32](12)
		}, ""},
		{"the SYN took no number", func(c *connection) {
			c.of(tx, timeline.StepACK).SeqRel = timeline.Some[uint32](0)
		}, "sequence-number-wrong"},
		{"the FIN was acknowledged as if it took two", func(c *connection) {
			c.of(rx, timeline.StepFINACK).AckRel = timeline.Some[uint32](80)
		}, "ack-number-wrong"},
		{"something was sent behind the FIN", func(c *connection) {
			c.of(tx, timeline.StepFINACK).SeqRel = timeline.Some[uint32](80)
		}, "sequence-number-wrong"},
		{"a FIN without ACK", func(c *connection) {
			c.of(rx, timeline.StepFIN).Flags = events.FIN
		}, "ack-flag-missing"},
		{"the FIN left in ESTABLISHED", func(c *connection) {
			e := c.t.Entries
			e[5], e[6] = e[6], e[5]
		}, "state-disagrees"},
		{"ESTABLISHED before the SYN-ACK", func(c *connection) {
			e := c.t.Entries
			e[2], e[3] = e[3], e[2]
		}, "state-disagrees"},
		{"FIN_WAIT2 out of nothing", func(c *connection) {
			c.t.Entries[5].To = events.FinWait2
		}, "state-disagrees transition-illegal"},
		{"what was dropped here breaks nothing", func(c *connection) {
			c.segment(rx, ack, timeline.StepNone, 900, 900)
			c.t.Entries[len(c.t.Entries)-1].Type = timeline.EntryDrop
		}, "segment-dropped-here"},
		{"and nothing is said of what was not seen whole", func(c *connection) {
			c.t.Entries[5].To = events.FinWait2
			c.t.Complete = false
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := client().opened().closed()
			c.spoil(conn)
			New(Options{}).Find(&conn.t)
			if got := codes(&conn.t); got != c.want {
				t.Errorf("found %q, want %q: %+v", got, c.want, conn.t.Findings)
			}
		})
	}
}

// TestFINThatLedNowhere: an orderly close needs a FIN that was taken.
func TestFINThatLedNowhere(t *testing.T) {
	c := client().opened()
	c.segment(rx, finACK, timeline.StepFIN, 1, 1).to(events.Close)
	c.t.End = timeline.Some(c.next())
	New(Options{}).Find(&c.t)
	if got := codes(&c.t); got != "state-disagrees" {
		t.Errorf("found %q", got)
	}
}

// TestEveryTransitionOfTheRFC is legal, and no other.
func TestEveryTransitionOfTheRFC(t *testing.T) {
	for _, way := range []string{
		"CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE",
		"LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE",
		"CLOSE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT",
		"SYN_RECV FIN_WAIT1 TIME_WAIT", "SYN_SENT CLOSE", "CLOSE LISTEN",
	} {
		names := strings.Fields(way)
		for i := range names[1:] {
			if !legal(state(t, names[i]), state(t, names[i+1])) {
				t.Errorf("%s to %s is said to be illegal", names[i], names[i+1])
			}
		}
	}
	for _, pair := range []string{"ESTABLISHED TIME_WAIT", "CLOSE ESTABLISHED", "TIME_WAIT ESTABLISHED", "LAST_ACK TIME_WAIT",
		"CLOSE_WAIT FIN_WAIT1", "FIN_WAIT2 CLOSING", "SYN_SENT FIN_WAIT1"} {
		from, to, _ := strings.Cut(pair, " ")
		if legal(state(t, from), state(t, to)) {
			t.Errorf("%s to %s is said to be legal", from, to)
		}
	}
}

func state(t *testing.T, name string) events.State {
	for s := events.StateUnknown; s <= events.NewSynRecv; s++ {
		if s.String() == name {
			return s
		}
	}
	t.Fatalf("no state %s", name)
	return 0
}
