package output

import (
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// tableWriter writes a table of all connections when tracing ends, with their sums below.
type tableWriter struct {
	lines
	options Options
	columns []tableColumn
	rows    [][]tableCell
	sum     sums
	leftOut int
}

// sums are what connections come to together.
type sums struct {
	failed, reset, retransmits, tx, rx uint64
	handshakes                         []uint64
}

// mostRows is how many connections a table holds.
const mostRows = 100_000

// tableColumn is a column, from one of the fields that all formats have.
type tableColumn struct {
	title string
	path  string // of the field
	wide  bool   // only where there is room
	right bool
	most  int // columns, where there is no room for more; 0: no limit
	field *Field
}

var tableColumns = []tableColumn{
	{title: "PID", path: "process.pid", right: true},
	{title: "COMM", path: "process.comm", most: 10},
	{title: "ROLE", path: "role", wide: true},
	{title: "LADDR", path: "local.ip", wide: true, most: 15},
	{title: "LPORT", path: "local.port", right: true},
	{title: "RADDR", path: "remote.ip", most: 15},
	{title: "RPORT", path: "remote.port", right: true},
	{title: "STATE", path: "state"},
	{title: "OUTCOME", path: "handshake.outcome", wide: true},
	{title: "HANDSHAKE", path: "handshake.duration_ns", right: true},
	{title: "CLOSE", path: "teardown.kind", wide: true},
	{title: "BY", path: "teardown.initiator", wide: true},
	{title: "RETR", path: "traffic.retransmits", right: true, wide: true},
	{title: "TX", path: "traffic.tx_bytes", right: true, wide: true},
	{title: "RX", path: "traffic.rx_bytes", right: true, wide: true},
	{title: "RTT", path: "traffic.srtt_ns", right: true, wide: true},
	{title: "FOUND", path: "findings", most: 14},
}

// tableCell is what there is to say, not clean yet; more stays where the words are cut.
type tableCell struct {
	words, more string
	width       int
}

// wideTable is from where on there is room for all columns.
const wideTable = 168

func newTable(o Options) (Writer, error) {
	w := &tableWriter{lines: lines{out: o.Out}, options: o}
	for _, c := range tableColumns {
		if c.wide && !o.Wide && o.Width < wideTable {
			continue
		}
		if o.Wide {
			c.most = 0
		}
		i := slices.IndexFunc(csvFields, func(f Field) bool { return f.Path == c.path })
		c.field = &csvFields[i]
		w.columns = append(w.columns, c)
	}
	return w, nil
}

// Write implements Writer.
func (w *tableWriter) Write(u *timeline.Update) error {
	if u.Kind != timeline.UpdateEnd {
		return nil
	}
	t := u.Timeline
	w.sum.add(t)
	if len(w.rows) >= mostRows {
		w.leftOut++
		return nil
	}
	s := Source{Timeline: t, Options: &w.options}
	row := make([]tableCell, len(w.columns))
	for i, c := range w.columns {
		row[i] = c.cell(&s)
	}
	w.rows = append(w.rows, row)
	return nil
}

func (s *sums) add(t *timeline.Timeline) {
	switch {
	case t.Handshake.Outcome.Failed():
		s.failed++
	case t.Teardown.Kind == timeline.TeardownReset:
		s.reset++
	}
	if d := t.Handshake.DurationNS; d.Known {
		s.handshakes = append(s.handshakes, d.Value)
	}
	s.retransmits += max(t.Traffic.Retransmits.Value, uint64(t.SentAgain()))
	s.tx += t.Traffic.TxBytes.Value
	s.rx += t.Traffic.RxBytes.Value
}

// cell is a field's value for people, "-" where it is unknown.
func (c *tableColumn) cell(s *Source) (cell tableCell) {
	if c.field.Kind == Findings {
		cell.words, cell.more = found(s.Timeline)
	} else {
		cell.words = c.words(s)
	}
	cell.width = text.StringWidth(Clean(cell.words, 0)) + len(cell.more)
	return cell
}

func (c *tableColumn) words(s *Source) string {
	var b []byte
	known := true
	for _, o := range TimelineFields {
		if o.Kind == Object && o.present != nil && strings.HasPrefix(c.path, o.Path+".") && !o.present(s) {
			known = false
		}
	}
	if known {
		b = c.field.Append(nil, s)
	}
	if len(b) == 0 {
		return "-"
	}
	switch n, err := strconv.ParseUint(string(b), 10, 64); {
	case err != nil:
	case strings.HasSuffix(c.path, "_ns"):
		return span(n)
	case strings.HasSuffix(c.path, "_bytes"):
		return string(human.AppendBytes(nil, n))
	}
	return string(b)
}

// found is the first finding's code, and how many more there are.
func found(t *timeline.Timeline) (code, more string) {
	if len(t.Findings) > 0 {
		code = t.Findings[0].Code
	}
	if n := len(t.Findings) - 1; n > 0 {
		more = " +" + strconv.Itoa(n)
	}
	return code, more
}

// fit is a cell in so many columns. Addresses lose their middle: hosts of a network begin alike.
func (c *tableColumn) fit(cell tableCell, columns int) string {
	if cell.width > columns && strings.HasSuffix(c.path, ".ip") {
		return string(appendMiddle(nil, []byte(cell.words), columns))
	}
	return Clean(cell.words, max(0, columns-len(cell.more))) + cell.more
}

// widths are the columns'. What the others leave is for those that would be cut, the last first.
func (w *tableWriter) widths() []int {
	room := w.width() + 1 // the last needs no space behind it
	needed, widths := make([]int, len(w.columns)), make([]int, len(w.columns))
	for i, c := range w.columns {
		needed[i] = len(c.title)
		for _, row := range w.rows {
			needed[i] = max(needed[i], row[i].width)
		}
		widths[i] = needed[i]
		if c.most > 0 {
			widths[i] = min(widths[i], c.most)
		}
		room -= widths[i] + 1
	}
	for i := range slices.Backward(widths) {
		if more := min(needed[i]-widths[i], room); more > 0 {
			widths[i] += more
			room -= more
		}
	}
	return widths
}

// width is that of the screen, or what is usual.
func (w *tableWriter) width() int {
	if w.options.Width == 0 {
		return ladderWidth
	}
	return w.options.Width
}

// Flush implements Writer: a table is written when its columns' widths are known.
func (w *tableWriter) Flush() error { return nil }

// Close implements Writer.
func (w *tableWriter) Close() error {
	t := table.NewWriter()
	style := table.StyleLight
	if w.options.ASCII {
		style = table.StyleDefault
	}
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader, style.Options.SeparateFooter = true, true
	style.Format = table.FormatOptions{}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", " "
	t.SetStyle(style)
	header := make(table.Row, len(w.columns))
	var configs []table.ColumnConfig
	for i, c := range w.columns {
		header[i] = c.title
		align := text.AlignLeft
		if c.right {
			align = text.AlignRight
		}
		configs = append(configs, table.ColumnConfig{Number: i + 1, Align: align, AlignHeader: align})
	}
	t.SetColumnConfigs(configs)
	t.AppendHeader(header)
	widths := w.widths()
	for _, cells := range w.rows {
		row := make(table.Row, len(cells))
		for i, cell := range cells {
			row[i] = w.columns[i].fit(cell, widths[i])
		}
		t.AppendRow(row)
	}
	for line := range strings.Lines(t.Render() + "\n") {
		line = strings.TrimRight(line, " \n")
		if rule := style.Box.MiddleHorizontal; strings.Trim(line, rule) == "" {
			line = strings.TrimSuffix(line, rule) // that below the last column's padding
		}
		w.buf = append(append(w.buf, line...), '\n')
	}
	w.total()
	return w.lines.Flush()
}

// total writes what all connections came to, those too for which there was no room.
func (w *tableWriter) total() {
	parts := []string{string(human.AppendCount(nil, uint64(len(w.rows)+w.leftOut), "connection"))}
	for _, n := range []struct {
		n    uint64
		what string
	}{{w.sum.failed, "failed"}, {w.sum.reset, "reset"}} {
		parts = append(parts, strconv.FormatUint(n.n, 10)+" "+n.what)
	}
	parts = append(parts, string(human.AppendCount(nil, w.sum.retransmits, "retransmit")))
	if n := len(w.sum.handshakes); n > 0 {
		slices.Sort(w.sum.handshakes)
		parts = append(parts, "handshake p50 "+span(percentile(w.sum.handshakes, 50))+", p99 "+span(percentile(w.sum.handshakes, 99)))
	}
	parts = append(parts, "tx "+string(human.AppendBytes(nil, w.sum.tx)), "rx "+string(human.AppendBytes(nil, w.sum.rx)))
	if w.leftOut > 0 {
		parts = append(parts, strconv.Itoa(w.leftOut)+" not listed, the table was full")
	}
	w.buf = append(appendWrapped(append(w.buf, '\n'), strings.Join(parts, "; ")+".", 0, 0, w.width()), '\n')
}

// percentile of sorted values, by the nearest rank.
func percentile(sorted []uint64, p int) uint64 {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}
