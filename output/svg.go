package output

import (
	"strconv"

	"tcptrace/timeline"
)

// mostPictures is how many ladders a picture holds: nobody looks further down.
const mostPictures = 100

// svgWriter draws the ladders of all connections, one below the other, in one picture.
type svgWriter struct {
	ladderWriter
	drawn  []byte
	height int
}

func newSVG(o Options) (Writer, error) {
	w := &svgWriter{ladderWriter: ladderWriter{lines: lines{out: o.Out}, options: o}}
	w.draw = func(l *Ladder, note string) {
		if w.n >= mostPictures {
			return
		}
		var height int
		w.drawn, height = l.appendSVG(w.drawn, note, w.height)
		w.drawn = append(w.drawn, '\n')
		w.height += height
	}
	return w, nil
}

// Flush implements Writer. Nothing is written before all is known: a picture begins with its height.
func (w *svgWriter) Flush() error { return nil }

// Write implements Writer.
func (w *svgWriter) Write(u *timeline.Update) error {
	w.take(u)
	return nil
}

// Advance implements Waiter: an end waits for the other as long as it takes.
func (w *svgWriter) Advance(uint64) error { return nil }

// Close implements Writer.
func (w *svgWriter) Close() error {
	w.all(w.pairs.all())
	last := ""
	switch {
	case w.n == 0:
		last = "No connection was seen."
	case w.n > mostPictures:
		last = "The first " + strconv.Itoa(mostPictures) + " of " + strconv.Itoa(w.n) + " connections. All of them: -o html; one: -c 1, and filters."
	}
	if last != "" {
		p := picture{}
		p.text(12, w.height+28, "l-name", last)
		w.drawn = append(append(w.drawn, p.b...), '\n')
		w.height += 44
	}
	size := strconv.Itoa(svgWidth) + `" height="` + strconv.Itoa(w.height)
	w.buf = append(w.buf, `<svg xmlns="http://www.w3.org/2000/svg" class="l-svg" width="`+size+
		`" viewBox="0 0 `+strconv.Itoa(svgWidth)+` `+strconv.Itoa(w.height)+`"><title>TCP connections</title><style>`+svgStyle+"</style>\n"...)
	w.buf = append(append(w.buf, w.drawn...), "</svg>\n"...)
	return w.lines.Flush()
}
