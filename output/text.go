package output

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// Columns of the text format. Names and order are those of bcc's tools; together
// with EVENT they fill 80 columns. What is longer than its column makes the line
// longer, but a name or an IPv6 address, which are cut unless all is to be shown.
const (
	pidWidth     = 7
	commWidth    = 10
	portWidth    = 5
	addrWidth    = 15
	eventWidth   = 33 // MS included
	secondsWidth = 9
	dayWidth     = 8

	// What is different when all is shown.
	familyWidth   = 2
	netnsWidth    = 10
	commWidthWide = 16
	addrWidthWide = 26 // IPv6 addresses in use seldom take more
)

// textWriter writes a line for each state change and each segment as they happen,
// and a summary as a connection ends.
type textWriter struct {
	lines
	options Options
	zone    *time.Location
	first   uint64 // time of the first event
	started bool
	width   int    // of a line
	indent  int    // of a summary's further lines: below COMM
	scratch []byte // a hostile name, until it is cleaned
	item    []byte // a part of a summary, until it is placed
}

func newText(o Options) (Writer, error) {
	w := &textWriter{lines: lines{out: o.Out}, options: o, zone: o.Zone}
	if w.zone == nil {
		w.zone = time.Local
	}
	w.header()
	w.indent = bytes.Index(w.buf, []byte("COMM"))
	w.width = text.StringWidthWithoutEscSequences(string(w.buf[:len(w.buf)-1]))
	return w, w.Flush()
}

// header writes the columns' names.
func (w *textWriter) header() {
	column := func(name string, width int) { w.buf = append(append(w.buf, text.Pad(name, width, ' ')...), ' ') }
	if w.options.Time&TimeOfDay != 0 {
		column("TIME", dayWidth)
	}
	if w.options.Time&TimeSeconds != 0 {
		column("TIME(s)", secondsWidth)
	}
	column("PID", pidWidth)
	if w.options.Wide {
		column("COMM", commWidthWide)
		column("IP", familyWidth)
		column("NETNS", netnsWidth)
		column("LADDR", addrWidthWide)
		column("LPORT", portWidth)
		column("RADDR", addrWidthWide)
	} else {
		column("COMM", commWidth)
		column("LPORT", portWidth)
		column("RADDR", addrWidth)
	}
	column("RPORT", portWidth)
	w.buf = append(w.buf, text.Pad("EVENT", eventWidth-len("MS"), ' ')...)
	w.buf = append(w.buf, "MS\n"...)
}

// Write implements Writer.
func (w *textWriter) Write(u *timeline.Update) error {
	switch u.Kind {
	case timeline.UpdateEntry:
		w.entry(u.Timeline, u.Entry)
	case timeline.UpdateAddendum:
		for i := range u.Timeline.Entries {
			w.entry(u.Timeline, &u.Timeline.Entries[i])
		}
	case timeline.UpdateEnd:
		w.closing(u.Timeline)
	}
	return w.flushEnough()
}

// Close implements Writer.
func (w *textWriter) Close() error { return w.Flush() }

// entry writes the line of something that happened.
func (w *textWriter) entry(t *timeline.Timeline, e *timeline.Entry) {
	b := w.prefix(w.buf, t, e.Time)
	switch e.Type {
	case timeline.EntryState:
		b = w.stateChange(b, t, e)
	case timeline.EntrySegment:
		if e.Dir == timeline.Tx {
			b = append(b, "> "...)
		} else {
			b = append(b, "< "...)
		}
		if w.options.Wide {
			b = appendSegmentWide(b, e)
		} else {
			b = appendSegment(b, e, eventWidth-len("> "))
		}
	case timeline.EntryDrop:
		b = append(b, "DROP "...)
		b = append(append(b, e.Dir.String()...), ' ')
		if !w.options.Wide {
			b = append(append(b, flagWords[e.Flags]...), ' ')
		}
		w.scratch = appendDropReason(w.scratch[:0], e.DropReason, &w.options)
		if len(w.scratch) > 0 && w.scratch[0] <= '9' {
			b = append(b, "reason "...)
		}
		b, _ = appendClean(b, w.scratch, 0)
		if w.options.Wide {
			b = appendSegmentWide(append(b, ' '), e)
		}
	case timeline.EntryOwner:
		b = w.process(append(b, "OWNER "...), e.PID, &e.Comm)
	case timeline.EntryGap:
		b = append(b, "GAP "...)
		if e.Lost == 0 {
			b = append(b, "events lost, perhaps of this one"...)
			break
		}
		b = append(human.AppendCount(b, e.Lost, "event"), " lost"...)
	}
	w.buf = append(trimSpace(b), '\n')
}

// prefix appends the columns that say when and whose; each is followed by a space.
func (w *textWriter) prefix(b []byte, t *timeline.Timeline, at uint64) []byte {
	b = w.timeColumns(b, at)
	p := &t.Process
	known := p.Source != events.SourceUnknown
	start := len(b)
	if known {
		b = appendUint(b, p.PID)
	} else {
		b = append(b, '-')
	}
	b = append(pad(b, len(b)-start, pidWidth), ' ')

	commColumn := commWidth
	if w.options.Wide {
		commColumn = commWidthWide
	}
	start = len(b)
	var width int
	if known {
		w.scratch = appendComm(w.scratch[:0], &p.Comm)
		limit := commColumn
		if w.options.Wide {
			limit = 0
		}
		b, width = appendClean(b, w.scratch, limit)
	}
	if len(b) == start {
		b, width = append(b, '-'), 1
	}
	b = append(pad(b, width, commColumn), ' ')

	if w.options.Wide {
		start = len(b)
		b = appendFamily(b, t, "4", "6")
		b = append(pad(b, len(b)-start, familyWidth), ' ')
		b = appendOrDash(b, uint64(t.Netns), netnsWidth)
		b = w.address(b, t.Local.Addr())
	}
	b = appendOrDash(b, uint64(t.Local.Port()), portWidth)
	b = w.address(b, t.Remote.Addr())
	return appendOrDash(b, uint64(t.Remote.Port()), portWidth)
}

func (w *textWriter) timeColumns(b []byte, at uint64) []byte {
	if !w.started {
		w.first, w.started = at, true
	}
	if w.options.Time&TimeOfDay != 0 {
		hour, minute, second := w.options.Clock.Wall(at).In(w.zone).Clock()
		b = append(appendHHMMSS(b, hour*3600+minute*60+second), ' ')
	}
	if w.options.Time&TimeSeconds != 0 {
		start := len(b)
		since := int64(at-w.first) / 1e3
		if since < 0 {
			b, since = append(b, '-'), -since
		}
		b = strconv.AppendInt(b, since/1e6, 10)
		b = human.AppendDigits(append(b, '.'), int(since%1e6), 6)
		b = append(pad(b, len(b)-start, secondsWidth), ' ')
	}
	return b
}

// address appends an address's column. One that is too long for it loses its
// middle, unless all is to be shown: then the line grows.
func (w *textWriter) address(b []byte, a netip.Addr) []byte {
	column := addrWidth
	if w.options.Wide {
		column = addrWidthWide
	}
	start := len(b)
	b = appendAddr(b, a)
	if len(b) == start {
		b = append(b, '-')
	}
	if n := len(b) - start; n > addrWidth && !w.options.Wide {
		b = appendMiddle(b[:start], b[start:], addrWidth)
	}
	return append(pad(b, len(b)-start, column), ' ')
}

// appendMiddle appends an address that is longer than width without its middle; it may be where b ends.
func appendMiddle(b, address []byte, width int) []byte {
	const gap = ".."
	head := (width - len(gap) + 1) / 2
	b = append(append(b, address[:head]...), gap...)
	return append(b, address[len(address)-(width-head-len(gap)):]...)
}

// stateChange appends what state the connection went to, and how many
// milliseconds it was in the one before.
func (w *textWriter) stateChange(b []byte, t *timeline.Timeline, e *timeline.Entry) []byte {
	start := len(b)
	b = append(b, e.From.String()...)
	b = append(b, " -> "...)
	b = append(b, e.To.String()...)
	room := eventWidth - 1 - (len(b) - start)
	var digits [32]byte
	ms := digits[:0]
	if since, ok := entered(t, e); ok {
		ms = appendMS(ms, e.Time-since, room)
	} else {
		ms = append(ms, '-')
	}
	b = append(pad(append(b, ' '), len(ms), room), ms...)
	if w.options.Wide && e.PID != 0 {
		b = append(b, "  by "...)
		b = w.process(b, e.PID, &e.Comm)
	}
	return b
}

// process appends 4711/curl.
func (w *textWriter) process(b []byte, pid uint32, comm *events.Comm) []byte {
	b = append(appendUint(b, pid), '/')
	w.scratch = appendComm(w.scratch[:0], comm)
	b, _ = appendClean(b, w.scratch, 0)
	return b
}

// entered is when the connection came into the state that e leaves.
func entered(t *timeline.Timeline, e *timeline.Entry) (at uint64, known bool) {
	for i := len(t.Entries) - 1; i >= 0; i-- {
		p := &t.Entries[i]
		if p.Type == timeline.EntryState && p != e && p.To == e.From && p.Time <= e.Time {
			return p.Time, true
		}
	}
	return 0, false
}

// appendMS appends nanoseconds as milliseconds with three decimals, or with none
// where there is not room for those.
func appendMS(b []byte, ns uint64, room int) []byte {
	start := len(b)
	us := ns / 1e3
	b = human.AppendDigits(append(strconv.AppendUint(b, us/1e3, 10), '.'), int(us%1e3), 3)
	if len(b)-start > room {
		b = b[:len(b)-len(".000")]
	}
	return b
}

// appendOrDash appends a column with a number of which 0 means unknown.
func appendOrDash(b []byte, v uint64, column int) []byte {
	start := len(b)
	if v == 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendUint(b, v, 10)
	}
	return append(pad(b, len(b)-start, column), ' ')
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}
