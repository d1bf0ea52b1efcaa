package output

import (
	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// closingMark begins the event of a connection's summary.
const closingMark = "= "

// closing writes a connection's summary: how it ended, in the columns of every
// line, and below that what it came to, broken to the width of the screen. Where
// all is shown, both are one line.
func (w *textWriter) closing(t *timeline.Timeline) {
	b := w.prefix(w.buf, t, lastTime(t))
	b = append(b, closingMark...)
	b = appendEnding(b, t)
	s := summary{b: b, item: w.item, wide: w.options.Wide, indent: w.indent, room: w.width}
	w.summarize(&s, t)
	w.buf, w.item = append(s.b, '\n'), s.item
	w.finding(t)
}

// finding writes the most important of a connection's findings, in words. Notes are
// left to the formats that tell all: many are of what was intended.
func (w *textWriter) finding(t *timeline.Timeline) {
	if len(t.Findings) == 0 || t.Findings[0].Severity == timeline.SeverityNote {
		return
	}
	f := &t.Findings[0]
	b := append(w.scratch[:0], f.Severity.String()...)
	if n := len(t.Findings); n > 1 {
		b = append(appendUint(append(b, " (1 of "...), uint32(n)), ')')
	}
	b = append(append(b, ": "...), f.Text...)
	w.scratch = b
	w.buf = pad(w.buf, 0, w.indent)
	width := w.width
	if w.options.Wide {
		width = 0
	}
	w.buf = append(appendWrapped(w.buf, string(b), w.indent, w.indent, width), '\n')
}

// appendEnding appends how a connection ended, the side that began it first.
func appendEnding(b []byte, t *timeline.Timeline) []byte {
	h, d := &t.Handshake, &t.Teardown
	if !t.End.Known && t.State != events.Close && t.State != events.TimeWait {
		return append(append(b, "still open, "...), t.State.String()...)
	}
	switch h.Outcome {
	case timeline.OutcomeRefused:
		rst := ""
		if d.ResetBy != timeline.SideUnknown {
			rst = "RST"
		}
		return appendEvidence(append(b, "refused"...), rst, h.Errno)
	case timeline.OutcomeTimedOut:
		if t.Role == timeline.RoleServer {
			if !answered(t) {
				return append(b, "SYN never answered"...)
			}
			return human.AppendCount(append(b, "no ACK to "...), 1+uint64(h.SYNACKRetransmits), "SYN-ACK")
		}
		b = human.AppendCount(append(b, "no answer to "...), 1+uint64(h.SYNRetransmits), "SYN")
		return appendEvidence(b, "", h.Errno)
	case timeline.OutcomeReset:
		b = append(appendBy(append(b, "reset"...), d.ResetBy), " in handshake"...)
		return appendEvidence(b, "", h.Errno)
	case timeline.OutcomeUnreachable:
		return appendEvidence(append(b, "unreachable"...), "", h.Errno)
	case timeline.OutcomeAborted:
		return appendEvidence(append(b, "given up in handshake"...), "", h.Errno)
	}
	switch d.Kind {
	case timeline.TeardownFourWay, timeline.TeardownThreeSegment:
		b = append(appendBy(append(b, "closed"...), d.Initiator), ", "...)
		return append(b, d.Kind.String()...)
	case timeline.TeardownSimultaneous:
		return append(b, "closed by both at once"...)
	case timeline.TeardownReset:
		by := d.ResetBy
		if by == timeline.SideUnknown {
			by = d.Initiator
		}
		return appendBy(append(b, "reset"...), by)
	case timeline.TeardownTimedOut:
		return append(b, "timed out"...)
	}
	return append(b, "end not seen"...)
}

// answered tells whether a SYN-ACK was sent, dropped on its way or not.
func answered(t *timeline.Timeline) bool {
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Step == timeline.StepSYNACK && e.Dir == timeline.Tx {
			return true
		}
	}
	return false
}

// appendBy appends " by local", or nothing where the side is not known.
func appendBy(b []byte, side timeline.Side) []byte {
	if side == timeline.SideUnknown {
		return b
	}
	return append(append(b, " by "...), side.String()...)
}

// appendEvidence appends " (RST, ECONNREFUSED)" or as much of it as there is.
func appendEvidence(b []byte, segment string, errno uint16) []byte {
	if segment == "" && errno == 0 {
		return b
	}
	b = append(append(b, " ("...), segment...)
	if segment != "" && errno != 0 {
		b = append(b, ", "...)
	}
	return append(human.AppendErrno(b, errno), ')')
}

// summarize appends what a connection came to.
func (w *textWriter) summarize(s *summary, t *timeline.Timeline) {
	h, d := &t.Handshake, &t.Teardown
	if !s.wide {
		w.whole(s, t)
	}
	switch t.Role {
	case timeline.RoleClient, timeline.RoleServer:
		s.part(append(s.next(), t.Role.String()...))
	case timeline.RoleSimultaneous:
		s.part(append(s.next(), "simultaneous open"...))
	}
	w.container(s, t)
	s.translation(t)
	if h.DurationNS.Known {
		s.part(human.AppendDuration(append(s.next(), "handshake "...), h.DurationNS.Value))
	}
	if ns, ok := life(t); ok {
		word := "life "
		if h.Outcome == timeline.OutcomeUnobserved {
			word = "seen for "
		}
		s.part(human.AppendDuration(append(s.next(), word...), ns))
	}
	if h.Outcome == timeline.OutcomeEstablished || h.Outcome == timeline.OutcomeUnobserved {
		if v := t.Traffic.TxBytes; v.Known {
			s.part(human.AppendBytes(append(s.next(), "tx "...), v.Value))
		}
		if v := t.Traffic.RxBytes; v.Known {
			s.part(human.AppendBytes(append(s.next(), "rx "...), v.Value))
		}
	}
	s.retransmits(t)
	if n := drops(t); n > 0 {
		s.part(append(human.AppendCount(s.next(), n, "segment"), " dropped here"...))
	}
	if d.HalfClosedNS.Known && d.HalfClosedNS.Value >= halfClosedWorthTelling {
		s.part(human.AppendDuration(append(s.next(), "half-closed "...), d.HalfClosedNS.Value))
	}
	if d.ResetBy == timeline.SideLocal && (d.ResetReason != 0 || d.ResetCause != timeline.ResetUnexplained) {
		w.scratch = appendResetReason(w.scratch[:0], d, &w.options)
		b := s.next()
		if len(w.scratch) > 0 && w.scratch[0] <= '9' {
			b = append(b, "reset reason "...)
		}
		s.part(append(b, w.scratch...))
	}
	if c := &t.ClosedBy; c.PID != 0 && c.PID != t.Process.PID {
		s.part(w.process(append(s.next(), "closed by "...), c.PID, &c.Comm))
	} else if c.Side == timeline.SideKernel {
		s.part(append(s.next(), "closed by the kernel"...))
	}
	if c := &t.ClosedBy; c.Signal != 0 {
		s.part(human.AppendSignal(append(s.next(), "killed by "...), c.Signal))
	}
	switch {
	case d.TimeWaitNS.Known:
		s.part(human.AppendDuration(append(s.next(), "TIME_WAIT "...), d.TimeWaitNS.Value))
	case t.State == events.TimeWait:
		s.part(append(s.next(), "TIME_WAIT"...))
	}
	if t.LostEvents > 0 {
		s.part(append(human.AppendCount(s.next(), t.LostEvents, "event"), " LOST"...))
	} else if !t.Complete {
		s.part(append(s.next(), "start not seen"...))
	}
}

// halfClosedWorthTelling: every four-way close is half-closed for a moment.
const halfClosedWorthTelling = 1e9 // nanoseconds

// whole appends what was cut in the columns.
func (w *textWriter) whole(s *summary, t *timeline.Timeline) {
	if t.Process.Source != events.SourceUnknown {
		w.scratch = appendComm(w.scratch[:0], &t.Process.Comm)
		b, width := appendClean(s.next(), w.scratch, 0)
		if width > commWidth {
			s.part(b)
		}
	}
	if b := appendAddr(s.next(), t.Remote.Addr()); len(b) > addrWidth {
		s.part(b)
	}
}

// drops counts the segments that this host's kernel threw away.
func drops(t *timeline.Timeline) (n uint64) {
	for i := range t.Entries {
		if t.Entries[i].Type == timeline.EntryDrop {
			n++
		}
	}
	return n
}

// life is how long the connection lived, TIME_WAIT not counted, as far as it was seen; of a single moment it is not known.
func life(t *timeline.Timeline) (ns uint64, known bool) {
	end := lastTime(t)
	if !t.End.Known && t.State != events.Close {
		end = max(end, t.WrittenAt) // it goes on
	}
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Type == timeline.EntryState && e.To == events.TimeWait {
			end = e.Time
		}
	}
	return end - t.Start, end > t.Start || end == t.Start && t.End.Known
}

// lastTime is the last that is known of the timeline.
func lastTime(t *timeline.Timeline) uint64 {
	switch n := len(t.Entries); {
	case t.End.Known:
		return t.End.Value
	case n > 0:
		return t.Entries[n-1].Time
	}
	return t.Start
}

// summary collects parts, with commas between, on lines of limited width.
type summary struct {
	b      []byte
	item   []byte // where the next part is made
	wide   bool
	indent int
	room   int // columns of a line
	used   int // of them
	any    bool
}

// next is an empty buffer to make the next part in.
func (s *summary) next() []byte { return s.item[:0] }

// part adds what was made in next, on a new line where it does not fit.
func (s *summary) part(item []byte) {
	s.item = item
	width := text.StringWidthWithoutEscSequences(string(item))
	switch {
	case s.wide && !s.any:
		s.b = append(s.b, "; "...)
	case !s.any || !s.wide && s.used+len(", ")+width+len(",") > s.room:
		if s.any {
			s.b = append(s.b, ',')
		}
		s.b = pad(append(s.b, '\n'), 0, s.indent)
		s.used = s.indent
	default:
		s.b = append(s.b, ", "...)
		s.used += len(", ")
	}
	s.b = append(s.b, item...)
	s.used += width
	s.any = true
}

// container appends "in web", where containers' names were asked for.
func (w *textWriter) container(s *summary, t *timeline.Timeline) {
	if w.options.Process == nil {
		return
	}
	if name := w.options.Process(&t.Process).Names.Container; name != "" {
		w.scratch = append(w.scratch[:0], name...)
		b, _ := appendClean(append(s.next(), "in "...), w.scratch, 0)
		s.part(b)
	}
}

// translation appends "as 198.51.100.254:4711 (NAT)", what the other end takes this one for, and "to 198.51.100.1:8080 (NAT)", its
// own address.
func (s *summary) translation(t *timeline.Timeline) {
	v := &t.Translated.Value
	if !t.Translated.Known {
		return
	}
	if v.Local != t.Local {
		s.part(append(v.Local.AppendTo(append(s.next(), "as "...)), " (NAT)"...))
	}
	word := "with "
	switch t.Role {
	case timeline.RoleClient:
		word = "to "
	case timeline.RoleServer:
		word = "from "
	}
	if v.Remote != t.Remote {
		s.part(append(v.Remote.AppendTo(append(s.next(), word...)), " (NAT)"...))
	}
}

// retransmits appends "3 retransmits (1 SYN, 2 FIN)".
func (s *summary) retransmits(t *timeline.Timeline) {
	kinds := [...]struct {
		n    uint32
		name string
	}{
		{t.Handshake.SYNRetransmits, " SYN"},
		{t.Handshake.SYNACKRetransmits, " SYN-ACK"},
		{t.Teardown.FINRetransmits, " FIN"},
	}
	var control uint64
	for _, k := range kinds {
		control += uint64(k.n)
	}
	total := max(control, t.Traffic.Retransmits.Value)
	if total == 0 {
		return
	}
	b := human.AppendCount(s.next(), total, "retransmit")
	separator := " ("
	for _, k := range kinds {
		if k.n > 0 {
			b = append(appendUint(append(b, separator...), k.n), k.name...)
			separator = ", "
		}
	}
	if control > 0 {
		b = append(b, ')')
	}
	s.part(b)
}
