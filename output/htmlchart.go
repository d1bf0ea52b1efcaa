package output

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"tcptrace/timeline"
)

// Sizes of the pictures at the top of the page, in pixels of their own.
const (
	stripWidth, stripLanes, stripHeight = 900, 40, 160
	histWidth, histHeight               = 440, 190
)

// strip draws each connection as a line from its beginning to its end, in as many lanes as are needed at once.
func (w *htmlWriter) strip() template.HTML {
	from, to := w.span()
	length := max(to-from, 1)
	const left, right = 6, stripWidth - 6
	x := func(at uint64) float64 { return left + float64(at-from)/float64(length)*(right-left) }
	order := make([]*timeline.Timeline, len(w.all))
	copy(order, w.all)
	slices.SortStableFunc(order, func(a, b *timeline.Timeline) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	var ends []float64 // of what is last in each lane
	type line struct {
		x1, x2 float64
		lane   int
	}
	all := map[string][]line{}
	for i, t := range order {
		x1 := x(t.Start)
		ns, _ := life(t)
		x2 := max(x(t.Start+min(ns, to-t.Start)), x1+2)
		lane := slices.IndexFunc(ends, func(end float64) bool { return end+1 < x1 })
		switch {
		case lane >= 0:
		case len(ends) < stripLanes:
			lane = len(ends)
			ends = append(ends, 0)
		default:
			lane = i % stripLanes // more at once than can be told apart
		}
		ends[lane] = x2
		class := "ok"
		if len(t.Findings) > 0 && worst(t) > timeline.SeverityNote {
			class = worst(t).String()
		}
		all[class] = append(all[class], line{x1, x2, lane})
	}
	each := min(stripHeight/max(len(ends), 1), 12)
	const bottom = 10 + stripHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg role="img" viewBox="0 0 %d %d"><title>%d connections' ends, from %s on for %s</title>`, stripWidth, bottom+22, len(w.all),
		html.EscapeString(w.options.Clock.Wall(from).Format("15:04:05")), span(length))
	for _, class := range []string{"ok", "warning", "error"} { // what is bad stands above the rest
		if len(all[class]) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<path class="c-%s" stroke-width="%d" d="`, class, max(each-2, 2))
		for _, l := range all[class] {
			fmt.Fprintf(&b, "M%.1f %dH%.1f", l.x1, 10+l.lane*each, l.x2)
		}
		b.WriteString(`"/>`)
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%d %dH%d"/>`, left, bottom, right)
	for i := range 5 {
		at := uint64(i) * (length / 4)
		anchor := [...]string{"start", "middle", "middle", "middle", "end"}[i]
		words := "+" + span(at)
		if i == 0 {
			words = w.options.Clock.Wall(from).Format("15:04:05.000")
		}
		fmt.Fprintf(&b, `<path class="axis" d="M%.1f %dv4"/><text x="%.1f" y="%d" text-anchor="%s">%s</text>`,
			x(from+at), bottom, x(from+at), bottom+16, anchor, words)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// bucket is where a handshake is counted: three to a decade, of nanoseconds.
func bucket(ns uint64) int { return int(math.Floor(math.Log10(float64(max(ns, 1)))*3 + 1e-9)) }

// histogram counts handshakes by how long they took, on a logarithmic scale.
func (w *htmlWriter) histogram() template.HTML {
	counts := map[int]int{}
	var all []uint64
	for _, t := range w.all {
		if d := t.Handshake.DurationNS; d.Known {
			counts[bucket(d.Value)]++
			all = append(all, d.Value)
		}
	}
	if len(all) == 0 {
		return `<p class="dim">No handshake was seen from beginning to end.</p>`
	}
	slices.Sort(all)
	first, last := bucket(all[0]), bucket(all[len(all)-1])
	for last-first < 8 { // few bars would be slabs
		first, last = first-1, last+1
	}
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	const left, right, top, bottom = 10, histWidth - 10, 32, histHeight - 24
	each := float64(right-left) / float64(last-first+1)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg role="img" viewBox="0 0 %d %d"><title>%d handshakes: half took up to %s, 99 of 100 up to %s</title>`,
		histWidth, histHeight, len(all), span(percentile(all, 50)), span(percentile(all, 99)))
	label := 0.0 // up to where the axis has words
	for i := first; i <= last; i++ {
		x := left + float64(i-first)*each
		if n := counts[i]; n > 0 {
			h := max(float64(bottom-top)*float64(n)/float64(most), 2)
			fmt.Fprintf(&b, `<rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2"/>`, x+1, float64(bottom)-h, each-2, h)
			if each > 22 {
				fmt.Fprintf(&b, `<text class="count" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x+each/2, float64(bottom)-h-4, strconv.Itoa(n))
			}
		}
		if i%3 == 0 || i == first && last-first < 3 {
			words := decade(i / 3)
			if i >= 0 && x >= label {
				fmt.Fprintf(&b, `<path class="axis" d="M%.1f %dv4"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x, bottom, max(x, 24), bottom+17, words)
				label = x + float64(len(words)*7+10)
			}
		}
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%d %dH%d"/>`, left, bottom, right)
	at := func(ns uint64) float64 {
		return min(max(left+(math.Log10(float64(max(ns, 1)))*3-float64(first))*each, left), right)
	}
	p50, p99 := percentile(all, 50), percentile(all, 99)
	x50, x99 := at(p50), at(p99)
	for i, p := range []struct {
		x     float64
		words string
	}{{x50, "p50 " + span(p50)}, {x99, "p99 " + span(p99)}} {
		anchor, dx := "start", 3.0
		if i == 0 && x99-x50 < 100 || p.x > right-90 {
			anchor, dx = "end", -3
		}
		if i == 0 && anchor == "end" && p.x < left+90 {
			anchor, dx = "start", 3
		}
		y := 10
		if i == 1 && x99-x50 < 100 {
			y = 22
		}
		fmt.Fprintf(&b, `<path class="pctl" d="M%.1f %dV%d"/><text x="%.1f" y="%d" text-anchor="%s">%s</text>`, p.x, y-8, bottom, p.x+dx, y, anchor, p.words)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// decade is 10 to the power of n nanoseconds, in words.
func decade(n int) string {
	if n < 0 {
		return ""
	}
	units := []string{"ns", "µs", "ms", "s"}
	u := min(n/3, len(units)-1)
	return strconv.Itoa(int(math.Pow10(n-3*u))) + " " + units[u]
}
