package output

import (
	"bytes"
	"net/netip"
	"testing"

	"tcptrace/events"
	"tcptrace/finding"
	"tcptrace/timeline"
)

// crowd are so many timelines, made of the stories, each at another time and some of them slower.
func crowd(n int) []*timeline.Timeline {
	find := finding.New(finding.Options{})
	told := stories()
	paired := ladderStories()["paired"]
	var all []*timeline.Timeline
	add := func(t *timeline.Timeline, i, slower int) *timeline.Timeline {
		t = t.Clone()
		shift := func(at uint64) uint64 {
			return bootNS + (at-bootNS)*uint64(slower)/10 + uint64(i)*37_000_000
		}
		t.ID = uint64(len(all) + 1)
		t.Start = shift(t.Start)
		if t.End.Known {
			t.End.Value = shift(t.End.Value)
		}
		if d := &t.Handshake.DurationNS; d.Known {
			d.Value = d.Value * uint64(slower) / 10
		}
		for j := range t.Entries {
			t.Entries[j].Time = shift(t.Entries[j].Time)
		}
		t.WrittenAt = t.Start + 1e9
		if n := len(t.Entries); n > 0 { // connect() may fail before anything happens
			t.WrittenAt = t.Entries[n-1].Time + 1e9
		}
		local := t.Local
		if t.Role == timeline.RoleClient {
			t.Local = netip.AddrPortFrom(local.Addr(), 32768+uint16(i%28000))
		}
		if len(t.Findings) == 0 {
			find.Find(t)
		}
		all = append(all, t)
		return t
	}
	for i := 0; len(all) < n; i++ {
		slower := 3 + i*i*7%40
		if i%3 > 0 {
			a := add(paired.t, i, slower)
			b := add(paired.peer, i, slower)
			a.PeerID, b.PeerID, b.Remote = b.ID, a.ID, a.Local
			continue
		}
		t := add(&told[(i/3)%len(told)].t, i, slower)
		t.PeerID = 0
	}
	return all[:n]
}

// report is the page about some timelines.
func report(t testing.TB, all []*timeline.Timeline) []byte {
	t.Helper()
	var out bytes.Buffer
	o := storyOptions()
	o.Out = &out
	w, err := New("html", o)
	if err != nil {
		t.Fatal(err)
	}
	for _, tl := range all {
		if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: tl}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil || out.Len() > 0 {
		t.Fatalf("%d bytes were written before all was known: %v", out.Len(), err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A report holds what it is given, however hostile, as text: nothing ends the element that it stands in.
func TestReportIsHarmless(t *testing.T) {
	const name = "</script><b>x"
	s := tell("hostile", "10.0.0.1:1", "10.0.0.2:2").by(7, name, events.SourceIO).opened(1e6).end()
	s.t.Findings = []timeline.Finding{{Code: "<i>", Severity: timeline.SeverityError, Text: `"><script>alert(1)</script>`, Next: "<u>"}}
	got := report(t, []*timeline.Timeline{&s.t})
	for _, evil := range []string{"<b>x", "<i>", "<script>alert", "<u>"} {
		if bytes.Contains(got, []byte(evil)) {
			t.Errorf("%s stands in the page", evil)
		}
	}
	if n := bytes.Count(got, []byte("</script>")); n != 3 { // the data, one block, the script
		t.Errorf("%d scripts end, want 3", n)
	}
	for _, from := range []string{"http:", "https:", "src=", "@import", "url("} {
		if rest := bytes.ReplaceAll(got, []byte("http://www.w3.org/2000/svg"), nil); bytes.Contains(rest, []byte(from)) {
			t.Errorf("the page loads something: %s", from)
		}
	}
}

// With nothing to tell there is a page that says so; what is too much is counted.
func TestReportOfNothingAndOfTooMuch(t *testing.T) {
	if got := report(t, nil); !bytes.Contains(got, []byte("Nothing unusual was found.")) || !bytes.Contains(got, []byte("No handshake was seen")) {
		t.Errorf("%s", got)
	}
	one := crowd(1)[0]
	one.Handshake.Outcome = timeline.OutcomeRefused
	w, err := newHTML(Options{Out: new(bytes.Buffer)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range mostReported + 3 {
		one.ID = uint64(i + 1)
		if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: one}); err != nil {
			t.Fatal(err)
		}
	}
	if h := w.(*htmlWriter); len(h.all) != mostReported || h.leftOut != 3 {
		t.Errorf("%d held, %d left out", len(h.all), h.leftOut)
	} else if tiles := h.tiles(); tiles[0].Value != "20003" || tiles[1].Value != "20003" {
		t.Errorf("seen and failed: %v", tiles[:2])
	}
}

// The ends of a connection share a ladder, and each row's is its own.
func TestReportPairs(t *testing.T) {
	w := &htmlWriter{options: storyOptions(), byID: map[uint64]int{}}
	for _, tl := range crowd(30) {
		if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: tl}); err != nil {
			t.Fatal(err)
		}
	}
	ladders, of := w.ladders()
	for i, tl := range w.all {
		p := ladders[of[i]]
		if p.t != tl && p.peer != tl {
			t.Errorf("timeline %d is in neither end of its ladder", tl.ID)
		}
		if (p.peer != nil) != (tl.PeerID != 0) {
			t.Errorf("timeline %d, with the peer %d, is in a ladder of %+v", tl.ID, tl.PeerID, p)
		}
	}
}
