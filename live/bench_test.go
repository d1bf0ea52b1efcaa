package live

import (
	"testing"

	"tcptrace/events"
	"tcptrace/timeline"
)

// many is an assembler and a model with so many established connections.
func many(b testing.TB, n int) *stage {
	s := newStage(b, plainOptions(), "get-client-closes-first")
	template := s.events
	for i, e := range template {
		if e.Kind() == events.KindState && e.NewState() == events.FinWait1 {
			template = template[:i]
			break
		}
	}
	s.events = nil
	s.assemble = timeline.New(timeline.Options{Entries: true, MaxLive: 2 * n})
	for i := range uint64(n / 2) { // both ends are told
		for _, e := range template {
			next := *e
			move(&next, 0, i<<12)
			t := next.Tuple()
			for _, port := range []*uint16{&t.LocalPort, &t.RemotePort} {
				if *port > 1024 {
					*port = 2000 + uint16(i%50_000)
				}
			}
			t.LocalAddr[13] += byte(i / 50_000)
			t.RemoteAddr[13] += byte(i / 50_000)
			s.now = max(s.now, next.Time())
			s.tell(s.assemble.Add(&next))
		}
	}
	if live := s.assemble.Live(); live != n {
		b.Fatalf("%d connections are open, want %d", live, n)
	}
	return s
}

// BenchmarkGather looks at 50,000 connections and puts them in order.
func BenchmarkGather(b *testing.B) {
	s := many(b, 50_000)
	b.ReportAllocs()
	for b.Loop() {
		s.now += 100e6
		s.gather()
	}
}

// BenchmarkLines makes a frame of a screen of 200 x 50, with 50,000 connections below.
func BenchmarkLines(b *testing.B) {
	s := many(b, 50_000)
	s.model.o.Output.Color = true
	s.model.Resize(200, 50)
	s.gather()
	b.ReportAllocs()
	for b.Loop() {
		s.model.Lines()
	}
}

// BenchmarkFilter is what a key costs that is typed into the filter, over 50,000 connections.
func BenchmarkFilter(b *testing.B) {
	s := many(b, 50_000)
	s.gather()
	s.model.Press("/")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.model.Press([]Key{"8", KeyBackspace}[i%2])
	}
}

// BenchmarkFilterFindings is the same for a letter, which may be one of a finding's code.
func BenchmarkFilterFindings(b *testing.B) {
	s := many(b, 50_000)
	s.gather()
	s.model.Press("/")
	s.model.Press("-")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.model.Press([]Key{"l", KeyBackspace}[i%2])
	}
}

// BenchmarkUpdate is what the model adds to each event.
func BenchmarkUpdate(b *testing.B) {
	s := newStage(b, plainOptions(), "get-client-closes-first")
	var entries []timeline.Update
	for _, e := range s.events {
		for _, u := range s.assemble.Add(e) {
			if u.Kind == timeline.UpdateEntry {
				t, entry := u.Timeline.Clone(), *u.Entry
				entries = append(entries, timeline.Update{Kind: u.Kind, Timeline: t, Entry: &entry})
			}
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.model.Update(&entries[i%len(entries)])
	}
}
