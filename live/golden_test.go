package live

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

var update = flag.Bool("update", false, "write the golden files anew")

// everything is a bit of all that can be on the screen.
var everything = []string{"get-client-closes-first", "get-server-closes-first", "refused", "syn-dropped-until-timeout", "fin-lost",
	"half-close", "linger-0", "opened-before", "synack-dropped-once", "close-with-unread-data", "simultaneous-close"}

// golden compares the screen with a file.
func (s *stage) golden(name string) {
	s.t.Helper()
	lines := s.model.Lines()
	s.fits(lines)
	got := ""
	for _, line := range lines {
		if !s.model.o.Output.Color {
			line = text.StripEscape(line) // bold and the like
		}
		got += strings.TrimRight(line, " ") + "\n"
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if got != string(want) {
		s.t.Errorf("%s: the screen is\n%s\nand not\n%s", path, got, want)
	}
}

// fits: as many lines as the screen has, none wider.
func (s *stage) fits(lines []string) {
	s.t.Helper()
	if len(lines) != s.model.height {
		s.t.Errorf("%d lines on a screen of %d", len(lines), s.model.height)
	}
	for i, line := range lines {
		if n := text.StringWidthWithoutEscSequences(line); n > s.model.width {
			s.t.Errorf("line %d has %d columns on a screen of %d: %q", i, n, s.model.width, line)
		}
		if strings.ContainsAny(line, "\n\r\t") {
			s.t.Errorf("line %d has what moves the cursor: %q", i, line)
		}
	}
}

func TestScreens(t *testing.T) {
	ascii := plainOptions()
	ascii.Output.ASCII = true
	colour := plainOptions()
	colour.Output.Color = true
	for _, c := range []struct {
		name          string
		options       Options
		width, height int
		at            time.Duration
		keys          []Key
	}{
		{name: "80x24", width: 80, height: 24, at: 2500 * time.Millisecond},
		{name: "80x24-ascii", options: ascii, width: 80, height: 24, at: 2500 * time.Millisecond},
		{name: "80x24-colour", options: colour, width: 80, height: 24, at: 2500 * time.Millisecond},
		{name: "120x40", width: 120, height: 40, at: 2500 * time.Millisecond},
		{name: "200x50", width: 200, height: 50, at: 2500 * time.Millisecond},
		{name: "empty", width: 80, height: 24},
		{name: "filter", width: 80, height: 24, at: 2500 * time.Millisecond, keys: []Key{"/", "s", "y", "n", "_"}},
		{name: "filter-nothing", width: 80, height: 24, at: 2500 * time.Millisecond, keys: []Key{"/", "~", "x", KeyEnter}},
		{name: "failed-only", width: 80, height: 24, at: 2500 * time.Millisecond, keys: []Key{"f"}},
		{name: "sorted", width: 120, height: 24, at: 2500 * time.Millisecond, keys: []Key{"s", "s", "s", "s", "s"}},
		{name: "paused", width: 80, height: 24, at: 2500 * time.Millisecond, keys: []Key{"p", KeyDown}},
		{name: "ladder", width: 80, height: 24, at: 2500 * time.Millisecond, keys: []Key{KeyEnter}},
		{name: "explain", width: 80, height: 24, at: 2500 * time.Millisecond, keys: []Key{KeyDown, "e"}},
		{name: "help", width: 80, height: 24, keys: []Key{"?"}},
		{name: "60x12", width: 60, height: 12, at: 2500 * time.Millisecond},
		{name: "tiny", width: 30, height: 8, at: 2500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := c.options
			if o.Filter == "" {
				o = plainOptions()
			}
			s := newStage(t, o, everything...)
			s.model.Resize(c.width, c.height)
			s.until(c.at).press(c.keys...).golden(c.name)
		})
	}
}

// TestEverySize: no size makes a line too wide or too many of them, or panics, on any page.
func TestEverySize(t *testing.T) {
	s := newStage(t, plainOptions(), everything...).until(2500 * time.Millisecond)
	for _, keys := range [][]Key{nil, {KeyEnter}, {"e"}, {"?"}, {"q", "/", "a"}} {
		s.press(keys...)
		for _, height := range []int{1, 2, 3, 5, 10, 24, 100} {
			for _, width := range []int{1, 2, 5, 20, 40, 79, 80, 81, 100, 150, 250, 400} {
				s.model.Resize(width, height)
				s.fits(s.model.Lines())
			}
		}
	}
}
