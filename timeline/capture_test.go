package timeline_test

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"tcptrace/events"
	"tcptrace/gen"
	"tcptrace/timeline"
)

// recorded are the timelines of a recording, in order of their start.
func recorded(t *testing.T, name string, o timeline.Options) []timeline.Timeline {
	t.Helper()
	s := newStory(t, o)
	last := uint64(0)
	for _, e := range records(t, filepath.Join("testdata", name+".events")) {
		last = max(last, e.Time())
		s.take(s.a.Add(e))
	}
	s.take(s.a.Finish(last))
	slices.SortStableFunc(s.ended, func(a, b timeline.Timeline) int { return cmp.Compare(a.Start, b.Start) })
	return s.ended
}

// TestCapture: what Zeek and Wireshark would say of each recorded scenario, found by reading the
// goldens beside them. Both ends of each say the same, and each connection of a scenario too.
func TestCapture(t *testing.T) {
	for name, want := range map[string]string{
		"close-in-four-segments":          "SF ShAFaf 23",
		"close-in-three-segments":         "SF ShADdFf 31",
		"close-with-unread-data":          "RSTO ShAdR 47",
		"fin-again-after-the-line":        "SF ShAFaf 23",
		"fin-lost":                        "SF ShAFf 23",
		"get-client-closes-first":         "SF ShADdFf 31",
		"get-server-closes-first":         "SF ShADdfFa 31",
		"half-close":                      "SF ShAFadf 31",
		"last-ack-lost":                   "SF ShAFaf 23",
		"linger-0":                        "RSTO ShAR 39",
		"opened-before":                   "SF FafA 20",
		"port-reused":                     "RSTO ShADR 47",
		"process-killed":                  "SF ShAFf 23",
		"refused":                         "REJ Sr 37",
		"self-connect":                    "  31",
		"simultaneous-close":              "SF ShAFfa 23",
		"simultaneous-open":               "SF SsaADFf 31",
		"syn-dropped-until-timeout":       "S0 S 1",
		"synack-dropped-once":             "SF ShAFf 23",
		"third-ack-lost":                  "SF ShAFf 23",
		"time-wait-reused":                "SF ShADfFa 31",
		"time-wait-reused-after-the-line": "SF ShADfFa 31",
	} {
		told := recorded(t, name, timeline.Options{Linger: lingerOf(name)})
		if len(told) == 0 {
			t.Errorf("%s: no timelines", name)
		}
		for _, tl := range told {
			equal(t, name, capture(&tl), want)
		}
	}
}

func capture(tl *timeline.Timeline) string {
	return fmt.Sprintf("%s %s %d", tl.ConnState, tl.History, tl.Completeness)
}

// TestCaptureByHand: what no recording has.
func TestCaptureByHand(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(s *story)
		want string
	}{
		{"the server resets", func(s *story) {
			s.established(7)
			s.segment(events.KindTransmit, events.RST|events.ACK, y+1, 0, 0)
			s.state(7, events.Established, events.Close, 0)
		}, "RSTR ShAr 39"},
		{"the client takes its SYN back", func(s *story) {
			s.segment(events.KindReceive, events.SYN, x, 0, 64240)
			s.segment(events.KindReceive, events.RST, x+1, 0, 0)
		}, "RSTOS0 SR 33"},
		{"the client closes, the server does not", func(s *story) {
			s.established(7)
			s.segment(events.KindReceive, events.FIN|events.ACK, 0, y+1, 1050)
			s.state(7, events.Established, events.CloseWait, 0)
			s.segment(events.KindTransmit, events.ACK, y+1, 1, 509)
		}, "S2 ShAFa 23"},
		{"the server closes, the client does not", func(s *story) {
			s.established(7)
			s.state(7, events.Established, events.FinWait1, 0)
			s.segment(events.KindTransmit, events.FIN|events.ACK, y+1, 0, 509)
		}, "S3 ShAf 23"},
		{"data that came after the close is refused", func(s *story) {
			s.established(7)
			s.finWait2(7, 0)
			s.state(7, events.FinWait2, events.Close, events.NoteOrphan)
			s.segment(events.KindTransmit, events.RST, y+2, 0, 0)
		}, "RSTR ShAfDr 63"},
		{"data is refused by the other end", func(s *story) {
			s.established(7)
			s.segment(events.KindReceive, events.RST, 0, 0, 0)
			s.ending(7, events.Established, 0, 0, gen.BPFChange{Counters: gen.BPFCounters{BytesSent: 10}})
		}, "RSTO ShAdR 47"},
		{"open", func(s *story) { s.established(7) }, "S1 ShA 7"},
		{"SYN-ACK unanswered, sent three times", func(s *story) {
			s.segment(events.KindReceive, events.SYN, x, 0, 64240)
			for range 3 {
				s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
			}
		}, "S1 Sh 3"},
		{"SYN again, with another number", func(s *story) {
			s.segment(events.KindReceive, events.SYN, x, 0, 64240)
			s.segment(events.KindReceive, events.SYN, x, 0, 64240)
			s.segment(events.KindTransmit, events.SYN|events.ACK, y, 0, 65160)
			s.segment(events.KindReceive, events.SYN, x+9, 0, 64240)
		}, "S1 ShS 3"},
		{"no SYN", func(s *story) {
			s.segment(events.KindReceive, events.RST|events.ACK, 9, 9, 0)
		}, "OTH R 36"},
		{"nothing", func(s *story) {
			s.state(7, events.Established, events.CloseWait, 0)
		}, "  0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t, timeline.Options{})
			c.run(s)
			s.take(s.a.Finish(s.now))
			equal(t, "capture", capture(s.only()), c.want)
		})
	}
}

// TestZeroWindowsAndRepeatsAreToldRarely: the first, the 10th, the 100th time.
func TestZeroWindowsAndRepeatsAreToldRarely(t *testing.T) {
	s := newStory(t, timeline.Options{})
	s.established(7)
	for range 11 {
		s.segment(events.KindReceive, events.ACK, 0, y+1, 0)
	}
	s.take(s.a.Finish(s.now))
	equal(t, "history", string(s.only().History), "ShAWW")
}
