package output

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"tcptrace/events"
	"tcptrace/internal/schema"
	"tcptrace/timeline"
)

func TestJSONIsValid(t *testing.T) {
	for _, s := range stories() {
		for line := range bytes.Lines(written(t, "json", storyOptions(), s)) {
			if err := schema.Validate(line); err != nil {
				t.Errorf("%s: %v\n%s", s.name, err, line)
			}
		}
	}
}

// What nobody knows is null, and an empty timeline is as valid as any.
func TestJSONNothingKnown(t *testing.T) {
	var out bytes.Buffer
	w, err := New("json", Options{Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: &timeline.Timeline{ID: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(out.Bytes()); err != nil {
		t.Error(err)
	}
	golden(t, "nothing-known.json", out.Bytes())
}

// A process may have no name: prctl(PR_SET_NAME, "").
func TestJSONOfTheNameless(t *testing.T) {
	nobody := timeline.Process{PID: 7, Source: events.SourceConnect}
	line := written(t, "json", storyOptions(), &story{t: timeline.Timeline{
		ID: 1, Process: nobody, OpenedBy: timeline.Actor{PID: 7}, AcceptedBy: timeline.Actor{PID: 7},
		ClosedBy: timeline.Closer{Side: timeline.SideLocal, Actor: timeline.Actor{PID: 7}},
		Entries: []timeline.Entry{
			{Type: timeline.EntryOwner, PID: 7, Source: events.SourceIO},
			{Type: timeline.EntryState, PID: 7, From: events.Close, To: events.SynSent},
		},
	}})
	if err := schema.Validate(line); err != nil {
		t.Errorf("%v\n%s", err, line)
	}
}

// A reason that has no name on this kernel is its number.
func TestJSONReasonWithoutName(t *testing.T) {
	o := storyOptions()
	o.ResetReason = func(uint32) string { return "" }
	o.DropReason = nil
	s := &story{t: timeline.Timeline{ID: 1,
		Teardown: timeline.Teardown{ResetBy: timeline.SideLocal, ResetReason: 77},
		Entries:  []timeline.Entry{{Type: timeline.EntryDrop, Dir: timeline.Rx, DropReason: 88}},
	}}
	line := string(written(t, "json", o, s))
	for _, want := range []string{`"reset":{"by":"local","reason":"77","inferred":false}`, `"reason":"88","dir":"rx"`} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}

// A field that may be unknown says so in the list, or this finds it.
func TestJSONUnknownIsOptional(t *testing.T) {
	source := Source{Timeline: &timeline.Timeline{ID: 1}, Entry: &timeline.Entry{}, Finding: &timeline.Finding{}, Options: &Options{}}
	hidden := "" // an Object that is null hides what is below it
	for _, f := range TimelineFields {
		if hidden != "" && strings.HasPrefix(f.Path, hidden) {
			continue
		}
		if f.present != nil && !f.present(&source) {
			hidden = f.Path + "."
		}
		if f.value != nil && len(f.Append(nil, &source)) == 0 && !f.Optional {
			t.Errorf("%s is not Optional, yet unknown", f.Path)
		}
	}
}

func TestJSONWritesWholeLines(t *testing.T) {
	s := stories()[0]
	var out bytes.Buffer
	o := storyOptions()
	o.Out = &out
	w, err := New("json", o)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		for _, u := range s.updates() {
			if err := w.Write(&u); err != nil {
				t.Fatal(err)
			}
			if n := out.Len(); n > 0 && out.Bytes()[n-1] != '\n' {
				t.Fatal("half a line was written")
			}
		}
	}
	if out.Len() == 0 {
		t.Error("nothing was written without Flush: memory is not bounded")
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 2000 {
		t.Errorf("%d lines, want 2000", n)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrorIsTold(t *testing.T) {
	for _, f := range Formats {
		o := storyOptions()
		o.Out = brokenPipe{}
		w, err := f.New(o)
		if err == nil {
			for _, u := range stories()[0].updates() {
				if err := w.Write(&u); err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
			}
			if err = w.Flush(); err == nil { // some write only when all is known
				err = w.Close()
			}
		}
		if err == nil {
			t.Errorf("%s: no error", f.Name)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	_, err := New("yaml", Options{Out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "text, json") {
		t.Errorf("error %v does not name the formats", err)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "curl", "\x00\x1b\"\\\n", "\xff\xc3(", "\u202e\u009b", "\U000e0001生", strings.Repeat("\x01", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		quoted := append(escape([]byte(`"`+raw), 1), '"')
		var got string
		if err := json.Unmarshal(quoted, &got); err != nil {
			t.Fatalf("%q → %s: %v", raw, quoted, err)
		}
		if want := string([]rune(raw)); got != want { // each byte that is not UTF-8 is one U+FFFD
			t.Errorf("%q → %s → %q", raw, quoted, got)
		}
		for _, r := range string(quoted) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q → %q holds %U", raw, quoted, r)
			}
		}
		if !utf8.Valid(quoted) {
			t.Errorf("%q → %q is not UTF-8", raw, quoted)
		}
	})
}

// What is printed is what the lists have; and but for what no story has, all of it.
func TestJSONPrintsTheFields(t *testing.T) {
	printed := map[string]map[string]bool{"timeline": {}, "entry": {}}
	var walk func(into map[string]bool, prefix string, v any)
	walk = func(into map[string]bool, prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				into[prefix+name] = true
				if prefix == "" && name == "timeline" {
					for _, e := range member.([]any) {
						walk(printed["entry"], "", e)
					}
				} else {
					walk(into, prefix+name+".", member)
				}
			}
		}
	}
	for _, s := range stories() {
		var v any
		line, _, _ := bytes.Cut(written(t, "json", storyOptions(), s), []byte("\n"))
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		walk(printed["timeline"], "", v)
	}
	for name, fields := range map[string][]Field{"timeline": TimelineFields, "entry": EntryFields} {
		in := printed[name]
		for _, f := range fields {
			switch f.Path {
			case "options.fast_open", "options.mptcp", "options.malformed":
			default:
				if !in[f.Path] {
					t.Errorf("%s: no story prints %s", name, f.Path)
				}
			}
			delete(in, f.Path)
		}
		for path := range in {
			t.Errorf("%s: %s is printed, but in no list", name, path)
		}
	}
}
