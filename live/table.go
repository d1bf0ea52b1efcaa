package live

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/output"
	"tcptrace/timeline"
)

// column is one of the table's.
type column struct {
	name string
	// width is how wide it is at least; what is left over goes to those that grow, up to most.
	width, most int
	// rank says which come first where there is no room for all: the lower the more important.
	rank  int
	right bool
	// value is what it shows of a connection, raw, and in which colours.
	value func(m *Model, r *row, t *timeline.Timeline, width int) (string, text.Colors)
}

// allColumns are in the order in which they stand. A screen of 80 columns has those of rank 0.
var allColumns = []column{
	{name: "STATE", width: 11, value: func(_ *Model, _ *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		return t.State.String(), stateStyle(t.State)
	}},
	{name: "FOR", width: 7, right: true, value: func(m *Model, r *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		words := m.atLeast(t, r.since)
		if r.class == stuck {
			return words, styleWarn
		}
		return words, nil
	}},
	{name: "ROLE", width: 6, rank: 4, value: func(_ *Model, _ *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		switch t.Role {
		case timeline.RoleUnknown:
			return "-", nil
		case timeline.RoleSimultaneous:
			return "both", nil
		}
		return t.Role.String(), nil
	}},
	{name: "PROCESS", width: 12, most: 20, value: func(_ *Model, r *row, t *timeline.Timeline, width int) (string, text.Colors) {
		p := &t.Process
		if p.Source == events.SourceUnknown {
			return "-", nil
		}
		if name := p.Comm.String(); r.processes && name != "" {
			return output.Clean(name, width), nil
		}
		pid := fmt.Sprintf("/%d", p.PID)
		return output.Clean(p.Comm.String(), max(width-len(pid), 3)) + pid, nil
	}},
	{name: "LOCAL", width: 20, most: 24, rank: 1, value: func(_ *Model, _ *row, t *timeline.Timeline, width int) (string, text.Colors) {
		return address(t.Local.String(), width), nil
	}},
	{name: "REMOTE", width: 19, most: 24, value: func(_ *Model, _ *row, t *timeline.Timeline, width int) (string, text.Colors) {
		return address(t.Remote.String(), width), nil
	}},
	{name: "HANDSHAKE", width: 9, rank: 3, right: true, value: func(_ *Model, _ *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		return duration(t.Handshake.DurationNS)
	}},
	{name: "RTT", width: 8, rank: 2, right: true, value: func(_ *Model, _ *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		return duration(t.Traffic.SRTTNS)
	}},
	{name: "TX", width: 7, rank: 5, right: true, value: func(_ *Model, _ *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		return bytesOf(t.Traffic.TxBytes), nil
	}},
	{name: "RX", width: 7, rank: 5, right: true, value: func(_ *Model, _ *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		return bytesOf(t.Traffic.RxBytes), nil
	}},
	{name: "RATE", width: 8, rank: 6, right: true, value: func(_ *Model, r *row, _ *timeline.Timeline, _ int) (string, text.Colors) {
		if r.rate == 0 {
			return "-", nil
		}
		return short(r.rate) + "B/s", nil
	}},
	{name: "RETR", width: 4, right: true, value: func(_ *Model, r *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		n := t.SentAgain()
		if c := t.Traffic.Retransmits; c.Known {
			n = max(n, uint32(c.Value))
		}
		switch {
		case n > 0 && r.class == resending:
			return short(uint64(n)), styleBad
		case n > 0:
			return short(uint64(n)), styleWarn
		case !t.Traffic.Retransmits.Known:
			return "-", nil
		}
		return "0", nil
	}},
	{name: "AGE", width: 7, rank: 7, right: true, value: func(m *Model, _ *row, t *timeline.Timeline, _ int) (string, text.Colors) {
		return m.atLeast(t, t.Start), nil
	}},
	{name: "LAST EVENT", width: 18, most: 24, rank: 8, value: func(m *Model, _ *row, t *timeline.Timeline, width int) (string, text.Colors) {
		if len(t.Entries) == 0 {
			return "-", nil
		}
		e := &t.Entries[len(t.Entries)-1]
		words := output.Happened(e, width, &m.o.Output)
		if e.Type == timeline.EntryDrop || e.Type == timeline.EntryGap {
			return words, styleBad
		}
		return words, nil
	}},
	{name: "FINDING", width: 20, value: func(_ *Model, r *row, t *timeline.Timeline, width int) (string, text.Colors) {
		return findingOf(r, t, width)
	}},
}

// findingOf is the first finding: its text where there is room for that, else its code. Without any it is how
// the connection ended.
func findingOf(r *row, t *timeline.Timeline, width int) (string, text.Colors) {
	if len(t.Findings) == 0 {
		if r.class == closed || r.class == failed {
			words := output.Ending(t)
			if r.times > 1 {
				words = fmt.Sprintf("%dx %s", r.times, words)
			}
			return output.Clean(words, width), nil
		}
		return "", nil
	}
	f := &t.Findings[0]
	words := f.Code
	if width >= 40 {
		words += ": " + f.Text
	}
	if r.times > 1 {
		words = fmt.Sprintf("%dx %s", r.times, words)
	}
	return output.Clean(words, width), output.SeverityColors(f.Severity)
}

// address cuts one that is too long in its middle: its port matters, and where it begins.
func address(s string, width int) string {
	if len(s) <= width {
		return s
	}
	const gap = ".."
	tail := max(len(s)-strings.LastIndexByte(s, ':'), width/2)
	head := max(0, width-tail-len(gap))
	return s[:head] + gap + s[len(s)-(width-head-len(gap)):]
}

func duration(v timeline.Maybe[uint64]) (string, text.Colors) {
	if !v.Known {
		return "-", nil
	}
	words := string(human.AppendDuration(nil, v.Value))
	if v.Value >= uint64(1e9) {
		return words, styleWarn
	}
	return words, nil
}

func bytesOf(v timeline.Maybe[uint64]) string {
	if !v.Known {
		return "-"
	}
	return short(v.Value) + "B"
}

// short is a number in at most five columns: 1234, 12.3k, 4.56M.
func short(n uint64) string {
	const units = "kMGTPE"
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	v, i := float64(n)/1000, 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	decimals := 0
	switch {
	case v < 9.995:
		decimals = 2
	case v < 99.95:
		decimals = 1
	}
	return fmt.Sprintf("%.*f%c", decimals, v, units[i])
}

// since is how long ago something was: to the tenth of a second below ten, so that nothing flickers.
func (m *Model) since(at uint64) string {
	ns := m.now - min(m.now, at)
	switch s := ns / 1e9; {
	case s < 10:
		return fmt.Sprintf("%.1f s", float64(ns/1e8)/10)
	case s < 60:
		return fmt.Sprintf("%d s", s)
	}
	return string(human.AppendDuration(nil, ns))
}

// atLeast is since, marked where that is when tracing began and not when it happened.
func (m *Model) atLeast(t *timeline.Timeline, at uint64) string {
	if at == t.Start && !t.Complete && t.Handshake.Outcome == timeline.OutcomeUnobserved {
		return ">" + m.since(at)
	}
	return m.since(at)
}

// layout chooses columns for the width and says how wide each is.
func layout(width int) (chosen []*column, widths []int) {
	room := width - 1 // the mark of the selected row
	in := make([]bool, len(allColumns))
	for rank := 0; rank <= 8; rank++ {
		need := 0
		for i := range allColumns {
			if allColumns[i].rank == rank {
				need += allColumns[i].width + 1
			}
		}
		if rank > 0 && need > room {
			continue
		}
		room -= need
		for i := range allColumns {
			in[i] = in[i] || allColumns[i].rank == rank
		}
	}
	for i := range allColumns {
		if in[i] {
			chosen = append(chosen, &allColumns[i])
			widths = append(widths, allColumns[i].width)
		}
	}
	// What is left goes to the finding until its code fits, then to those that grow, one column each in turn,
	// and then to the finding again.
	last := len(widths) - 1
	if more := min(room, 24-widths[last]); more > 0 {
		widths[last] += more
		room -= more
	}
	for grown := true; room > 0 && grown; {
		grown = false
		for i, c := range chosen {
			if room > 0 && widths[i] < c.most {
				widths[i]++
				room--
				grown = true
			}
		}
	}
	widths[last] += max(room, 0)
	return chosen, widths
}

// tableLines are the names of the columns and the rows that the screen has room for.
func (m *Model) tableLines(height int) []string {
	chosen, widths := layout(m.width)
	style := table.Style{Box: table.BoxStyle{MiddleVertical: " "}, Options: table.OptionsNoBordersAndSeparators}
	style.Options.SeparateColumns = true
	w := table.NewWriter()
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	configs := make([]table.ColumnConfig, 0, len(chosen)+1)
	head := table.Row{" "}
	configs = append(configs, table.ColumnConfig{Number: 1, WidthMin: 1, WidthMax: 1})
	for i, c := range chosen {
		align := text.AlignLeft
		if c.right {
			align = text.AlignRight
		}
		configs = append(configs, table.ColumnConfig{Number: i + 2, WidthMin: widths[i], WidthMax: widths[i],
			WidthMaxEnforcer: text.Trim, Align: align, AlignHeader: align})
		head = append(head, c.name)
	}
	w.SetColumnConfigs(configs)
	w.AppendRow(head)

	shown, titles := m.window(height - 1)
	for _, i := range shown {
		w.AppendRow(m.cells(m.order[i], i == m.index, chosen, widths))
	}
	rendered := strings.Split(w.Render(), "\n")
	lines := []string{m.paint(styleBold, rendered[0])}
	for n, i := range shown {
		if title, ok := titles[i]; ok {
			lines = append(lines, title)
		}
		line := rendered[n+1]
		if i == m.index {
			// The whole line, to the edge; colours in it would end the reversal.
			plain := text.StripEscape(line)
			line = m.paint(styleSelected, plain+strings.Repeat(" ", max(0, m.width-columns(plain))))
		}
		lines = append(lines, line)
	}
	return lines
}

// cells are a row's.
func (m *Model) cells(r *row, selected bool, chosen []*column, widths []int) table.Row {
	mark := " "
	if selected {
		mark = ">"
	}
	cells := table.Row{mark}
	t := m.copyOf(r)
	if t == nil {
		if t = m.find(r.id); t == nil {
			return append(cells, "-") // gone since the order was made
		}
	}
	for i, c := range chosen {
		words, style := c.value(m, r, t, widths[i])
		if r.class == closed && style == nil {
			style = styleDim
		}
		cells = append(cells, m.paint(style, words))
	}
	return cells
}

// window chooses the rows that are shown in so many lines, so that the selected one is among them, and the
// titles of their sections.
func (m *Model) window(height int) (shown []int, titles map[int]string) {
	titles = map[int]string{}
	if height < 1 || len(m.order) == 0 {
		return nil, titles
	}
	sectioned := m.sort == SortMatter
	lineOf := func(i int) int { // its own, titles above it counted
		n := i
		for c := class(0); sectioned && c <= m.order[i].class; c++ {
			if m.sections[c] > 0 {
				n++
			}
		}
		return n
	}
	at := lineOf(m.index)
	if m.index == 0 {
		at = 0 // with its title
	}
	m.top = max(0, min(m.top, at))
	if at >= m.top+height {
		m.top = at - height + 1
	}
	last := lineOf(len(m.order) - 1)
	m.top = max(0, min(m.top, last-height+1))
	used := 0
	first := max(0, m.top-int(classes))
	for i := first; i < len(m.order) && used < height; i++ {
		line := lineOf(i)
		if line < m.top {
			continue
		}
		if sectioned && (i == 0 || m.order[i-1].class != m.order[i].class) && line-1 >= m.top {
			if used+2 > height {
				break
			}
			titles[i] = m.title(m.order[i].class)
			used++
		}
		shown = append(shown, i)
		used++
	}
	return shown, titles
}

// title is the line above a section.
func (m *Model) title(c class) string {
	words := fmt.Sprintf(" %s %d ", classNames[c], m.sections[c])
	switch c {
	case failed:
		words += more(m.failed.more) + "in the last 30 s "
		if m.hidden > 0 {
			words += fmt.Sprintf("(f shows %s) ", human.AppendCount(nil, uint64(m.hidden), "more kind"))
		}
	case stuck:
		words += "longest first "
	case open:
		words += "busiest first "
	case closed:
		words += more(m.closed.more) + "just now "
	}
	return m.paint(classStyles[c], fit(m.rule(1)+words+m.rule(m.width-1-columns(words)), m.width))
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("and %d more ", n)
}
