package output

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/timeline"
)

// footer says below a ladder what it came to, and what was found.
func (d *drawer) footer(width int) {
	d.end()
	for _, line := range d.l.summary() {
		d.words(nil, line, 0, width)
	}
	for i, f := range d.l.findings() {
		if i == 0 {
			d.end()
		}
		d.words(SeverityColors(f.Severity), f.Severity.String()+": "+f.Text, 2, width)
		if f.Next != "" {
			d.words(colourDim, "Next: "+f.Next, 2, width)
		}
	}
}

// words writes a paragraph, its further lines indented.
func (d *drawer) words(colour text.Colors, words string, indent, width int) {
	for i, line := range strings.Split(string(appendWrapped(nil, words, 0, indent, width)), "\n") {
		if i > 0 {
			d.space(indent)
			line = strings.TrimLeft(line, " ")
		}
		d.paint(colour, line)
		d.end()
	}
}

// SeverityColors are a finding's, in the ladder and in the live view; nil for a note.
func SeverityColors(s timeline.Severity) text.Colors {
	switch s {
	case timeline.SeverityError:
		return colourBad
	case timeline.SeverityWarning:
		return colourWarn
	}
	return nil
}

// summary is how the connection ended, for each of its ends that is known, in a line each.
func (l *Ladder) summary() (lines []string) {
	for _, e := range l.Ends {
		t := e.Timeline
		if t == nil {
			continue
		}
		s := title(string(appendEnding(nil, t)))
		if l.Ends[1].Timeline != nil {
			s = e.Name + ": " + string(appendEnding(nil, t))
		}
		if t.Handshake.DurationNS.Known {
			s += "; handshake " + span(t.Handshake.DurationNS.Value)
		}
		if ns, ok := life(t); ok {
			s += "; life " + span(ns)
		}
		switch {
		case t.LostEvents > 0:
			s += "; events LOST"
		case !t.Complete:
			s += "; start not seen"
		}
		lines = append(lines, s+".")
	}
	if nat := translationWords(l.Ends[0].Timeline); nat != "" {
		lines = append(lines, nat)
	}
	return lines
}

// findings are those of both ends, each text once, the worst first.
func (l *Ladder) findings() (all []timeline.Finding) {
	told := map[string]bool{}
	for severity := timeline.SeverityError; ; severity-- {
		for _, e := range l.Ends {
			if e.Timeline == nil {
				continue
			}
			for _, f := range e.Timeline.Findings {
				if f.Severity == severity && !told[f.Text] {
					told[f.Text] = true
					all = append(all, f)
				}
			}
		}
		if severity == timeline.SeverityNote {
			return all
		}
	}
}
