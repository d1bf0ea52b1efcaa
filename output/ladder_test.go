package output

import (
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/timeline"
)

// ladderStories are the stories and, for what takes two timelines or another socket, some more.
func ladderStories() map[string]pair {
	all := map[string]pair{}
	for _, s := range stories() {
		s.t.WrittenAt = s.now + uint64(time.Second)
		all[s.name] = pair{t: &s.t}
	}
	const us, ms = time.Microsecond, time.Millisecond

	// Both ends of one connection, the other a little later in all it gets, a little earlier in all it sends.
	s := tell("paired", "192.0.2.1:40000", "192.0.2.2:8080").by(25191, "curl", events.SourceConnect).opened(300*us).after(2*ms).
		toBy(events.FinWait1).after(10*us).
		tx(finACK, timeline.StepFIN, 78, 1257, 501).after(200*us).
		rx(finACK, timeline.StepFIN, 1257, 79, 128).also().after(3*us).
		to(events.FinWait2).after(4*us).
		tx(ack, timeline.StepFINACK, 79, 1258, 501).after(3*us).
		to(events.TimeWait).after(60*time.Second).
		to(events.Close).carried(77, 1256).teardown(timeline.TeardownThreeSegment, timeline.SideLocal, 220*us, 200*us).end()
	s.t.Teardown.TimeWaitNS = timeline.Some(uint64(60 * time.Second))
	all["paired"] = pair{t: &s.t, peer: mirrored(s, 90*us)}

	// The first SYN is lost on its way, and the FINs cross.
	s = tell("lost-syn", "192.0.2.1:40001", "192.0.2.2:8080").by(25192, "curl", events.SourceConnect)
	s.t.Role = timeline.RoleClient
	s.handshake(timeline.HandshakeThreeWay, timeline.OutcomeEstablished, 1000*ms).
		toBy(events.SynSent).after(51*us).
		tx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).after(1024*ms).
		tx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).again()
	s.last().Options.TSVal += 1024
	s.after(300*us).
		rx(synACK, timeline.StepSYNACK, 0, 1, 65160).offering(1400, 9).after(8*us).
		to(events.Established).after(12*us).
		tx(ack, timeline.StepACK, 1, 1, 502).after(ms).
		toBy(events.FinWait1).after(us).
		tx(finACK, timeline.StepFIN, 1, 1, 502).after(20*us).
		rx(finACK, timeline.StepFIN, 1, 1, 502).after(us).
		to(events.Closing).
		tx(ack, timeline.StepFINACK, 2, 2, 502).after(150*us).
		rx(ack, timeline.StepFINACK, 2, 2, 502).
		to(events.TimeWait).
		carried(0, 0).teardown(timeline.TeardownSimultaneous, timeline.SideBoth, 171*us, 20*us)
	s.t.WrittenAt = s.now + uint64(time.Second)
	peer := mirrored(s, 90*us)
	all["lost-syn"] = pair{t: &s.t, peer: peer}

	// All segments were asked for; some of the data stands for itself.
	s = tell("all-segments", "192.0.2.1:40002", "192.0.2.2:8080").by(25193, "iperf3", events.SourceConnect).opened(300 * us).after(ms)
	for i := range uint32(40) {
		s.tx(ack|events.PSH, timeline.StepNone, 1+i*1448, 1, 502)
		s.last().Len = 1448
		if i == 20 {
			s.again()
		}
		s.after(10 * us)
	}
	s.toBy(events.Close).after(us).tx(rstACK, timeline.StepRST, 57_921, 1, 0).
		carried(57_920, 0).teardown(timeline.TeardownReset, timeline.SideLocal, us, 0).end()
	all["all-segments"] = pair{t: &s.t}
	return all
}

// mirrored is the other end of a story's connection: what was sent arrives after a delay, what arrives was sent so long
// before. A SYN that was sent again did not arrive at first.
func mirrored(s *story, delay time.Duration) *timeline.Timeline {
	t := s.t.Clone()
	t.ID, t.PeerID = s.t.ID+1, s.t.ID
	s.t.PeerID = t.ID
	t.Local, t.Remote, t.Role = s.t.Remote, s.t.Local, timeline.RoleServer
	t.Process = timeline.Process{PID: 25133, Comm: comm("python3"), Source: events.SourceIO}
	t.Traffic.TxBytes, t.Traffic.RxBytes = t.Traffic.RxBytes, t.Traffic.TxBytes
	t.Teardown.TimeWaitNS = timeline.Maybe[uint64]{}
	if t.Teardown.Initiator == timeline.SideLocal {
		t.Teardown.Initiator = timeline.SideRemote
	}
	t.Entries = nil
	state := events.Listen
	change := func(at uint64, to events.State) {
		t.Entries = append(t.Entries, timeline.Entry{Time: at, Type: timeline.EntryState, From: state, To: to})
		state = to
	}
	both := t.Teardown.Kind == timeline.TeardownSimultaneous
	for i, e := range s.t.Entries {
		if e.Type != timeline.EntrySegment {
			continue
		}
		if next := i + 1; e.Step == timeline.StepSYN && next < len(s.t.Entries) && s.t.Entries[next].Retransmit {
			continue
		}
		e.Dir = 3 - e.Dir
		e.Retransmit = false
		if e.Dir == timeline.Rx {
			e.Time += uint64(delay)
		} else {
			e.Time -= uint64(delay)
		}
		if e.Dir == timeline.Tx && e.Step == timeline.StepFIN {
			change(e.Time-1000, map[bool]events.State{false: events.LastAck, true: events.FinWait1}[both])
		}
		t.Entries = append(t.Entries, e)
		after := e.Time + 2000
		switch {
		case e.Dir == timeline.Tx:
		case e.Step == timeline.StepSYN:
			change(after, events.SynRecv)
		case e.Step == timeline.StepACK:
			change(after, events.Established)
		case e.Step == timeline.StepFIN && both:
			change(after, events.Closing)
		case e.Step == timeline.StepFIN:
			change(after, events.CloseWait)
		case e.Step == timeline.StepFINACK && both:
			change(after, events.TimeWait)
		case e.Step == timeline.StepFINACK:
			change(after, events.Close)
		}
	}
	sortEntries(t)
	t.Start, t.State = t.Entries[0].Time, state
	last := t.Entries[len(t.Entries)-1].Time
	t.WrittenAt, t.End = last+1e9, timeline.Some(last)
	return t
}

func sortEntries(t *timeline.Timeline) {
	for i := range t.Entries {
		for j := i; j > 0 && t.Entries[j].Time < t.Entries[j-1].Time; j-- {
			t.Entries[j], t.Entries[j-1] = t.Entries[j-1], t.Entries[j]
		}
	}
}

func TestGoldenLadder(t *testing.T) {
	for name, p := range ladderStories() {
		t.Run(name, func(t *testing.T) {
			o := storyOptions()
			l := NewLadder(p.t, p.peer, &o)
			var all []string
			for _, way := range []Options{{Width: 80}, {Width: 132, Absolute: true}, {Width: 64, ASCII: true}} {
				o.Width, o.Absolute, o.ASCII = way.Width, way.Absolute, way.ASCII
				lines := l.Lines(&o)
				for _, line := range lines {
					harmless(t, line)
					if n := text.StringWidthWithoutEscSequences(line); n > way.Width {
						t.Errorf("%d columns of %d: %s", n, way.Width, line)
					}
				}
				all = append(append(all, lines...), "")
			}
			golden(t, name+".ladder", []byte(strings.Join(all, "\n")))
		})
	}
}

// In colour a ladder says the same, and every colour is ended on its line.
func TestLadderColor(t *testing.T) {
	for name, p := range ladderStories() {
		o := storyOptions()
		l := NewLadder(p.t, p.peer, &o)
		plain := l.Lines(&o)
		o.Color = true
		coloured := l.Lines(&o)
		if len(plain) != len(coloured) {
			t.Fatalf("%s: %d lines, in colour %d", name, len(plain), len(coloured))
		}
		seen := false
		for i, line := range coloured {
			if strings.TrimRight(text.StripEscape(line), " ") != plain[i] {
				t.Errorf("%s: %q, in colour %q", name, plain[i], line)
			}
			if n := strings.Count(line, "\x1b["); n > 0 {
				seen = true
				if strings.Count(line, text.Reset.EscapeSeq())*2 != n {
					t.Errorf("%s: colours are not ended: %q", name, line)
				}
			}
		}
		if !seen {
			t.Errorf("%s has no colours", name)
		}
	}
}
