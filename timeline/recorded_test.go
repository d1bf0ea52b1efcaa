package timeline_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcptrace/events"
	"tcptrace/finding"
	"tcptrace/output"
	"tcptrace/timeline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// lingers are the scenarios that were recorded with another --linger than 1 s.
var lingers = map[string]uint64{
	"fin-again-after-the-line":        0,
	"time-wait-reused-after-the-line": 0,
	"time-wait-reused":                30e9,
}

// TestRecorded sends what the kernel said in each recorded scenario through the state machine
// and compares what comes out, as JSON, as text, as prose and as a ladder, with what was found right. The recordings are
// made by the tests in endtoend, which compare the same with sharkd: TCPTRACE_RECORD=DIR.
func TestRecorded(t *testing.T) {
	recordings, err := filepath.Glob("testdata/*.events")
	if err != nil || len(recordings) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, path := range recordings {
		name := strings.TrimSuffix(filepath.Base(path), ".events")
		t.Run(name, func(t *testing.T) {
			for _, format := range []string{"json", "text", "explain", "ladder"} {
				golden := strings.TrimSuffix(path, ".events") + "." + format
				got := replay(t, path, format, lingerOf(name))
				if *update {
					if err := os.WriteFile(golden, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s differs from %s:\n%s", format, golden, firstDifference(got, want))
				}
			}
		})
	}
}

func lingerOf(name string) uint64 {
	if linger, ok := lingers[name]; ok {
		return linger
	}
	return 1e9
}

func replay(t *testing.T, path, format string, linger uint64) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	var w output.Writer
	a := timeline.New(timeline.Options{Linger: linger, Entries: format == "text"})
	find := finding.New(finding.Options{})
	write := func(updates []timeline.Update) {
		for i := range updates {
			if updates[i].Kind == timeline.UpdateEnd {
				find.Find(updates[i].Timeline)
			}
			if err := w.Write(&updates[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := uint64(0)
	err = events.Replay(f, func(clock events.Clock) (err error) {
		w, err = output.New(format, output.Options{Out: &out, Clock: clock})
		return err
	}, func(e *events.Event) error {
		last = max(last, e.Time())
		write(a.Add(e))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	write(a.Finish(last))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// firstDifference are the first lines that differ.
func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			wanted := "(nothing)"
			if i < len(w) {
				wanted = w[i]
			}
			return "got:  " + g[i] + "\nwant: " + wanted
		}
	}
	return "lines are missing at the end"
}

// TestReplayTwice: the state machine has no clock and no chance in it.
func TestReplayTwice(t *testing.T) {
	const path = "testdata/synack-dropped-once.events"
	if a, b := replay(t, path, "json", 1e9), replay(t, path, "json", 1e9); !bytes.Equal(a, b) {
		t.Error("two replays differ")
	}
}

// FuzzAssembler sends events of any content and order: nothing may panic, and what is told must
// be well formed.
func FuzzAssembler(f *testing.F) {
	recordings, _ := filepath.Glob("testdata/*.events")
	for _, path := range recordings {
		recorded := records(f, path)
		if len(recorded) > 16 {
			continue // a fuzzer gets further with short seeds
		}
		var all []byte
		for _, e := range recorded {
			all = append(all, e.Bytes()...)
		}
		f.Add(all, uint16(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, cap uint16) {
		a := timeline.New(timeline.Options{Linger: 1e6, Entries: true, MaxLive: int(cap%64) + 1})
		var writers []output.Writer
		for _, format := range []string{"json", "explain", "ladder"} {
			w, err := output.New(format, output.Options{Out: new(bytes.Buffer)})
			if err != nil {
				t.Fatal(err)
			}
			writers = append(writers, w)
		}
		find := finding.New(finding.Options{})
		check := func(updates []timeline.Update) {
			for i := range updates {
				u := &updates[i]
				last := uint64(0)
				for j, entry := range u.Timeline.Entries {
					if u.Kind == timeline.UpdateEnd && entry.Time < last {
						t.Fatalf("entry %d is out of order", j)
					}
					last = entry.Time
				}
				if u.Kind == timeline.UpdateEnd {
					find.Find(u.Timeline)
				}
				for _, w := range writers {
					if err := w.Write(u); err != nil {
						t.Fatal(err)
					}
				}
			}
			if a.Live() > int(cap%64)+1 {
				t.Fatalf("%d timelines live, more than the cap", a.Live())
			}
		}
		// Aligned, as records are in the ring.
		e := new(events.Event)
		now := uint64(0)
		for ; len(stream) >= events.Size; stream = stream[events.Size:] {
			copy(e.Bytes(), stream)
			if v := events.View(e.Bytes()); v != nil {
				check(a.Add(v))
				now = max(now, v.Time())
			}
		}
		check(a.Finish(now))
		if a.Live() != 0 {
			t.Fatalf("%d timelines left after Finish", a.Live())
		}
	})
}
