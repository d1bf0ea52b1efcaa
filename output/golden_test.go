package output

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
)

var update = flag.Bool("update", false, "write the golden files and the tables of docs/json.md anew")

func TestMain(m *testing.M) {
	text.OverrideRuneWidthEastAsianWidth(false) // else some widths depend on the locale
	os.Exit(m.Run())
}

// written is what a format makes of the stories.
func written(t *testing.T, format string, o Options, told ...*story) []byte {
	t.Helper()
	var out bytes.Buffer
	o.Out = &out
	w, err := New(format, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range told {
		for _, u := range s.updates() {
			if err := w.Write(&u); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test ./output -update writes it anew); got\n%s\nwant\n%s", path, got, want)
	}
}

func TestGolden(t *testing.T) {
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			o := storyOptions()
			got := written(t, "text", o, s)
			golden(t, s.name+".text", got)
			fits(t, got)
			got = written(t, "explain", o, s)
			golden(t, s.name+".explain", got)
			fits(t, got)
			golden(t, s.name+".json", written(t, "json", o, s))
			o.Wide = true
			golden(t, s.name+".wide", written(t, "text", o, s))
		})
	}
}

// fits fails the test where a line is longer than a screen is wide.
func fits(t *testing.T, got []byte) {
	t.Helper()
	for _, line := range strings.Split(string(got), "\n") {
		if w := text.StringWidthWithoutEscSequences(line); w > 80 {
			t.Errorf("%d columns: %s", w, line)
		}
	}
}

func TestGoldenTimeColumns(t *testing.T) {
	o := storyOptions()
	o.Time = TimeOfDay | TimeSeconds
	golden(t, "client-get.time", written(t, "text", o, stories()[0]))
}
