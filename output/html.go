package output

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strconv"

	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// The page's parts. What a browser draws of a ladder is drawn here, once: the page holds finished
// pictures, compressed, and unpacks the one that is opened.
var (
	//go:embed report/page.html
	pageHTML string
	//go:embed report/page.css
	pageCSS string
	//go:embed report/page.js
	pageJS string
)

var page = template.Must(template.New("page").Parse(pageHTML))

const (
	// mostReported is how many timelines a report holds.
	mostReported = 20_000
	// blockSize is how many ladders are packed together: what they have in common counts once,
	// and one is still there at once.
	blockSize = 64
)

// htmlWriter writes one page about all connections when tracing ends.
type htmlWriter struct {
	lines
	options Options
	all     []*timeline.Timeline
	byID    map[uint64]int
	leftOut int
	sum     sums // of those left out, too
}

func newHTML(o Options) (Writer, error) {
	return &htmlWriter{lines: lines{out: o.Out}, options: o, byID: make(map[uint64]int)}, nil
}

// Write implements Writer.
func (w *htmlWriter) Write(u *timeline.Update) error {
	switch u.Kind {
	case timeline.UpdateEnd:
		w.sum.add(u.Timeline)
		if len(w.all) >= mostReported {
			w.leftOut++
			break
		}
		w.byID[u.Timeline.ID] = len(w.all)
		w.all = append(w.all, u.Timeline.Clone())
	case timeline.UpdateAddendum:
		if i, ok := w.byID[u.Timeline.ID]; ok { // what happened in TIME_WAIT belongs into its ladder
			w.all[i].Entries = append(w.all[i].Entries, u.Timeline.Entries...)
		}
	}
	return nil
}

// Flush implements Writer: there is no page before all is known.
func (w *htmlWriter) Flush() error { return nil }

// htmlColumn is a column of the page's table, from one of the fields that all formats have.
type htmlColumn struct {
	Title string `json:"title"`
	Num   bool   `json:"num,omitempty"`   // sorted as numbers, the greatest first
	Less  bool   `json:"less,omitempty"`  // left out on narrow screens
	Long  bool   `json:"long,omitempty"`  // may be cut, the whole is told when asked for
	Found bool   `json:"found,omitempty"` // in the colour of the worst finding
	cell  func(s *Source) any
}

// htmlRow is a connection: its cells, each a string or what is shown with what it is sorted by before it.
type htmlRow struct {
	Cells    []any    `json:"c"`
	Ladder   int      `json:"l"`
	Severity string   `json:"s,omitempty"`
	Codes    []string `json:"f,omitempty"`
	Texts    []string `json:"t,omitempty"`
}

// fieldCell is a cell with a field's value for people; numbers are sorted as such.
func fieldCell(path string) func(s *Source) any {
	c := tableColumn{path: path, field: &csvFields[slices.IndexFunc(csvFields, func(f Field) bool { return f.Path == path })]}
	return func(s *Source) any {
		shown := Clean(c.words(s), 0)
		if shown == "-" {
			return ""
		}
		if c.field.Kind == Integer {
			if n, err := strconv.ParseFloat(string(c.field.Append(nil, s)), 64); err == nil {
				return []any{n, shown}
			}
		}
		return shown
	}
}

var htmlColumns = []htmlColumn{
	{Title: "No.", Num: true, Less: true, cell: func(s *Source) any { return []any{s.Timeline.ID, strconv.FormatUint(s.Timeline.ID, 10)} }},
	{Title: "Began", Num: true, cell: func(s *Source) any {
		at := s.Options.Clock.Wall(s.Timeline.Start)
		return []any{s.Timeline.Start, string(human.AppendDigits(append(appendHHMMSS(nil, at.Hour()*3600+at.Minute()*60+at.Second()), '.'), at.Nanosecond()/1e6, 3))}
	}},
	{Title: "Process", cell: fieldCell("process.comm")},
	{Title: "PID", Num: true, Less: true, cell: fieldCell("process.pid")},
	{Title: "Role", Less: true, cell: fieldCell("role")},
	{Title: "Local", Less: true, Long: true, cell: func(s *Source) any { return endpoint(s.Timeline.Local.String()) }},
	{Title: "Remote", Long: true, cell: func(s *Source) any { return endpoint(s.Timeline.Remote.String()) }},
	{Title: "State", Less: true, cell: fieldCell("state")},
	{Title: "Opening", cell: fieldCell("handshake.outcome")},
	{Title: "Handshake", Num: true, cell: fieldCell("handshake.duration_ns")},
	{Title: "Close", cell: fieldCell("teardown.kind")},
	{Title: "Life", Num: true, cell: func(s *Source) any {
		if ns, ok := life(s.Timeline); ok {
			return []any{ns, span(ns)}
		}
		return ""
	}},
	{Title: "Found", Found: true, Long: true, cell: func(s *Source) any {
		code, more := found(s.Timeline)
		return code + more
	}},
	{Title: "Sent", Num: true, Less: true, cell: fieldCell("traffic.tx_bytes")},
	{Title: "Received", Num: true, Less: true, cell: fieldCell("traffic.rx_bytes")},
	{Title: "Again", Num: true, Less: true, cell: fieldCell("traffic.retransmits")},
	{Title: "RTT", Num: true, Less: true, cell: fieldCell("traffic.srtt_ns")},
}

func endpoint(s string) string {
	if s == "invalid AddrPort" {
		return ""
	}
	return s
}

// Close implements Writer.
func (w *htmlWriter) Close() error {
	ladders, of := w.ladders()
	head, err := w.head(of)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := page.ExecuteTemplate(&w.lines, "head", head); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for i := 0; i < len(ladders); i += blockSize {
		if err := w.block(i/blockSize, ladders[i:min(i+blockSize, len(ladders))]); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		if err := w.flushEnough(); err != nil {
			return err
		}
		if w.options.Progress != nil {
			w.options.Progress(min(i+blockSize, len(ladders)), len(ladders))
		}
	}
	if err := page.ExecuteTemplate(&w.lines, "tail", map[string]any{"Script": template.JS(pageJS)}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return w.lines.Flush()
}

// ladders are what ladders are to be drawn of, and of each timeline which is its.
func (w *htmlWriter) ladders() (all []pair, of []int) {
	of = make([]int, len(w.all))
	for i, t := range w.all {
		if j, ok := w.byID[t.PeerID]; ok && t.PeerID != 0 && j != i && w.all[j].PeerID == t.ID {
			if j < i {
				of[i] = of[j]
				continue
			}
			of[i] = len(all)
			all = append(all, pair{t, w.all[j]})
			continue
		}
		of[i] = len(all)
		all = append(all, pair{t: t})
	}
	return all, of
}

// block writes ladders: an array of pictures in JSON, compressed, in base64.
func (w *htmlWriter) block(n int, ladders []pair) error {
	pictures := make([]string, len(ladders))
	for i, p := range ladders {
		svg, _ := NewLadder(p.t, p.peer, &w.options).appendSVG(nil, "", 0)
		pictures[i] = string(svg)
	}
	var packed bytes.Buffer
	z, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(z).Encode(pictures); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	w.buf = append(w.buf, `<script type="text/plain" id="b`+strconv.Itoa(n)+`">`...)
	w.buf = base64.StdEncoding.AppendEncode(w.buf, packed.Bytes())
	w.buf = append(w.buf, "</script>\n"...)
	return nil
}

// htmlHead is what the page's first part is made from.
type htmlHead struct {
	Policy           string
	From, To         string
	Style            template.CSS
	LeftOut, Held    int
	Tiles            []htmlTile
	Strip, Histogram template.HTML
	Found            []htmlFound
	Data             template.JS
}

type htmlTile struct{ Name, Value, Class string }

type htmlFound struct {
	Code, Severity, Text string
	Count                int
}

func (w *htmlWriter) head(of []int) (*htmlHead, error) {
	data := struct {
		Columns []htmlColumn `json:"columns"`
		Sort    int          `json:"sort"`
		Block   int          `json:"block"`
		Rows    []htmlRow    `json:"rows"`
	}{htmlColumns, 1, blockSize, make([]htmlRow, 0, len(w.all))}
	for i, t := range w.all {
		data.Rows = append(data.Rows, w.row(t, of[i]))
	}
	encoded, err := json.Marshal(data) // escapes <, > and &
	if err != nil {
		return nil, err
	}
	style := pageCSS + svgStyle
	h := &htmlHead{
		// Nothing is loaded, and no script runs but the page's own, whatever a process calls itself.
		Policy:  "default-src 'none'; style-src '" + hash(style) + "'; script-src '" + hash(pageJS) + "'",
		Style:   template.CSS(style),
		LeftOut: w.leftOut, Held: len(w.all),
		Tiles: w.tiles(), Found: w.found(),
		Strip: w.strip(), Histogram: w.histogram(),
		Data: template.JS(encoded),
	}
	from, to := w.span()
	const layout = "2006-01-02 15:04:05"
	if len(w.all) > 0 {
		h.From, h.To = w.options.Clock.Wall(from).Format(layout), w.options.Clock.Wall(to).Format("15:04:05 MST")
	}
	return h, nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (w *htmlWriter) row(t *timeline.Timeline, ladder int) htmlRow {
	s := Source{Timeline: t, Options: &w.options}
	r := htmlRow{Ladder: ladder, Cells: make([]any, len(htmlColumns))}
	for i := range htmlColumns {
		r.Cells[i] = htmlColumns[i].cell(&s)
	}
	for _, f := range t.Findings {
		r.Codes = append(r.Codes, f.Code)
		clean, _ := appendClean(nil, []byte(f.Text), 0)
		r.Texts = append(r.Texts, string(clean))
	}
	if len(t.Findings) > 0 {
		r.Severity = worst(t).String()
	}
	return r
}

// worst is the severity of a timeline's gravest finding.
func worst(t *timeline.Timeline) (s timeline.Severity) {
	for i := range t.Findings {
		s = max(s, t.Findings[i].Severity)
	}
	return s
}

// tiles are the sums.
func (w *htmlWriter) tiles() []htmlTile {
	sums := &w.sum
	count := func(name string, n uint64, class string) htmlTile {
		if n == 0 {
			class = ""
		}
		return htmlTile{name, strconv.FormatUint(n, 10), class}
	}
	tiles := []htmlTile{
		count("ends seen", uint64(len(w.all)+w.leftOut), ""),
		count("failed", sums.failed, "bad"), count("reset", sums.reset, "bad"), count("sent again", sums.retransmits, "warn"),
	}
	if n := len(sums.handshakes); n > 0 {
		slices.Sort(sums.handshakes)
		tiles = append(tiles, htmlTile{"handshake p50", span(percentile(sums.handshakes, 50)), ""},
			htmlTile{"handshake p99", span(percentile(sums.handshakes, 99)), ""})
	}
	return append(tiles, htmlTile{"sent", string(human.AppendBytes(nil, sums.tx)), ""},
		htmlTile{"received", string(human.AppendBytes(nil, sums.rx)), ""})
}

// found counts the findings by their codes, the worst and the most frequent first.
func (w *htmlWriter) found() (all []htmlFound) {
	at := map[string]int{}
	for _, t := range w.all {
		for _, f := range t.Findings {
			i, ok := at[f.Code]
			if !ok {
				i = len(all)
				at[f.Code] = i
				all = append(all, htmlFound{Code: f.Code, Severity: f.Severity.String(), Text: f.Text})
			}
			all[i].Count++
		}
	}
	order := map[string]int{"error": 0, "warning": 1, "note": 2}
	slices.SortStableFunc(all, func(a, b htmlFound) int {
		if d := order[a.Severity] - order[b.Severity]; d != 0 {
			return d
		}
		return b.Count - a.Count
	})
	return all
}

// span is when the first timeline began and the last one was seen.
func (w *htmlWriter) span() (from, to uint64) {
	for i, t := range w.all {
		if i == 0 {
			from = t.Start
		}
		from, to = min(from, t.Start), max(to, lastTime(t))
	}
	return from, to
}
