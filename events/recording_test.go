package events

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRecordingGivesBackWhatWasRecorded(t *testing.T) {
	want := sample()
	copy(want.r.Comm[:], "a\nb\x1b[2J")
	clock := NewClock(time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC), 77)
	var file bytes.Buffer
	r, err := NewRecorder(&file, clock)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.Write(want); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(file.String(), "\x1b") {
		t.Error("an escape sequence is in the file")
	}

	n := 0
	err = Replay(&file, func(c Clock) error {
		if c.Wall(0) != clock.Wall(0) {
			t.Errorf("clock: got %v, want %v", c.Wall(0), clock.Wall(0))
		}
		return nil
	}, func(e *Event) error {
		if !bytes.Equal(e.Bytes(), want.Bytes()) {
			t.Errorf("event %d differs", n)
		}
		n++
		return nil
	})
	if err != nil || n != 3 {
		t.Errorf("%d events, error %v", n, err)
	}
}

func TestReplayNamesTheLineAtFault(t *testing.T) {
	good := "tcptrace-events/1 record=176 boot=2026-03-01T12:00:00Z\n"
	for _, c := range []struct{ name, file, want string }{
		{"empty", "", "line 1: not a recording"},
		{"something else", "hello\n", "line 1: not a recording"},
		{"a later version's", "tcptrace-events/2 record=176\n", "line 1: a recording of another version of tcptrace"},
		{"cut short in line 1", good[:30], "line 1: it does not say record=176 boot=TIME"},
		{"a line without end", strings.Repeat("x", 2<<20), "line 1: not a recording"},
		{"a record without end", good + strings.Repeat("0", 2<<20), "line 2: not a record"},
		{"another version's", strings.Replace(good, "176", "200", 1), "line 1: its records have 200 bytes"},
		{"no time", strings.Replace(good, "2026-03-01T12:00:00Z", "noon", 1), "line 1:"},
		{"cut short", good + "# caption\n0011\n", "line 3: not a record"},
		{"not hexadecimal", good + strings.Repeat("zz", Size) + "\n", "line 2: not a record"},
		{"too long", good + strings.Repeat("00", Size+1) + "\n", "line 2: not a record"},
		{"unknown kind", good + strings.Repeat("00", Size) + "\n", "line 2: a record of unknown kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Replay(strings.NewReader(c.file), func(Clock) error { return nil }, func(*Event) error { return nil })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestReplayStopsAtTheFirstError(t *testing.T) {
	stop := errors.New("stop")
	err := Replay(strings.NewReader("tcptrace-events/1 record=176 boot=2026-03-01T12:00:00Z\n"),
		func(Clock) error { return stop }, nil)
	if !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func FuzzReplay(f *testing.F) {
	var file bytes.Buffer
	r, _ := NewRecorder(&file, NewClock(time.Unix(1, 0), 0))
	_ = r.Write(sample())
	_ = r.Flush()
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, file []byte) {
		_ = Replay(bytes.NewReader(file), func(Clock) error { return nil }, func(e *Event) error {
			if e == nil {
				t.Error("nil event")
			}
			return nil
		})
	})
}
