package output

import (
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// Columns of a ladder: time, time since the row before, left states; lifeline, channel, lifeline; right states.
const (
	ladderMoment  = 9
	ladderState   = len("ESTABLISHED")
	ladderChannel = 100 // at most: longer arrows are no clearer
	// ladderMin is the least width in which a ladder is drawn; a narrower one is given this.
	ladderMin = 64
)

// strokes are what lines are drawn with, each one column wide.
type strokes struct {
	life, waits, from, back, line, torn, right, left, cross, rightward, leftward string
}

var (
	utf8Strokes  = strokes{"│", "┆", "├", "┤", "─", "┄", "▶", "◀", "✗", "→", "←"}
	asciiStrokes = strokes{"|", ":", "|", "|", "-", ".", ">", "<", "X", "->", "<-"}
)

// drawer draws a ladder as lines.
type drawer struct {
	l       *Ladder
	o       *Options
	s       *strokes
	lines   []string
	channel int // columns between the lifelines
	left    int // columns before the left one
	since   bool
	right   bool // the right end's states are known
	state   [2]events.State
	b       strings.Builder
}

// Lines draws the ladder with Options' Width, ASCII, Color and Absolute: the ends, the
// rows, how it ended and what was found. A line is no wider than Width, where that is ladderMin or more, and ends without a newline.
func (l *Ladder) Lines(o *Options) []string {
	d := &drawer{l: l, o: o, s: &utf8Strokes, right: l.Ends[1].Timeline != nil}
	if o.ASCII {
		d.s = &asciiStrokes
	}
	width := o.Width
	switch {
	case width == 0 && o.Wide:
		width = ladderWide
	case width == 0:
		width = ladderWidth
	}
	width = max(width, ladderMin)
	d.since = width >= 76
	d.left = ladderMoment + 1 + ladderState + 1
	if d.since {
		d.left += ladderMoment + 1
	}
	rest := width - d.left - 2
	if d.right {
		rest -= 1 + ladderState
	}
	d.channel = min(rest, ladderChannel)
	d.header()
	for i := range l.Rows {
		d.row(i)
	}
	d.footer(width)
	return d.lines
}

// ladderWidth is that of a screen of which nothing is known, ladderWide that where all is to be shown.
const (
	ladderWidth = 80
	ladderWide  = 140
)

// Colours, by what they say.
var (
	colourDim    = text.Colors{text.Faint}
	colourTitle  = text.Colors{text.Bold}
	colourNumber = text.Colors{text.Bold, text.FgCyan}
	colourGood   = text.Colors{text.FgGreen}
	colourBad    = text.Colors{text.FgRed}
	colourWarn   = text.Colors{text.FgYellow}
	colourState  = text.Colors{text.FgCyan}
)

// paint adds words to the line, in a colour where colours are wanted.
func (d *drawer) paint(c text.Colors, words string) {
	if d.o.Color && len(c) > 0 && words != "" {
		d.b.WriteString(c.EscapeSeq())
		d.b.WriteString(words)
		d.b.WriteString(text.Reset.EscapeSeq())
		return
	}
	d.b.WriteString(words)
}

func (d *drawer) add(words string) { d.b.WriteString(words) }
func (d *drawer) space(n int)      { d.b.WriteString(strings.Repeat(" ", max(n, 0))) }

// end ends the line.
func (d *drawer) end() {
	d.lines = append(d.lines, strings.TrimRight(d.b.String(), " "))
	d.b.Reset()
}

func columns(s string) int { return text.StringWidthWithoutEscSequences(s) }

// header names the ends above their lifelines.
func (d *drawer) header() {
	for i, line := range [2][2]string{{d.l.Ends[0].Name, d.l.Ends[1].Name}, {d.l.Ends[0].Who, d.l.Ends[1].Who}} {
		colour := colourTitle
		if i > 0 {
			colour = nil
		}
		width := d.left + d.channel + 2
		if d.right {
			width += 1 + ladderState
		}
		place := func(name string, at, limit int) int { // centred above its lifeline, as far as there is room
			return max(0, min(at-columns(name)/2, limit-columns(name)))
		}
		left := place(line[0], d.left, width)
		right := place(line[1], d.left+d.channel+1, width)
		if left+columns(line[0])+2 > right {
			left = max(0, right-2-columns(line[0]))
		}
		if left+columns(line[0])+2 > right { // too long for one line
			d.space(left)
			d.paint(colour, line[0])
			d.end()
			d.space(right)
		} else {
			d.space(left)
			d.paint(colour, line[0])
			d.space(right - left - columns(line[0]))
		}
		d.paint(colour, line[1])
		d.end()
	}
	d.first()
}

// first is the row below the names: the states before anything happened.
func (d *drawer) first() {
	var states [2]string
	for side, state := range d.l.firstStates() {
		if state != events.StateUnknown {
			states[side] = state.String()
		}
	}
	d.space(d.left - 1 - len(states[0]))
	d.paint(colourDim, states[0])
	d.add(" " + d.s.life)
	d.space(d.channel)
	d.add(d.s.life + " ")
	d.paint(colourDim, states[1])
	d.end()
}

// row draws a row.
func (d *drawer) row(i int) {
	r := &d.l.Rows[i]
	switch r.Kind {
	case RowSegment, RowDepart, RowArrive:
		d.arrow(r)
	case RowFold:
		d.line(r, "", d.centred(d.l.foldWords(r, d.s.rightward, d.s.leftward)), "")
	case RowGap:
		d.line(r, "", d.centred(gapWords(r)), "")
	default:
		d.line(r, "", d.near(r.Side, d.l.stateWords(r)), "")
	}
}

// near puts words beside a side's lifeline.
func (d *drawer) near(side int, words string) string {
	cut, width := appendClean(nil, []byte(words), d.channel-2)
	if side == 0 || width == 0 {
		return " " + string(cut)
	}
	return strings.Repeat(" ", d.channel-1-width) + string(cut)
}

// foldWords are "77 B →  ← 1256 B in 12.1 ms".
func (l *Ladder) foldWords(r *LadderRow, right, left string) string {
	var parts []string
	if r.ToRight > 0 {
		parts = append(parts, string(human.AppendBytes(nil, r.ToRight))+" "+right)
	}
	if r.ToLeft > 0 {
		parts = append(parts, left+" "+string(human.AppendBytes(nil, r.ToLeft)))
	}
	s := strings.Join(parts, "  ")
	if r.ToRight+r.ToLeft == 0 {
		s = "ACKs"
	}
	if r.LastedNS > 0 {
		s += " in " + span(r.LastedNS)
	}
	if r.Segments > 0 {
		s += ", " + string(human.AppendCount(nil, r.Segments, "segment"))
	}
	if r.Resent > 0 {
		s += ", " + strconv.FormatUint(r.Resent, 10) + " sent again"
	}
	return s
}

// centred cuts words that are too long for the channel, and centres the others.
func (d *drawer) centred(words string) string {
	if words == "" {
		return ""
	}
	cut, width := appendClean(nil, []byte(words), d.channel-2)
	return strings.Repeat(" ", (d.channel-width)/2) + string(cut)
}

// line draws what a row has beside its channel, and in it words, that are dim. Ends of
// arrows take the place of lifelines.
func (d *drawer) line(r *LadderRow, leftEnd, words, rightEnd string) {
	d.beside(r)
	d.lifeline(0, leftEnd)
	d.paint(colourDim, words)
	d.space(d.channel - columns(words))
	d.rightSide(r, rightEnd)
}

// beside draws a row's times and its left state; nothing where r is nil.
func (d *drawer) beside(r *LadderRow) {
	moment, since, state := "", "", ""
	if r != nil {
		if moment = span(r.At); r.At == 0 {
			moment = "0 ms"
		}
		if r.Kind == RowFold && r.Since == 0 {
			moment = ""
		}
		if r.At > 0 && r.Since > 0 {
			since = "+" + span(r.Since)
		}
		state = d.entered(r, 0)
	}
	d.space(ladderMoment - len(moment))
	d.add(moment + " ")
	if d.since {
		d.space(ladderMoment - len(since))
		d.paint(colourDim, since)
		d.add(" ")
	}
	d.space(ladderState - len(state))
	d.paint(stateColour(state), state)
	d.add(" ")
}

func (d *drawer) rightSide(r *LadderRow, end string) {
	d.lifeline(1, end)
	if r != nil {
		if state := d.entered(r, 1); state != "" {
			d.add(" ")
			d.paint(stateColour(state), state)
		}
	}
	d.end()
}

// lifeline draws an end's line, or an arrow's end in its place.
func (d *drawer) lifeline(side int, end string) {
	switch {
	case end != "":
		d.add(end)
	case d.state[side] == events.TimeWait:
		d.add(d.s.waits)
	default:
		d.add(d.s.life)
	}
}

// entered is the state that an end entered in the row.
func (d *drawer) entered(r *LadderRow, side int) string {
	e := r.States[side]
	if e == nil {
		return ""
	}
	d.state[side] = e.To
	return e.To.String()
}

func stateColour(state string) text.Colors {
	switch state {
	case "ESTABLISHED":
		return colourGood
	case "CLOSE":
		return colourDim
	case "TIME_WAIT":
		return colourWarn
	}
	return colourState
}

// arrow draws a segment: as much as there is room for in the arrow itself, the rest below.
func (d *drawer) arrow(r *LadderRow) {
	parts := d.parts(r)
	label := parts[0]
	room := d.channel - 6 // at least "─ " before, " ─▶" behind
	rest := parts[1:]
	delay := delayWords(r)
	if n := columns(delay); n > 0 && columns(label)+n+3 <= room {
		room -= n + 3
	} else if n > 0 {
		rest, delay = append([]string{"took " + delay}, rest...), ""
	}
	for len(rest) > 0 && columns(label)+2+columns(rest[0]) <= room {
		label += "  " + rest[0]
		rest = rest[1:]
	}
	if len(rest) == 1 && strings.HasPrefix(rest[0], "win ") { // not worth a line of its own
		rest = nil
	}
	d.beside(r)
	d.lifeline(0, d.arrowEnd(r, 0))
	d.shaft(r, label, delay)
	d.rightSide(r, d.arrowEnd(r, 1))
	for _, line := range wrapParts(rest, d.channel-4) {
		d.line(nil, "", "   "+line, "")
	}
	if why := d.l.fateWords(r); why != "" {
		for _, line := range strings.Split(string(appendWrapped(nil, why, 0, 0, d.channel-4)), "\n") {
			cut, width := appendClean(nil, []byte(line), d.channel-4)
			d.beside(nil)
			d.lifeline(0, "")
			d.space(3)
			d.paint(colourBad, string(cut))
			d.space(d.channel - 3 - width)
			d.rightSide(nil, "")
		}
	}
}

// arrowEnd is what stands on a side's lifeline where an arrow begins; "" is the lifeline itself.
func (d *drawer) arrowEnd(r *LadderRow, side int) string {
	if r.From != side || r.Kind == RowArrive {
		return ""
	}
	return [2]string{d.s.from, d.s.back}[side]
}

// shaft draws what is between the lifelines, from the sender's side: tail, label, tip and head.
func (d *drawer) shaft(r *LadderRow, label, delay string) {
	used := columns(label) + 4 // with tail, head and the spaces around it
	if delay != "" {
		used += columns(delay) + 3
	}
	fill := d.channel - used
	line := func(k int) string { return strings.Repeat(d.s.line, max(k, 0)) }
	torn := func(k int) string { return strings.Repeat(d.s.torn, max(k, 0)) }
	blank := func(k int) string { return strings.Repeat(" ", max(k, 0)) }
	tail, tip, head, colour := line(1), line(fill), [2]string{d.s.right, d.s.left}[r.From], colourGood
	if r.Again {
		colour = colourWarn
	}
	switch {
	case r.Fate == FateDroppedOut:
		tip, head = line(1)+d.s.cross+blank(fill-2), " "
	case r.Fate == FateLost:
		half := max(fill*2/3, 1)
		tip, head = line(half)+d.s.cross+blank(fill-half-1), " "
	case r.Kind == RowDepart:
		tip, head = line(1)+torn(fill-1), d.s.torn
	case r.Kind == RowArrive:
		tail, tip = torn(1), torn(1)+line(fill-1)
	}
	if r.Fate == FateDroppedIn && r.Kind != RowDepart {
		head = d.s.cross
	}
	if r.Fate != FateArrived || r.Segment.Flags.Has(events.RST) {
		colour = colourBad
	}
	pieces := []func(){
		func() { d.paint(colour, tail) },
		func() { d.add(" "); d.label(r, label); d.add(" ") },
		func() { d.paint(colour, directed(tip, r.From)) },
		func() {
			if delay != "" {
				d.add(" ")
				d.paint(colourDim, delay)
				d.add(" ")
				d.paint(colour, line(1))
			}
		},
		func() { d.paint(colour, head) },
	}
	if r.From == 1 {
		slices.Reverse(pieces)
		if delay != "" {
			pieces[1] = func() {
				d.paint(colour, line(1))
				d.add(" ")
				d.paint(colourDim, delay)
				d.add(" ")
			}
		}
	}
	for _, draw := range pieces {
		draw()
	}
}

// directed turns a tip around for an arrow to the left.
func directed(tip string, from int) string {
	if from == 0 {
		return tip
	}
	all := []rune(tip)
	slices.Reverse(all)
	return string(all)
}

// label writes an arrow's words, its number in a colour of its own.
func (d *drawer) label(r *LadderRow, label string) {
	if rest, ok := strings.CutPrefix(label, r.Number); ok && r.Number != "" {
		d.paint(colourNumber, r.Number)
		label = rest
	}
	d.add(label)
}

// wrapParts puts parts, with two spaces between, on lines of a width.
func wrapParts(parts []string, width int) (lines []string) {
	for _, p := range parts {
		if n := len(lines) - 1; n >= 0 && columns(lines[n])+2+columns(p) <= width {
			lines[n] += "  " + p
			continue
		}
		cut, _ := appendClean(nil, []byte(p), width)
		lines = append(lines, string(cut))
	}
	return lines
}

// parts are what is said of a segment, the most important first.
func (d *drawer) parts(r *LadderRow) []string { return d.l.parts(r, d.o) }

// parts are what is said of a segment: its number and flags, then the rest, the most important first.
func (l *Ladder) parts(r *LadderRow, o *Options) []string {
	e := r.Segment
	label := strings.TrimSpace(r.Number + " " + flagWords[e.Flags])
	if r.Again {
		label += " again"
	}
	parts := []string{label}
	number := func(name string, v uint32) { parts = append(parts, name+" "+strconv.FormatUint(uint64(v), 10)) }
	if e.Step == timeline.StepFINACK {
		parts[0] += " of FIN"
	}
	if r.Kind == RowArrive { // the rest was said where it left
		return parts
	}
	seq, ack := e.Seq, e.Ack
	if !o.Absolute {
		seq, ack = relative(e.Seq, e.SeqRel), relative(e.Ack, e.AckRel)
	}
	both := "seq " + strconv.FormatUint(uint64(seq), 10)
	if e.Flags.Has(events.ACK) {
		both += " ack " + strconv.FormatUint(uint64(ack), 10)
	}
	parts = append(parts, both)
	if e.Len > 0 {
		number("len", e.Len)
	}
	if e.Flags.Has(events.SYN) {
		if e.Options.Present.Has(events.OptionMSS) {
			number("mss", uint32(e.Options.MSS))
		}
		if e.Options.Present.Has(events.OptionWScale) {
			number("wscale", uint32(e.Options.WScale))
		}
		for _, option := range []struct {
			is   events.OptionSet
			word string
		}{
			{events.OptionSACKPermitted, "sack"}, {events.OptionTimestamps, "ts"}, {events.OptionFastOpen, "tfo"},
			{events.OptionMPTCP, "mptcp"}, {events.OptionMalformed, "malformed options"},
		} {
			if e.Options.Present.Has(option.is) {
				parts = append(parts, option.word)
			}
		}
	}
	if e.WindowScaled.Known && !e.Flags.Has(events.RST) && (o.Wide || o.Width >= wideLadder) {
		number("win", e.WindowScaled.Value)
	}
	return parts
}

// wideLadder is from where on there is room for windows too.
const wideLadder = 100

// delayWords is how long a segment was on its way, "" where that is not known.
func delayWords(r *LadderRow) string {
	if !r.DelayNS.Known || r.Kind == RowDepart {
		return ""
	}
	return span(r.DelayNS.Value)
}

// fateWords say why a segment did not arrive.
func (l *Ladder) fateWords(r *LadderRow) string {
	reason := string(appendDropReason(nil, r.Segment.DropReason, l.options))
	switch {
	case reason != "" && reason[0] <= '9':
		reason = ": reason " + reason
	case reason != "":
		reason = ": " + reason
	}
	switch {
	case r.Kind == RowDepart:
		return ""
	case r.Fate == FateDroppedOut:
		return "dropped here on the way out" + reason
	case r.Fate == FateDroppedIn:
		return "dropped here on the way in" + reason
	case r.Fate == FateLost:
		return "lost: it never came to the other end"
	}
	return ""
}
