// Package output writes what the timelines say, in one of several formats.
//
// Which fields exist is decided in one place, the lists in fields.go and
// entryfields.go, that every format and the documentation are made from. A new
// format is a file with its Writer and a row in Formats.
package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tcptrace/events"
	"tcptrace/process"
	"tcptrace/timeline"
)

// Writer writes updates in a format. What it writes reaches Options.Out by whole
// lines only: with Flush, with Close, or when much has been collected. After a
// failed write its error is returned and the lines that it was of are gone.
// A Writer serves one goroutine.
type Writer interface {
	// Write takes an update. It keeps nothing of it.
	Write(u *timeline.Update) error
	// Flush hands what was written so far to Options.Out.
	Flush() error
	// Close writes what the format ends with, and flushes. It leaves Options.Out open.
	Close() error
}

// Options are what a format may want to know.
type Options struct {
	// Out receives whole lines.
	Out io.Writer
	// Clock gives events their wall-clock time.
	Clock events.Clock
	// Wide shows all there is, instead of what fits into 80 columns.
	Wide bool
	// Width is the screen's, in columns, of formats that fill it; 0: 80.
	Width int
	// ASCII draws lines with ASCII characters only.
	ASCII bool
	// Color allows escape sequences for colours.
	Color bool
	// Absolute shows sequence numbers as on the wire, instead of relative to the initial ones.
	Absolute bool
	// Time chooses the text format's columns of time.
	Time TimeColumn
	// Zone is that of TimeOfDay; nil is the local one.
	Zone *time.Location
	// Patience is how long a ladder's end waits for the other one: that may be in TIME_WAIT
	// for a while before it is written, or not be shown at all.
	Patience time.Duration
	// Progress, where set, is told how much of what Close writes has been written.
	Progress func(done, all int)
	// DropReason names a value of the running kernel's enum skb_drop_reason,
	// without SKB_DROP_REASON_; "" or nil: its number is shown.
	DropReason func(reason uint32) string
	// ResetReason names a value of the running kernel's enum sk_rst_reason, without
	// SK_RST_REASON_; "" or nil: its number is shown.
	ResetReason func(reason uint32) string
	// Cgroup is the path of a cgroup, by its ID of cgroup v2; "" or nil: not known.
	Cgroup func(id uint64) string
	// Process are the owner's details; nil: none are known.
	Process func(p *timeline.Process) process.Details
}

// TimeColumn is a set of columns of time, named as bcc's tcpstates does.
type TimeColumn uint8

const (
	// TimeSeconds is -t: seconds since the first event, six decimals.
	TimeSeconds TimeColumn = 1 << iota
	// TimeOfDay is -T: HH:MM:SS.
	TimeOfDay
)

// Format is one way to write timelines.
type Format struct {
	// Name is what -o takes.
	Name string
	// Doc says in a line what it is for.
	Doc string
	// New makes the writer, and writes what the format begins with.
	New func(Options) (Writer, error)
}

// Formats are all there are, the default first.
var Formats = []Format{
	{"text", "a line as each thing happens, and a summary as each connection ends", newText},
	{"json", "JSON Lines: one object for each connection when it has ended (docs/json.md)", newJSON},
	{"explain", "each connection as prose, step by step, when it has ended", newExplain},
	{"ladder", "each connection as textbooks draw it, an end on each side, when it has ended", newLadderText},
	{"csv", "a line for each connection, with the fields that JSON has, for spreadsheets", newCSV},
	{"table", "a table of all connections with their sums, when tracing ends", newTable},
	{"html", "a page about all connections, with their ladders, when tracing ends", newHTML},
	{"svg", "the ladders as one picture, when tracing ends", newSVG},
	{"mermaid", "the ladders as sequence diagrams for Markdown", newMermaid},
}

// New makes the writer of the format that bears the name.
func New(name string, o Options) (Writer, error) {
	names := make([]string, len(Formats))
	for i, f := range Formats {
		if f.Name == name {
			return f.New(o)
		}
		names[i] = f.Name
	}
	return nil, fmt.Errorf("unknown output format %q (there are: %s)", name, strings.Join(names, ", "))
}

// ForFile tells whether a format is to be looked at with other programs, not on a terminal.
func ForFile(name string) bool { return name == "html" || name == "svg" }

// EveryField tells whether a format has all of TimelineFields, those too that take asking (Options.Process, Options.Cgroup).
func EveryField(name string) bool { return name == "json" || name == "csv" }

// enough is how many bytes are collected before they are written without a Flush.
const enough = 64 << 10

// lines collects whole lines.
type lines struct {
	out io.Writer
	buf []byte
}

// Flush writes the lines and forgets them, also where writing fails.
func (l *lines) Flush() error {
	if len(l.buf) == 0 {
		return nil
	}
	_, err := l.out.Write(l.buf)
	l.buf = l.buf[:0]
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// flushEnough flushes where much has been collected.
func (l *lines) flushEnough() error {
	if len(l.buf) < enough {
		return nil
	}
	return l.Flush()
}
