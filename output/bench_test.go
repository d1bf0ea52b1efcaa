package output

import (
	"io"
	"testing"

	"tcptrace/timeline"
)

func benchmark(b *testing.B, format string, wide bool, kinds ...timeline.UpdateKind) {
	o := storyOptions()
	o.Out, o.Wide = io.Discard, wide
	w, err := New(format, o)
	if err != nil {
		b.Fatal(err)
	}
	var updates []timeline.Update
	for _, u := range stories()[0].updates() {
		for _, k := range kinds {
			if u.Kind == k {
				updates = append(updates, u)
			}
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := w.Write(&updates[i%len(updates)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// A timeline of 12 entries, one line.
func BenchmarkJSONTimeline(b *testing.B) { benchmark(b, "json", false, timeline.UpdateEnd) }

// One line for one entry.
func BenchmarkTextEntry(b *testing.B)     { benchmark(b, "text", false, timeline.UpdateEntry) }
func BenchmarkTextEntryWide(b *testing.B) { benchmark(b, "text", true, timeline.UpdateEntry) }

// The summary of a connection.
func BenchmarkTextClosing(b *testing.B) { benchmark(b, "text", false, timeline.UpdateEnd) }

// What tells of all there is, as it happens, allocates nothing in the steady state. What was found is put in words.
func TestNoAllocations(t *testing.T) {
	for _, f := range Formats {
		if f.Name != "text" && f.Name != "json" {
			continue
		}
		for _, wide := range []bool{false, true} {
			o := storyOptions()
			o.Out, o.Wide = io.Discard, wide
			w, err := f.New(o)
			if err != nil {
				t.Fatal(err)
			}
			var updates []timeline.Update
			for _, s := range stories() {
				if len(s.t.Findings) == 0 {
					updates = append(updates, s.updates()...)
				}
			}
			all := func() {
				for i := range updates {
					if err := w.Write(&updates[i]); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			all()
			if n := testing.AllocsPerRun(50, all); n > 0 {
				t.Errorf("%s (wide: %v): %v allocations for %d updates", f.Name, wide, n, len(updates))
			}
		}
	}
}
