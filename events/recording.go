package events

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A recording is a text file: a line that says what it is, then a line for each event, the
// record in hexadecimal after a caption that people can read and programs skip.
const (
	recordingFamily = "tcptrace-events/"
	recordingHeader = recordingFamily + "1"
)

// Recorder writes events so that Replay gives them again.
type Recorder struct {
	out  *bufio.Writer
	base uint64
}

// NewRecorder begins a recording; clock is the one that the replay is to have.
func NewRecorder(w io.Writer, clock Clock) (*Recorder, error) {
	r := &Recorder{out: bufio.NewWriter(w)}
	_, err := fmt.Fprintf(r.out, "%s record=%d boot=%s\n", recordingHeader, Size, clock.Wall(0).Format(time.RFC3339Nano))
	return r, err
}

// Write adds an event.
func (r *Recorder) Write(e *Event) error {
	if r.base == 0 {
		r.base = e.Time()
	}
	// The comm is hostile: %q keeps it on its line.
	fmt.Fprintf(r.out, "# +%.3fms %s %s > %s", float64(int64(e.Time()-r.base))/1e6, e.Kind(), e.Tuple().Local(), e.Tuple().Remote())
	switch e.Kind() {
	case KindState:
		fmt.Fprintf(r.out, " %s->%s", e.OldState(), e.NewState())
	case KindTransmit, KindReceive, KindDrop:
		h := e.Header()
		fmt.Fprintf(r.out, " %s seq=%d ack=%d win=%d len=%d", h.Flags(), h.Seq(), h.Ack(), h.Window(), e.PayloadLen())
	case KindSnapshot:
		fmt.Fprintf(r.out, " %s", e.NewState())
	}
	if e.PID() != 0 {
		fmt.Fprintf(r.out, " pid=%d comm=%q source=%s", e.PID(), e.Comm().String(), e.Source())
	}
	_, err := fmt.Fprintf(r.out, "\n%x\n", e.Bytes())
	return err
}

// Flush hands what was written so far to the file.
func (r *Recorder) Flush() error { return r.out.Flush() }

// Replay reads a recording: its clock, then each event in turn, valid until fn returns. It
// ends with fn's first error, or one that names the line at fault.
func Replay(r io.Reader, begin func(Clock) error, fn func(*Event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	lines.Scan()
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("read recording: %w", err)
	}
	header := strings.TrimSpace(lines.Text())
	if kind, _, _ := strings.Cut(header, " "); kind != recordingHeader {
		if strings.HasPrefix(kind, recordingFamily) {
			return fmt.Errorf("line 1: a recording of another version of tcptrace (%.40q, this one's begin with %q): replay it with that one", kind, recordingHeader)
		}
		return fmt.Errorf("line 1: not a recording of tcptrace (it would begin with %q)", recordingHeader)
	}
	var size int
	var boot string
	if _, err := fmt.Sscanf(header, recordingHeader+" record=%d boot=%s", &size, &boot); err != nil {
		return fmt.Errorf("line 1: it does not say record=%d boot=TIME: cut short, or changed", Size)
	}
	if size != Size {
		return fmt.Errorf("line 1: its records have %d bytes, this version's %d: record it again", size, Size)
	}
	at, err := time.Parse(time.RFC3339Nano, boot)
	if err != nil {
		return fmt.Errorf("line 1: %w", err)
	}
	if err := begin(NewClock(at, 0)); err != nil {
		return err
	}
	// Aligned as the ring's memory is.
	record := (&Event{}).Bytes()
	n := 2
	for ; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if got, err := hex.Decode(record[:min(len(record), hex.DecodedLen(len(line)))], line[:min(len(line), 2*Size)]); err != nil || got != Size || len(line) != 2*Size {
			return fmt.Errorf("line %d: not a record of %d bytes in hexadecimal", n, Size)
		}
		e := View(record)
		if e == nil {
			return fmt.Errorf("line %d: a record of unknown kind", n)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: not a record of %d bytes in hexadecimal", n, Size)
	case err != nil:
		return fmt.Errorf("read recording: %w", err)
	}
	return nil
}
