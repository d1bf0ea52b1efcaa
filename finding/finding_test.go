package finding

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tcptrace/events"
	"tcptrace/timeline"
)

var update = flag.Bool("update", false, "write the golden file and docs/findings.md anew")

const recordings = "../timeline/testdata/"

// replay gives each timeline of a recording, as it is told, to take.
func replay(t *testing.T, path string, o timeline.Options, take func(*timeline.Timeline)) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := timeline.New(o)
	tell := func(updates []timeline.Update) {
		for _, u := range updates {
			if u.Kind == timeline.UpdateEnd {
				take(u.Timeline)
			}
		}
	}
	last := uint64(0)
	err = events.Replay(bytes.NewReader(file), func(events.Clock) error { return nil }, func(e *events.Event) error {
		last = max(last, e.Time())
		tell(a.Add(e))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tell(a.Finish(last))
}

// TestRecorded: what is found in each recorded scenario, in its words.
func TestRecorded(t *testing.T) {
	paths, err := filepath.Glob(recordings + "*.events")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	f := New(Options{DropReason: func(r uint32) string { return map[uint32]string{12: "NETFILTER_DROP"}[r] }})
	var got bytes.Buffer
	for _, path := range paths {
		fmt.Fprintln(&got, strings.TrimSuffix(filepath.Base(path), ".events"))
		replay(t, path, timeline.Options{Linger: 1e9}, func(tl *timeline.Timeline) {
			f.Find(tl)
			for _, found := range tl.Findings {
				fmt.Fprintf(&got, "  %s %s: %s\n    %s\n", tl.Role, found.Severity, found.Code, found.Text)
			}
		})
	}
	const golden = "testdata/recorded.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

// TestDocs: docs/findings.md has what the table has.
func TestDocs(t *testing.T) {
	const path = "../docs/findings.md"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var made bytes.Buffer
	for _, severity := range []timeline.Severity{failure, warning, note} {
		for _, k := range Kinds {
			if k.Severity == severity {
				fmt.Fprintf(&made, "### %s\n\n%s: %s\n\n- Cause: %s\n- Next: %s\n\n", k.Code, k.Severity, k.Means, k.Cause, k.Next)
			}
		}
	}
	begin, end := []byte("<!-- findings -->\n"), []byte("<!-- end -->")
	before, rest, ok := bytes.Cut(doc, begin)
	_, after, ok2 := bytes.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the findings", path)
	}
	want := bytes.Join([][]byte{before, begin, made.Bytes(), end, after}, nil)
	if bytes.Equal(doc, want) {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table: go test ./finding -update", path)
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestKinds: codes are words, each once, the more severe first; none lacks its words.
func TestKinds(t *testing.T) {
	code := regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`)
	had := map[string]bool{}
	for i, k := range Kinds {
		if !code.MatchString(k.Code) || had[k.Code] {
			t.Errorf("code %q", k.Code)
		}
		had[k.Code] = true
		if i > 0 && k.Severity > Kinds[i-1].Severity {
			t.Errorf("%s is more severe than the one above it", k.Code)
		}
		for _, words := range []string{k.Means, k.Cause, k.Next} {
			if words == "" || !strings.Contains(words, " ") {
				t.Errorf("%s: %q is no sentence", k.Code, words)
			}
		}
	}
}
