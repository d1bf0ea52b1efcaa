package output

import (
	"fmt"
	"strings"
)

// newMermaid writes each connection as a sequence diagram of Mermaid, in the fence in which
// Markdown wants it.
func newMermaid(o Options) (Writer, error) {
	w := &ladderWriter{lines: lines{out: o.Out}, options: o}
	w.draw = func(l *Ladder, note string) {
		if w.n > 0 {
			w.buf = append(w.buf, '\n')
		}
		w.buf = append(append(append(w.buf, "```mermaid\n"...), l.Mermaid(note)...), "```\n"...)
	}
	return w, nil
}

// Mermaid is the ladder as a sequenceDiagram, with the options' choice of sequence numbers.
func (l *Ladder) Mermaid(note string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "    "+format+"\n", args...) }
	b.WriteString("sequenceDiagram\n")
	line("accTitle: %s", mermaidText(l.Title()+note))
	ends := [2]string{"L", "R"}
	for i, e := range l.Ends {
		name := mermaidText(e.Name)
		if e.Who != "" {
			name += "<br/>" + mermaidText(e.Who)
		}
		line("participant %s as %s", ends[i], name)
	}
	beside := [2]string{"left of L", "right of R"}
	for i := range l.Rows {
		r := &l.Rows[i]
		sender := r.States[r.From] // announced by the segment: it comes first
		if r.Segment == nil || sender == nil || !announced(sender) {
			sender = nil
		} else {
			line("Note %s: %s<br/>%s", beside[r.From], sender.To, mermaidText(span(r.At)))
		}
		switch r.Kind {
		case RowSegment, RowDepart, RowArrive:
			arrow := "->>"
			words := l.parts(r, &Options{Absolute: l.options.Absolute})
			switch {
			case r.Kind == RowDepart: // it arrives further down
				arrow = "--)"
				words[0] += " leaves"
			case r.Fate != FateArrived:
				arrow = "-x"
			}
			label := mermaidText(words[0])
			if len(words) > 1 {
				label += "<br/>" + mermaidText(strings.Join(words[1:], ", "))
			}
			if delay := delayWords(r); delay != "" {
				label += "<br/>took " + mermaidText(delay)
			}
			if why := l.fateWords(r); why != "" {
				label += "<br/>" + mermaidText(why)
			}
			line("%s%s%s: %s", ends[r.From], arrow, ends[1-r.From], label)
		case RowFold:
			line("Note over L,R: %s", mermaidText(l.foldWords(r, "→", "←")))
		case RowGap:
			line("Note over L,R: %s", mermaidText(gapWords(r)))
		case RowWait:
			line("Note %s: %s", beside[r.Side], mermaidText(l.stateWords(r)))
		}
		for side, e := range r.States {
			if e == nil || e == sender {
				continue
			}
			at := span(r.At)
			if words := l.stateWords(r); words != "" {
				at += ", " + words
			}
			line("Note %s: %s<br/>%s", beside[side], e.To, mermaidText(at))
		}
	}
	return b.String()
}

// mermaidText escapes what would end a statement or be taken for markup.
func mermaidText(words string) string {
	clean, _ := appendClean(nil, []byte(words), 0)
	return mermaidEscapes.Replace(string(clean))
}

// Mermaid writes a character's name or number between # and ; where others have &.
var mermaidEscapes = strings.NewReplacer("#", "#35;", ";", "#59;", "&", "#amp;", "<", "#lt;", ">", "#gt;", "`", "#96;", "%", "#37;", "\\", "#92;")
