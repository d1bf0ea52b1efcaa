package output

import (
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

// cutMark ends a name of which only the first part is shown.
const cutMark = '~'

// appendClean appends raw text so that it can do no harm on a terminal, at most
// limit columns of it (0: no limit), and tells how many columns that took. A
// longer text is cut and ends with cutMark. What is not a visible character is
// shown instead of sent: a control character, C1 included, or a byte that is not
// UTF-8 as \xNN; anything else that is invisible or changes the direction or the
// look of its neighbours as U+FFFD.
func appendClean(b, raw []byte, limit int) ([]byte, int) {
	start := len(b)
	width, mark, markWidth := 0, start, 0 // mark: up to where there is room for cutMark
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		w := 1
		switch {
		case r >= ' ' && r < 0x7f:
			b = append(b, byte(r))
		case r == utf8.RuneError && n <= 1:
			b, w = appendHex(b, raw[0]), len(`\xNN`)
		case r < 0xa0:
			b, w = appendHex(b, byte(r)), len(`\xNN`)
		case !visible(r, len(b) > start):
			b, w = utf8.AppendRune(b, utf8.RuneError), text.RuneWidth(utf8.RuneError)
		default:
			b, w = utf8.AppendRune(b, r), text.RuneWidth(r)
		}
		raw = raw[n:]
		if limit > 0 && width+w > limit {
			return append(b[:mark], cutMark), markWidth + 1
		}
		width += w
		if limit > 0 && width < limit {
			mark, markWidth = len(b), width
		}
	}
	return b, width
}

// visible tells whether a rune beyond ASCII may be shown. Marks need a character
// to stand on: at the start of a field they would change the one before it.
func visible(r rune, inside bool) bool {
	switch {
	case !unicode.IsPrint(r), unicode.Is(unicode.Variation_Selector, r):
		return false
	case unicode.IsMark(r):
		return inside
	case text.RuneWidth(r) == 0:
		return false
	}
	return true
}

func appendHex(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'x', hex[c>>4], hex[c&15])
}

// pad appends spaces after something that took width columns, up to the column's width.
func pad(b []byte, width, column int) []byte {
	for ; width < column; width++ {
		b = append(b, ' ')
	}
	return b
}
