package output

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

func TestAppendClean(t *testing.T) {
	tests := []struct {
		raw   string
		limit int
		want  string
	}{
		{"curl", 10, "curl"},
		{"", 10, ""},
		{"0123456789", 10, "0123456789"},
		{"0123456789a", 10, "012345678~"},
		{"\x1b[31m", 0, `\x1b[31m`},
		{"a\nb\rc\td", 0, `a\x0ab\x0dc\x09d`},
		{"\x7f", 0, `\x7f`},
		{"\x9b31m", 0, `\x9b31m`},        // not UTF-8: a C1 byte
		{"\u009b31m", 0, `\x9b31m`},      // the same control character in UTF-8
		{"\xff\xc3", 0, `\xff\xc3`},      // not UTF-8
		{"\ufffd", 0, "\ufffd"},          // is UTF-8
		{"a\u202eb", 0, "a\ufffdb"},      // right-to-left override
		{"a\u2066b", 0, "a\ufffdb"},      // isolate
		{"a\u200bb", 0, "a\ufffdb"},      // zero width space
		{"a\u2028b", 0, "a\ufffdb"},      // line separator
		{"\u0301a", 0, "\ufffda"},        // a mark that would change the column before it
		{"e\u0301a", 2, "e\u0301a"},      // a mark in its place
		{"生命", 4, "生命"},                  // two columns each
		{"生命生", 5, "生命~"},                // cut with nothing left over
		{"生命生", 4, "生~"},                 // half a character is none
		{"1234567\x1bx", 10, "1234567~"}, // an escape is shown whole or not at all
	}
	for _, tt := range tests {
		got, width := appendClean([]byte("·"), []byte(tt.raw), tt.limit)
		if s := strings.TrimPrefix(string(got), "·"); s != tt.want || width != text.StringWidthWithoutEscSequences(tt.want) {
			t.Errorf("appendClean(%q, %d) = %q, %d columns; want %q", tt.raw, tt.limit, s, width, tt.want)
		}
	}
}

func FuzzAppendClean(f *testing.F) {
	for _, s := range []string{"curl", "\x1b]0;x\a", "\u202e\u0301", "生命\xff", "\U000e0100", "a\u0300\u0300", "\xf0\x9f\x91\xa9\xe2\x80\x8d"} {
		for _, limit := range []int{0, 1, 10} {
			f.Add([]byte(s), limit)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, limit int) {
		got, width := appendClean(nil, raw, limit)
		harmless(t, string(got))
		if w := text.StringWidthWithoutEscSequences(string(got)); w != width {
			t.Errorf("%q: %d columns are said to be %d", got, w, width)
		}
		if limit > 0 && width > limit {
			t.Errorf("%q takes %d columns of %d", got, width, limit)
		}
		if len(raw) > 0 && len(got) == 0 {
			t.Errorf("%q vanished", raw)
		}
	})
}

// harmless checks that a terminal shows s as it is and does nothing else.
func harmless(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%q is not UTF-8", s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			t.Errorf("%q holds %U", s, r)
		}
	}
}
