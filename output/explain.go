package output

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// Columns of an explanation: the time since the connection began, who sends, and the words.
const (
	explainWidth = 80
	momentWidth  = 9
	explainDent  = momentWidth + len(" > ")
)

// explainWriter tells each connection as prose, step by step, when it has ended.
type explainWriter struct {
	lines
	options Options
	n       int // told so far
	width   int // of a line, 0 without limit
}

func newExplain(o Options) (Writer, error) {
	w := &explainWriter{lines: lines{out: o.Out}, options: o, width: explainWidth}
	if o.Wide {
		w.width = 0
	}
	return w, nil
}

// Write implements Writer.
func (w *explainWriter) Write(u *timeline.Update) error {
	if u.Kind == timeline.UpdateEntry {
		return nil
	}
	if w.n++; w.n > 1 {
		w.buf = append(w.buf, '\n')
	}
	t := newTeller(u.Timeline, &w.options)
	if u.Kind == timeline.UpdateAddendum {
		w.paragraph(0, fmt.Sprintf("Connection %d, after it was told: %s.", u.Timeline.ID, t.whoAndWhere()))
		t.numbers.ofClose = 0
		w.steps(t, false)
		return w.flushEnough()
	}
	w.paragraph(0, fmt.Sprintf("Connection %d: %s.", u.Timeline.ID, t.whoAndWhere()))
	w.paragraph(0, t.when())
	w.buf = append(w.buf, '\n')
	w.steps(t, true)
	w.buf = append(w.buf, '\n')
	w.paragraph(0, t.result())
	w.findings(u.Timeline)
	return w.flushEnough()
}

// Close implements Writer.
func (w *explainWriter) Close() error { return w.Flush() }

// steps writes what happened, each with its time, and before the close what went over the
// connection, where that is to be told.
func (w *explainWriter) steps(t *teller, traffic bool) {
	for i := range t.t.Entries {
		e := &t.t.Entries[i]
		if traffic && closes(e) {
			traffic = false
			w.between(t)
		}
		words := t.entry(e)
		start := len(w.buf)
		moment := string(human.AppendDuration(nil, e.Time-min(e.Time, t.t.Start)))
		if e.Time <= t.t.Start {
			moment = "0 ms"
		}
		w.buf = pad(w.buf, len(moment), momentWidth)
		w.buf = append(w.buf, moment...)
		w.buf = append(w.buf, ' ', arrow(e), ' ')
		w.words(words, len(w.buf)-start, explainDent)
	}
}

// between writes what went over the connection, between its opening and its close.
func (w *explainWriter) between(t *teller) {
	s := t.carried()
	if s == "" {
		return
	}
	if !bytes.HasSuffix(w.buf, []byte("\n\n")) {
		w.buf = append(w.buf, '\n')
	}
	w.paragraph(explainDent, s)
	w.buf = append(w.buf, '\n')
}

// arrow marks what is sent and what is received, as the text format does.
func arrow(e *timeline.Entry) byte {
	switch {
	case e.Type != timeline.EntrySegment && e.Type != timeline.EntryDrop:
		return ' '
	case e.Dir == timeline.Tx:
		return '>'
	}
	return '<'
}

// findings writes all that was found.
func (w *explainWriter) findings(t *timeline.Timeline) {
	if len(t.Findings) == 0 && t.Complete {
		w.paragraph(0, "Nothing unusual was found.")
	}
	for i := range t.Findings {
		f := &t.Findings[i]
		w.buf = append(w.buf, '\n')
		w.paragraph(0, title(f.Severity.String())+" ("+f.Code+"): "+f.Text)
		w.paragraph(2, "Next: "+f.Next)
	}
}

// paragraph writes words, all lines indented alike.
func (w *explainWriter) paragraph(indent int, words string) {
	w.buf = pad(w.buf, 0, indent)
	w.words(words, indent, indent)
}

// words writes words, cleaned, on a line of which used columns are taken, and on further ones with an indent.
func (w *explainWriter) words(words string, used, indent int) {
	w.buf = append(appendWrapped(w.buf, words, used, indent, w.width), '\n')
}

// appendWrapped appends words, cleaned, broken at spaces so that no line has more columns than
// width (0: no limit); the first line has used some already.
func appendWrapped(b []byte, words string, used, indent, width int) []byte {
	cleaned, _ := appendClean(nil, []byte(words), 0)
	for i, word := range withUnits(bytes.Fields(cleaned)) {
		n := text.StringWidthWithoutEscSequences(string(word))
		switch {
		case i == 0:
		case width > 0 && used+1+n > width:
			b = pad(append(b, '\n'), 0, indent)
			used = indent
		default:
			b = append(b, ' ')
			used++
		}
		b = append(b, word...)
		used += n
	}
	return b
}

// withUnits joins a number and its unit to one word.
func withUnits(words [][]byte) [][]byte {
	joined := words[:0]
	for _, word := range words {
		if n := len(joined); n > 0 && unit[strings.TrimRight(string(word), ".,;:)")] {
			if last := joined[n-1]; '0' <= last[len(last)-1] && last[len(last)-1] <= '9' {
				joined[n-1] = bytes.Join([][]byte{last, word}, []byte{' '})
				continue
			}
		}
		joined = append(joined, word)
	}
	return joined
}

var unit = map[string]bool{"ms": true, "s": true, "B": true, "kB": true, "MB": true, "GB": true, "TB": true, "byte": true, "bytes": true}

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// teller puts a connection in words.
type teller struct {
	t       *timeline.Timeline
	options *Options
	names   [timeline.Rx + 1]string // whoever sends in a direction
	letter  [timeline.Rx + 1]string // of its initial sequence number
	numbers numbering
	last    [timeline.Rx + 1]*timeline.Entry // segment with SYN or FIN
	state   *timeline.Entry
}

func newTeller(t *timeline.Timeline, o *Options) *teller {
	l := &teller{t: t, options: o, numbers: newNumbering(t)}
	l.names = [...]string{"", "this end", "the other end"}
	l.letter = [...]string{"", "x", "y"}
	switch t.Role {
	case timeline.RoleClient:
		l.names = [...]string{"", "the client", "the server"}
	case timeline.RoleServer:
		l.names = [...]string{"", "the server", "the client"}
		l.letter = [...]string{"", "y", "x"}
	}
	return l
}

// whoAndWhere is "curl (pid 4711), the client, at 192.0.2.1:40000, with the server at 192.0.2.2:80".
func (l *teller) whoAndWhere() string {
	who := l.names[timeline.Tx]
	if p := &l.t.Process; p.Source != events.SourceUnknown {
		who = human.Process(p.Comm.String(), p.PID) + ", " + who + ","
	}
	if l.t.Local.Port() == 0 { // none was chosen
		return strings.TrimSuffix(who, ",") + ", with " + l.names[timeline.Rx] + " at " + l.t.Remote.String()
	}
	return who + " at " + l.t.Local.String() + ", with " + l.names[timeline.Rx] + " at " + l.t.Remote.String()
}

func (l *teller) when() string {
	s := "It began at " + string(appendTime(nil, l.options.Clock.Wall(l.t.Start)))
	if !l.t.Complete && l.t.Handshake.Outcome == timeline.OutcomeUnobserved {
		s = "It was there before tracing began, at " + string(appendTime(nil, l.options.Clock.Wall(l.t.Start)))
	}
	if l.t.PeerID != 0 {
		s += fmt.Sprintf("; the other end is on this host too, as connection %d", l.t.PeerID)
	}
	s += "."
	if nat := translationWords(l.t); nat != "" {
		s += " " + nat
	}
	return s
}

// result is how it opened and closed, in a sentence or two, and what other tools would call it.
func (l *teller) result() string {
	h := &l.t.Handshake
	s := l.ending() + "."
	if h.DurationNS.Known && h.Outcome == timeline.OutcomeEstablished {
		s += " The handshake took " + span(h.DurationNS.Value)
		if h.Kind != timeline.HandshakeThreeWay {
			s += " (" + h.Kind.String() + ")"
		}
		if ns, ok := life(l.t); ok {
			s += ", the connection lived " + span(ns)
		}
		s += "."
	}
	switch c := &l.t.ClosedBy; {
	case c.Signal != 0:
		s += " Its process had been killed by " + string(human.AppendSignal(nil, c.Signal)) + "."
	case c.Call == events.CloseExit:
		s += " Its process had ended."
	}
	switch {
	case l.t.Teardown.TimeWaitNS.Known:
		s += " TIME_WAIT was held for " + span(l.t.Teardown.TimeWaitNS.Value) + "."
	case l.t.State == events.TimeWait:
		s += " TIME_WAIT goes on."
	}
	if len(l.t.History) > 0 {
		s += " In Zeek's words: " + l.t.ConnState.String() + ", " + string(l.t.History) + "."
	}
	return s
}

// ending is how it closed.
func (l *teller) ending() string {
	d := &l.t.Teardown
	first, second := l.names[timeline.Tx], l.names[timeline.Rx]
	if d.Initiator == timeline.SideRemote {
		first, second = second, first
	}
	if o := l.t.Handshake.Outcome; o != timeline.OutcomeEstablished && o != timeline.OutcomeUnobserved {
		return title(string(appendEnding(nil, l.t)))
	}
	switch d.Kind {
	case timeline.TeardownFourWay:
		return title(first) + " closed first; " + second + "'s ACK and FIN came apart, four segments in all"
	case timeline.TeardownThreeSegment:
		return title(first) + " closed first; " + second + "'s ACK and FIN came as one, three segments in all"
	case timeline.TeardownSimultaneous:
		return "Both ends closed at once"
	case timeline.TeardownReset:
		switch d.ResetBy {
		case timeline.SideLocal:
			return title(l.names[timeline.Tx]) + " reset the connection"
		case timeline.SideRemote:
			return title(l.names[timeline.Rx]) + " reset the connection"
		}
	}
	return title(string(appendEnding(nil, l.t)))
}

// carried is what went over it.
func (l *teller) carried() string {
	c := &l.t.Traffic
	if !c.TxBytes.Known || !c.RxBytes.Known ||
		l.t.Handshake.Outcome != timeline.OutcomeEstablished && l.t.Handshake.Outcome != timeline.OutcomeUnobserved {
		return ""
	}
	if c.TxBytes.Value+c.RxBytes.Value == 0 {
		return "No data went over it."
	}
	s := title(l.names[timeline.Tx]) + " sent " + string(human.AppendBytes(nil, c.TxBytes.Value)) +
		" and received " + string(human.AppendBytes(nil, c.RxBytes.Value)) + " in all"
	if c.Retransmits.Value > 0 {
		s += ", with " + string(human.AppendCount(nil, c.Retransmits.Value, "segment")) + " sent again"
	}
	if c.SRTTNS.Known {
		s += "; a round trip took " + span(c.SRTTNS.Value)
	}
	return s + "."
}

func span(ns uint64) string { return string(human.AppendDuration(nil, ns)) }
