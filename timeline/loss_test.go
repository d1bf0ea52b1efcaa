package timeline_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/internal/schema"
	"tcptrace/output"
	"tcptrace/timeline"
)

func TestLossMarksItsTimeline(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.take(s.a.Lost(events.Loss{Sock: 7, FirstNS: s.now + 1, Records: 3}))
	s.port++
	s.established(8)
	s.take(s.a.Finish(s.now))
	equal(t, "ended", len(s.ended), 2)
	hit, other := s.ended[0], s.ended[1]
	equal(t, "complete", hit.Complete, false)
	equal(t, "lost", hit.LostEvents, 3)
	equal(t, "gap", hit.Entries[len(hit.Entries)-1].Type, timeline.EntryGap)
	equal(t, "the other is complete", other.Complete, true)
}

// tuple is the server's end, as a loss names it.
func (s *story) tuple() events.Tuple {
	return events.Tuple{LocalAddr: serverAddr, RemoteAddr: clientAddr, LocalPort: 80, RemotePort: s.port, Netns: 1}
}

// TestLossOfFirstEvent: a timeline that is not there yet when its first event's loss is told has it all the same.
func TestLossOfFirstEvent(t *testing.T) {
	s := newStory(t, timeline.Options{})
	tuple := s.tuple()
	s.take(s.a.Lost(events.Loss{Tuple: tuple, FirstNS: s.now, Records: 1}))
	s.wait(sec)
	s.established(7) // by the SYN that came again

	s.port++
	portless := s.tuple()
	portless.LocalPort = 0
	s.take(s.a.Lost(events.Loss{Tuple: portless, Sock: 8, FirstNS: s.now, Records: 2})) // connect()
	s.state(9, events.Established, events.CloseWait, 0)
	s.take(s.a.Lost(events.Loss{Tuple: tuple, FirstNS: s.now, Records: 4})) // the first is known by now
	s.sendOf(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 8, OldState: uint8(events.SynSent), NewState: uint8(events.Established)},
		gen.BPFTuple{LocalAddr: serverAddr, RemoteAddr: clientAddr, LocalPort: 81, RemotePort: s.port, Netns: 1})
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 3)
	for i, lost := range []uint64{5, 0, 2} {
		tl := &s.ended[i]
		equal(t, "complete", tl.Complete, false)
		equal(t, "lost", tl.LostEvents, lost)
	}
}

// TestLossOfFormerConnection: long after it, the same addresses and ports are another connection's.
func TestLossOfFormerConnection(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.take(s.a.Lost(events.Loss{Tuple: s.tuple(), FirstNS: s.now, Records: 1}))
	s.wait(60 * sec)
	s.established(7)
	s.take(s.a.Finish(s.now))
	equal(t, "complete", s.only().Complete, true)
}

// TestLossOfUnknownMarksAll: where nobody knows whose the events were, they may have been anybody's.
func TestLossOfUnknownMarksAll(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.port++
	s.established(8)
	s.take(s.a.Lost(events.Loss{FirstNS: s.now, Records: 3}))
	s.take(s.a.Finish(s.now))
	for _, tl := range s.ended {
		equal(t, "complete", tl.Complete, false)
		equal(t, "gap", tl.Entries[len(tl.Entries)-1].Type, timeline.EntryGap)
	}
}

// TestLossOfUnknownMarksWhatIsYetToBeRead: what the ring still held when the loss was noticed.
func TestLossOfUnknownMarksWhatIsYetToBeRead(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.take(s.a.Lost(events.Loss{FirstNS: s.now + sec/2, Records: 1}))
	s.established(7)
	s.port++
	s.wait(sec)
	s.established(8)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	for i, tl := range s.ended {
		equal(t, "complete", tl.Complete, i == 1)
	}
}

// TestLossKeepsForeignSecret: a SYN that may have been forwarded is not told because something may have been lost.
func TestLossKeepsForeignSecret(t *testing.T) {
	s := newStory(t, timeline.Options{Entries: true})
	s.take(s.a.Lost(events.Loss{FirstNS: s.now + sec, Records: 1}))
	s.unconfirmedSYN()
	s.wait(60 * sec)
	s.wait(sec)
	equal(t, "told", len(s.ended), 0)
	equal(t, "entries", s.entries, 0)
}

// TestChangeThatWasNotTold: one that does not follow from the last means that something is missing.
func TestChangeThatWasNotTold(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.state(7, events.FinWait1, events.FinWait2, 0)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "states", way(tl), "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2")
	equal(t, "complete", tl.Complete, false)
	gaps := 0
	for _, e := range tl.Entries {
		if e.Type == timeline.EntryGap {
			gaps++
		}
	}
	equal(t, "gaps", gaps, 1)
}

// TestSocketThatWasNotTold: a connection in SYN_RECV has its socket, and its first changes were not told.
func TestSocketThatWasNotTold(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.segment(events.KindReceive, events.SYN, x, 0, 64240)
	s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
	s.state(7, events.CloseWait, events.LastAck, 0)
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "states", way(tl), "LISTEN SYN_RECV CLOSE_WAIT LAST_ACK")
	equal(t, "complete", tl.Complete, false)
}

// TestEachLossShows: whichever event of a scenario is lost, its endpoint is told with a gap, and what is told is well formed. So it is
// where nobody knows that there was one.
func TestEachLossShows(t *testing.T) {
	recordings, _ := filepath.Glob("testdata/*.events")
	for _, path := range recordings {
		name := filepath.Base(path)
		all := records(t, path)
		for lost, l := range all {
			if l.Kind() == events.KindSnapshot {
				continue // what it adds up to is told by the rest
			}
			for _, known := range []bool{true, false} {
				var out bytes.Buffer
				w, err := output.New("json", output.Options{Out: &out})
				if err != nil {
					t.Fatal(err)
				}
				a := timeline.New(timeline.Options{Linger: sec})
				marked, told := uint64(0), false
				take := func(updates []timeline.Update) {
					for i := range updates {
						u := &updates[i]
						if err := w.Write(u); err != nil {
							t.Fatal(err)
						}
						marked += u.Timeline.LostEvents
						told = told || u.Kind == timeline.UpdateEnd && u.Timeline.Local == l.Tuple().Local()
					}
				}
				for i, e := range all {
					if i != lost {
						take(a.Add(e))
					} else if known {
						take(a.Lost(events.Loss{Tuple: *e.Tuple(), Sock: e.Sock(), FirstNS: e.Time(), Records: 1}))
					}
				}
				take(a.Finish(all[len(all)-1].Time()))
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				for line := range bytes.Lines(out.Bytes()) {
					if err := schema.Validate(line); err != nil {
						t.Errorf("%s without event %d: %v\n%s", name, lost, err, line)
					}
				}
				if known && told && marked == 0 {
					t.Errorf("%s: the loss of event %d, kind %d, shows nowhere", name, lost, l.Kind())
				}
			}
		}
	}
}

// TestSocketUsedAgain: where the end of a connection was lost, its socket's memory may send another one's SYN, by which it is known
// that there are two.
func TestSocketUsedAgain(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	s.port++
	syn := gen.BPFEvent{Kind: uint8(events.KindTransmit), Sock: 7}
	syn.Of.Segment.TcpHeader[12], syn.Of.Segment.TcpHeader[13] = 5<<4, byte(events.SYN)
	s.send(syn)
	s.take(s.a.Finish(s.now))
	equal(t, "timelines", len(s.ended), 2)
	for i, want := range []timeline.Role{timeline.RoleServer, timeline.RoleClient} {
		equal(t, "role", s.ended[i].Role, want)
		equal(t, "complete", s.ended[i].Complete, false)
	}
}

// TestSYNACKNotTold: a client's connection that is established without one lacks it, and says so.
func TestSYNACKNotTold(t *testing.T) {
	s := newStory(t, timeline.Options{})
	for _, to := range []events.State{events.SynSent, events.Established} {
		from := events.Close
		if to == events.Established {
			from = events.SynSent
		}
		s.sendFromPeer(gen.BPFEvent{Kind: uint8(events.KindState), Sock: 7, OldState: uint8(from), NewState: uint8(to)})
	}
	s.take(s.a.Finish(s.now))
	tl := s.only()
	equal(t, "complete", tl.Complete, false)
	equal(t, "a gap before ESTABLISHED", tl.Entries[len(tl.Entries)-2].Type, timeline.EntryGap)
}
