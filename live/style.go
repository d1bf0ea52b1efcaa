package live

import (
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
)

// The colours: the terminal's own sixteen, which are legible on its background.
var (
	styleDim      = text.Colors{text.Faint}
	styleBold     = text.Colors{text.Bold}
	styleSelected = text.Colors{text.ReverseVideo}
	styleGood     = text.Colors{text.FgGreen}
	styleBusy     = text.Colors{text.FgCyan}
	styleWarn     = text.Colors{text.FgYellow}
	styleBad      = text.Colors{text.FgRed}
	styleAlarm    = text.Colors{text.Bold, text.FgRed}
)

// paint gives words a style: where there are no colours, its attributes alone.
func (m *Model) paint(style text.Colors, words string) string {
	if !m.o.Output.Color {
		style = slices.DeleteFunc(slices.Clone(style), func(c text.Color) bool { return c >= text.FgBlack })
	}
	if len(style) == 0 || words == "" {
		return words
	}
	return text.Escape(words, style.EscapeSeq())
}

func stateStyle(s events.State) text.Colors {
	switch s {
	case events.Established:
		return styleGood
	case events.SynSent, events.SynRecv:
		return styleBusy
	case events.TimeWait, events.Close:
		return styleDim
	}
	return styleWarn
}

var classStyles = [classes]text.Colors{failed: styleAlarm, stuck: {text.Bold, text.FgYellow},
	resending: {text.Bold, text.FgMagenta}, open: {text.Bold, text.FgGreen}, closed: styleDim}

// columns is how many a text takes on the screen.
func columns(s string) int { return text.StringWidthWithoutEscSequences(s) }

// fit cuts a line to so many columns, colours kept.
func fit(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	return text.Trim(s, width)
}

// bar is n of most, in width columns; something for whatever is not 0.
func (m *Model) bar(n, most, width int) string {
	if n == 0 || most == 0 {
		return strings.Repeat(" ", width)
	}
	if m.o.Output.ASCII {
		full := max(1, n*width/most)
		return strings.Repeat("#", full) + strings.Repeat(" ", width-full)
	}
	eighths := max(1, n*width*8/most)
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string("▏▎▍▌▋▊▉"[(rest-1)*3 : rest*3])
	}
	return s + strings.Repeat(" ", width-columns(s))
}

// rule continues a title to the screen's edge.
func (m *Model) rule(width int) string {
	if m.o.Output.ASCII {
		return strings.Repeat("-", max(width, 0))
	}
	return strings.Repeat("─", max(width, 0))
}

// either is the first, or on a screen without UTF-8 the second.
func (m *Model) either(utf8, ascii string) string {
	if m.o.Output.ASCII {
		return ascii
	}
	return utf8
}
