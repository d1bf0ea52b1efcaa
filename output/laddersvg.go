package output

import (
	"html"
	"math"
	"strconv"
	"strings"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// Places in the picture, in pixels: the right edge of the times and of those since the row before,
// the lifelines, and the picture's width.
const (
	svgMoment   = 70
	svgSince    = 144
	svgLeft     = 250
	svgRight    = 640
	svgWidth    = 750
	svgDetail   = 52 // columns of a line below an arrow
	svgProse    = 98 // columns of a line of what was found
	svgSlope    = 9  // how much lower an arrow ends than it begins
	svgLine     = 14 // from a line of words to the next
	svgTitle    = 24
	svgRowSpace = 10
)

// svgStyle is what the pictures' classes look like, light and dark. All begin with l-, so that a page's own are others.
const svgStyle = `.l-svg{--l-ink:#1c2430;--l-dim:#667085;--l-paper:#fff;--l-open:#0e7490;--l-est:#15803d;--l-close:#b45309;--l-bad:#c81e1e;--l-rule:#c5ccd6;` +
	`font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;background:var(--l-paper)}
@media (prefers-color-scheme:dark){.l-svg{--l-ink:#e6e9ef;--l-dim:#98a2b3;--l-paper:#10151d;--l-open:#38bdf8;--l-est:#4ade80;--l-close:#fbbf24;--l-bad:#f87171;--l-rule:#3b4656}}
@media print{.l-svg{--l-ink:#000;--l-dim:#555;--l-paper:#fff;--l-open:#0e7490;--l-est:#15803d;--l-close:#b45309;--l-bad:#c81e1e;--l-rule:#aaa}}
.l-svg text{fill:var(--l-ink);stroke:var(--l-paper);stroke-width:4px;paint-order:stroke;stroke-linejoin:round}.l-svg .l-dim{fill:var(--l-dim);font-size:11px}.l-svg .l-name{font-weight:700;font-size:13px}.l-svg .l-no{font-weight:700}
.l-svg .l-e{text-anchor:end}.l-svg .l-m{text-anchor:middle}
.l-svg path{fill:none;stroke:var(--l-ink);stroke-width:1.5}.l-svg path.l-head{fill:var(--l-ink);stroke:none}
.l-svg path.l-again{stroke:var(--l-close)}.l-svg path.l-head.l-again{stroke:none;fill:var(--l-close)}
.l-svg path.l-bad{stroke:var(--l-bad)}.l-svg path.l-head.l-bad{stroke:none;fill:var(--l-bad)}.l-svg text.l-bad{fill:var(--l-bad)}
.l-svg text.l-warning{fill:var(--l-close)}.l-svg text.l-error{fill:var(--l-bad)}
.l-svg path.l-life{stroke:var(--l-rule);stroke-width:2}.l-svg path.l-open{stroke:var(--l-open);stroke-width:4}.l-svg path.l-est{stroke:var(--l-est);stroke-width:4}
.l-svg path.l-close{stroke:var(--l-close);stroke-width:4}.l-svg path.l-wait{stroke:var(--l-close);stroke-width:4;stroke-dasharray:3 4}
.l-svg text.l-open{fill:var(--l-open)}.l-svg text.l-est{fill:var(--l-est)}.l-svg text.l-close,.l-svg text.l-wait{fill:var(--l-close)}.l-svg text.l-life{fill:var(--l-dim)}
.l-svg path.l-fold{stroke:var(--l-rule);stroke-dasharray:2 4}
`

// picture draws a ladder as SVG.
type picture struct {
	l     *Ladder
	b     []byte // words, to stand above the lines
	lines []byte
	y     int
	class [2]string // of the states that the ends are in
	since [2]int    // y from which on they are
	gone  map[int]int
}

var svgX = [2]int{svgLeft, svgRight}

// appendSVG appends the ladder as an svg element of its own, with names for people who do not
// see it, y pixels below the top of what it is put into. It is to stand where svgStyle holds, and is height pixels high.
func (l *Ladder) appendSVG(b []byte, note string, y int) (_ []byte, height int) {
	p := &picture{l: l, gone: map[int]int{}}
	p.header(note)
	for i := range l.Rows {
		p.row(i)
	}
	p.y += 6
	for side := range svgX {
		p.lifeline(side)
	}
	p.footer()
	height = p.y + 8
	b = append(b, `<svg xmlns="http://www.w3.org/2000/svg" class="l-svg" role="img" viewBox="0 0 `...)
	b = append(appendInt(append(appendInt(b, svgWidth), ' '), height), `" width="`...)
	b = append(appendInt(append(appendInt(b, svgWidth), `" height="`...), height), '"')
	if y > 0 {
		b = append(appendInt(append(b, ` y="`...), y), '"')
	}
	b = append(b, `><title>`...)
	b = append(append(b, html.EscapeString(l.Title()+note)...), `</title>`...)
	return append(append(append(b, p.lines...), p.b...), "</svg>"...), height
}

func appendInt(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

// text writes words at a place; they are cleaned and escaped here.
func (p *picture) text(x, y int, class, words string) {
	if words == "" {
		return
	}
	p.open(x, y, class)
	p.b = append(p.b, escaped(words)...)
	p.b = append(p.b, "</text>"...)
}

func (p *picture) open(x, y int, class string) {
	p.b = append(appendInt(append(p.b, `<text x="`...), x), `" y="`...)
	p.b = append(appendInt(p.b, y), '"')
	if class != "" {
		p.b = append(append(append(p.b, ` class="`...), class...), '"')
	}
	p.b = append(p.b, '>')
}

// escaped are words that harm neither a screen nor markup.
func escaped(words string) string {
	clean, _ := appendClean(nil, []byte(words), 0)
	return html.EscapeString(string(clean))
}

func (p *picture) path(class string, x1, y1, x2, y2 int) {
	p.lines = append(append(append(p.lines, `<path class="`...), class...), `" d="M`...)
	p.lines = append(appendInt(append(appendInt(p.lines, x1), ' '), y1), 'L')
	p.lines = append(appendInt(append(appendInt(p.lines, x2), ' '), y2), `"/>`...)
}

// header names the ends.
func (p *picture) header(note string) {
	p.y = svgTitle
	p.text(12, p.y, "l-dim", p.l.Title()+note)
	p.y += 26
	names := [2]string{p.l.Ends[0].Name, p.l.Ends[1].Name}
	const each = 8 // pixels of a column of a name
	place := func(side int, words string) int {
		half := columns(words) * each / 2
		return max(half+8, min(svgX[side], svgWidth-half-8))
	}
	apart := place(0, names[0])+columns(names[0])*each/2 < place(1, names[1])-columns(names[1])*each/2-10
	whos := place(0, p.l.Ends[0].Who)+columns(p.l.Ends[0].Who)*each/2 < place(1, p.l.Ends[1].Who)-columns(p.l.Ends[1].Who)*each/2-10
	p.text(place(0, names[0]), p.y, "l-name l-m", names[0])
	if !apart || !whos {
		p.y += 15
		p.text(place(0, p.l.Ends[0].Who), p.y, "l-dim l-m", p.l.Ends[0].Who)
		p.y += 22
		p.text(place(1, names[1]), p.y, "l-name l-m", names[1])
		p.y += 15
	} else {
		p.text(place(1, names[1]), p.y, "l-name l-m", names[1])
		p.y += 15
		p.text(place(0, p.l.Ends[0].Who), p.y, "l-dim l-m", p.l.Ends[0].Who)
	}
	p.text(place(1, p.l.Ends[1].Who), p.y, "l-dim l-m", p.l.Ends[1].Who)
	p.y += 10
	first := p.l.firstStates()
	for side := range svgX {
		p.class[side], p.since[side] = "l-life", p.y
		if first[side] != events.StateUnknown {
			p.class[side] = stateClass(first[side])
			p.state(side, p.y+10, first[side])
		}
	}
	p.y += 14
}

// stateClass is the class of a state's colour.
func stateClass(s events.State) string {
	switch s {
	case events.SynSent, events.SynRecv:
		return "l-open"
	case events.Established:
		return "l-est"
	case events.FinWait1, events.FinWait2, events.CloseWait, events.LastAck, events.Closing:
		return "l-close"
	case events.TimeWait:
		return "l-wait"
	}
	return "l-life"
}

// state names a state beside its lifeline.
func (p *picture) state(side, y int, s events.State) {
	if side == 0 {
		p.text(svgLeft-9, y, "l-e "+stateClass(s), s.String())
	} else {
		p.text(svgRight+9, y, stateClass(s), s.String())
	}
}

// enter begins a state at a height: the lifeline so far is drawn, and the state named.
func (p *picture) enter(side, y int, s events.State) {
	y0 := p.y
	p.y = y
	p.lifeline(side)
	p.y = y0
	p.class[side], p.since[side] = stateClass(s), y
	p.state(side, y+4, s)
}

// lifeline draws an end's line in the state that it was in, down to where the picture is.
func (p *picture) lifeline(side int) {
	p.path(p.class[side], svgX[side], p.since[side], svgX[side], p.y)
	p.since[side] = p.y
}

// moment writes when a row was.
func (p *picture) moment(r *LadderRow, y int) {
	at := span(r.At)
	if r.At == 0 {
		at = "0 ms"
	}
	p.text(svgMoment, y, "l-e", at)
	if r.At > 0 && r.Since > 0 {
		p.text(svgSince, y, "l-e l-dim", "+"+span(r.Since))
	}
}

func (p *picture) row(i int) {
	r := &p.l.Rows[i]
	middle := (svgLeft + svgRight) / 2
	switch r.Kind {
	case RowSegment, RowDepart, RowArrive:
		p.arrow(i, r)
		return
	case RowFold:
		if r.Since > 0 {
			p.moment(r, p.y+22)
		}
		p.path("l-fold", svgLeft+8, p.y+8, svgRight-8, p.y+8)
		p.text(middle, p.y+23, "l-m l-dim", strings.ReplaceAll(p.l.foldWords(r, "→", "←"), "  ", " · "))
		p.path("l-fold", svgLeft+8, p.y+30, svgRight-8, p.y+30)
		p.y += 34
	case RowGap:
		p.moment(r, p.y+16)
		p.text(middle, p.y+16, "l-m l-bad", gapWords(r))
		p.y += 24
	default:
		p.moment(r, p.y+16)
		words := p.l.stateWords(r)
		if r.Side == 0 {
			p.text(svgLeft+9, p.y+16, "l-dim", words)
		} else {
			p.text(svgRight-9, p.y+16, "l-dim l-e", words)
		}
		if e := r.States[r.Side]; e != nil {
			p.enter(r.Side, p.y+12, e.To)
		}
		p.y += 26
	}
}

// arrow draws a segment, its words above it and what else is to be said of it below.
func (p *picture) arrow(i int, r *LadderRow) {
	from, to := svgX[r.From], svgX[1-r.From]
	y := p.y + 20
	p.moment(r, y)
	if i, ok := p.gone[i]; ok { // the other half: it left higher up
		p.line(r, from, i, to, y)
		p.enterBeside(r, y)
		p.y = y + svgRowSpace
		return
	}
	end := y + svgSlope
	parts := p.l.parts(r, &Options{Absolute: p.l.options.Absolute, Wide: true})
	p.label(r, y-5, parts[0])
	if r.Kind == RowDepart {
		p.gone[r.Pair] = y
	} else {
		p.line(r, from, y, to, end)
	}
	p.enterBeside(r, y)
	y = end + svgLine
	var why []string
	if words := p.l.fateWords(r); words != "" {
		why = strings.Split(string(appendWrapped(nil, words, 0, 0, svgDetail)), "\n")
	}
	x, anchor := (svgLeft+svgRight)/2, "l-m"
	if r.Kind == RowDepart { // beside its beginning: further on others may cross it
		x, anchor = svgLeft+12, ""
		if r.From == 1 {
			x, anchor = svgRight-12, "l-e"
		}
	}
	for _, line := range wrapParts(parts[1:], svgDetail) {
		p.text(x, y, strings.TrimSpace(anchor+" l-dim"), strings.ReplaceAll(line, "  ", " · "))
		y += svgLine
	}
	for _, line := range why {
		p.text((svgLeft+svgRight)/2, y, "l-m l-bad", line)
		y += svgLine
	}
	p.y = y - svgLine + svgRowSpace
}

// enterBeside names the states that the ends entered with a segment.
func (p *picture) enterBeside(r *LadderRow, y int) {
	for side, e := range r.States {
		if e == nil {
			continue
		}
		at := y
		if side != r.From && r.Kind == RowSegment {
			at += svgSlope
		}
		p.enter(side, at, e.To)
	}
}

// label writes an arrow's words over its beginning, and over its end how long it took.
func (p *picture) label(r *LadderRow, y int, words string) {
	anchor, x := "", svgLeft+12
	if r.From == 1 {
		anchor, x = "l-e", svgRight-12
	}
	p.open(x, y, anchor)
	if rest, ok := strings.CutPrefix(words, r.Number); ok && r.Number != "" {
		p.b = append(append(append(p.b, `<tspan class="l-no">`...), r.Number...), "</tspan>"...)
		words = rest
	}
	p.b = append(append(p.b, escaped(words)...), "</text>"...)
	if delay := delayWords(r); delay != "" {
		if r.From == 0 {
			p.text(svgRight-12, y+2, "l-e l-dim", delay)
		} else {
			p.text(svgLeft+12, y+2, "l-dim", delay)
		}
	}
}

// line draws an arrow, as far as its segment came.
func (p *picture) line(r *LadderRow, x1, y1, x2, y2 int) {
	class := "l-arrow"
	switch {
	case r.Fate != FateArrived || r.Segment.Flags.Has(events.RST):
		class = "l-bad"
	case r.Again:
		class = "l-again"
	}
	part := map[Fate]float64{FateArrived: 1, FateDroppedOut: 0.45, FateLost: 0.6, FateDroppedIn: 0.93}[r.Fate]
	dx, dy := float64(x2-x1)*part, float64(y2-y1)*part
	x, y := x1+int(dx), y1+int(math.Round(dy))
	start := 3
	if x2 < x1 {
		start = -3
	}
	if r.Fate != FateArrived {
		p.path(class, x1+start, y1, x, y)
		p.path(class, x-5, y-5, x+5, y+5)
		p.path(class, x-5, y+5, x+5, y-5)
		return
	}
	x -= start
	p.path(class, x1+start, y1, x-2*start, y)
	// The head: two corners behind the point, square to the line.
	length := math.Hypot(dx, dy)
	ux, uy := dx/length, dy/length
	corner := func(sign float64) (int, int) {
		return x - int(math.Round(10*ux+sign*4*uy)), y - int(math.Round(10*uy-sign*4*ux))
	}
	ax, ay := corner(1)
	bx, by := corner(-1)
	p.lines = append(append(append(p.lines, `<path class="l-head `...), class...), `" d="M`...)
	for i, v := range []int{x, y, ax, ay, bx, by} {
		if i > 0 {
			p.lines = append(p.lines, ' ')
		}
		p.lines = appendInt(p.lines, v)
	}
	p.lines = append(p.lines, `z"/>`...)
}

// footer says what it came to and what was found.
func (p *picture) footer() {
	p.y += 22
	prose := func(class, words string) {
		for _, line := range strings.Split(string(appendWrapped(nil, words, 0, 2, svgProse)), "\n") {
			p.text(12, p.y, class, line)
			p.y += 15
		}
	}
	for _, line := range p.l.summary() {
		prose("l-dim", line)
	}
	for _, f := range p.l.findings() {
		p.y += 5
		prose("l-"+f.Severity.String(), f.Severity.String()+": "+f.Text)
		if f.Next != "" {
			prose("l-dim", "Next: "+f.Next)
		}
	}
}

// gapWords say what was lost.
func gapWords(r *LadderRow) string {
	if r.Lost > 0 {
		return string(human.AppendCount(nil, r.Lost, "event")) + " lost here"
	}
	return "events were lost here, perhaps of this one"
}

// stateWords are what goes with a row that is a state.
func (l *Ladder) stateWords(r *LadderRow) string {
	if r.Kind == RowWait {
		return "TIME_WAIT goes on"
	}
	e, t := r.States[r.Side], l.Ends[r.Side].Timeline
	if e != nil && e.From == events.TimeWait && t.Teardown.TimeWaitNS.Known {
		return "TIME_WAIT was held for " + span(t.Teardown.TimeWaitNS.Value)
	}
	return ""
}

// firstStates are those that the ends were in before anything happened.
func (l *Ladder) firstStates() (states [2]events.State) {
	for side, end := range l.Ends {
		if end.Timeline == nil {
			continue
		}
		for i := range end.Timeline.Entries {
			if e := &end.Timeline.Entries[i]; e.Type == timeline.EntryState {
				states[side] = e.From
				break
			}
		}
	}
	return states
}
