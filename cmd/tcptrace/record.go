package main

import (
	"errors"
	"fmt"
	"os"

	"tcptrace/events"
)

// recordFile is where --record writes to.
type recordFile struct {
	*events.Recorder
	file *os.File
}

func newRecordFile(path string, clock events.Clock) (*recordFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	r, err := events.NewRecorder(f, clock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record: %w", err), f.Close())
	}
	return &recordFile{r, f}, nil
}

// Close flushes and closes the file.
func (r *recordFile) Close() error {
	if err := errors.Join(r.Flush(), r.file.Close()); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// toRecord writes to the recording. The event with which that fails ends the tracing; it is told all the same, and so is
// what comes after.
func (p *pipeline) toRecord(e *events.Event) error {
	if p.record == nil || p.unrecorded != nil {
		return nil
	}
	if err := p.record.Write(e); err != nil {
		p.unrecorded = fmt.Errorf("record: %w", err)
	}
	return p.unrecorded
}

// isOver tells whether an error of the tracer's loops is an orderly end: enough was told, or no more can be recorded.
func (p *pipeline) isOver(err error) bool {
	return errors.Is(err, errEnough) || p.unrecorded != nil && errors.Is(err, p.unrecorded)
}
