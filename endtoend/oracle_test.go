package endtoend

import (
	"net/netip"
	"strings"
	"testing"

	"tcptrace/internal/lab"
)

// TestOracle: the judge is tested too, on captures written by hand.
func TestOracle(t *testing.T) {
	c, s := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("192.0.2.2:80")
	// line is "c SYN 10 0 0": who sends which flags, seq, ack, payload.
	segment := func(from string, flags uint8, seq, ackNo, length uint32) lab.Segment {
		src, dst := c, s
		if from == "s" {
			src, dst = s, c
		}
		return lab.Segment{Src: src, Dst: dst, Flags: flags, Seq: seq, Ack: ackNo, Len: length, MSS: -1, WScale: -1, TSVal: -1, TSEcr: -1}
	}
	open := []lab.Segment{
		segment("c", syn, 10, 0, 0),
		segment("s", syn|ack, 50, 11, 0),
		segment("c", ack, 11, 51, 0),
	}
	for _, x := range []struct {
		name    string
		capture []lab.Segment
		want    string // places in the capture, those sent by c, then those received
	}{
		{"handshake", open, "0 2 | 1"},
		{"data and its ACKs are none", append(open[:3:3],
			segment("c", psh|ack, 11, 51, 100), segment("s", ack, 51, 111, 0),
			segment("s", psh|ack, 51, 111, 7), segment("c", ack, 111, 58, 0)), "0 2 | 1"},
		{"third ACK with data", append(open[:2:2], segment("c", psh|ack, 11, 51, 100), segment("s", ack, 51, 111, 0)), "0 2 | 1"},
		{"SYN-ACK again, answered again", append(open[:3:3], open[1], open[2]), "0 2 4 | 1 3"},
		{"four-way close", append(open[:3:3],
			segment("c", fin|ack, 11, 51, 0), segment("s", ack, 51, 12, 0),
			segment("s", fin|ack, 51, 12, 0), segment("c", ack, 12, 52, 0), segment("c", ack, 12, 52, 0)), "0 2 3 6 | 1 4 5"},
		{"FIN with data is acknowledged past both", append(open[:3:3],
			segment("c", fin|ack, 11, 51, 5), segment("s", ack, 51, 16, 0), segment("s", ack, 51, 17, 0)), "0 2 3 | 1 5"},
		{"half-close: data acknowledges the FIN once", append(open[:3:3],
			segment("c", fin|ack, 11, 51, 0), segment("s", psh|ack, 51, 12, 9), segment("s", psh|ack, 60, 12, 9)), "0 2 3 | 1 4"},
		{"FIN again, answered again", append(open[:3:3],
			segment("s", fin|ack, 51, 11, 0), segment("c", ack, 11, 52, 0),
			segment("s", fin|ack, 51, 11, 0), segment("c", ack, 11, 52, 0)), "0 2 4 6 | 1 3 5"},
		{"reset", append(open[:3:3], segment("c", rst|ack, 11, 51, 0)), "0 2 3 | 1"},
		{"somebody else's", []lab.Segment{{Src: s, Dst: netip.MustParseAddrPort("192.0.2.3:1"), Flags: syn}}, " | "},
	} {
		tx, rx := controlSegments(x.capture, c, s)
		// Each must be the one at its place in the capture, in order.
		places := func(picked []lab.Segment) string {
			var all []string
			at := 0
			for _, p := range picked {
				for at < len(x.capture) && x.capture[at] != p {
					at++
				}
				all = append(all, string(rune('0'+at)))
				at++
			}
			return strings.Join(all, " ")
		}
		if got := places(tx) + " | " + places(rx); got != x.want {
			t.Errorf("%s: got %s, want %s", x.name, got, x.want)
		}
	}
}

// TestFormatsAgree: the same segment in sharkd's words and in the tracer's reads the same, and a
// difference in any field shows.
func TestFormatsAgree(t *testing.T) {
	captured := lab.Segment{Flags: syn | ack, Seq: 1, Ack: 2, Window: 3, Len: 4, MSS: 1460, WScale: 7, SACKPermitted: true, TSVal: 5, TSEcr: 6}
	entry := lab.Entry{Flags: []string{"SYN", "ACK"}, Seq: 1, Ack: 2, Window: 3, Len: 4}
	entry.Options = &lab.Options{MSS: new(int), WScale: new(int), SACKPermitted: true, TSVal: new(int64), TSEcr: new(int64)}
	*entry.Options.MSS, *entry.Options.WScale, *entry.Options.TSVal, *entry.Options.TSEcr = 1460, 7, 5, 6
	same := formatCaptured(captured)
	equal(t, "entry", formatEntry(entry), same)
	for i, change := range []func(s *lab.Segment){
		func(s *lab.Segment) { s.Flags = syn }, func(s *lab.Segment) { s.Seq++ }, func(s *lab.Segment) { s.Ack++ },
		func(s *lab.Segment) { s.Window++ }, func(s *lab.Segment) { s.Len++ }, func(s *lab.Segment) { s.MSS = -1 },
		func(s *lab.Segment) { s.WScale = 0 }, func(s *lab.Segment) { s.SACKPermitted = false },
		func(s *lab.Segment) { s.TSVal++ }, func(s *lab.Segment) { s.TSEcr = -1 },
	} {
		other := captured
		change(&other)
		if formatCaptured(other) == same {
			t.Errorf("change %d does not show", i)
		}
	}
}
