package output

import (
	"encoding/csv"
	"slices"

	"tcptrace/timeline"
)

// csvWriter writes a line for each timeline when it has ended, under a line with the names of
// the fields: all that JSON has but what is a list. Of the findings it has the codes.
type csvWriter struct {
	lines
	options Options
	out     *csv.Writer
	record  []string
	value   []byte
}

// csvFields are those with a value of their own; a field below an object that is not known has none.
var csvFields, csvObjects = func() (fields []Field, above [][]Field) {
	for _, f := range TimelineFields {
		switch f.Kind {
		case Object, Entries:
			continue
		}
		var objects []Field
		for _, o := range TimelineFields {
			if o.Kind == Object && o.present != nil && len(f.Path) > len(o.Path) && f.Path[:len(o.Path)+1] == o.Path+"." {
				objects = append(objects, o)
			}
		}
		fields, above = append(fields, f), append(above, objects)
	}
	return fields, above
}()

func newCSV(o Options) (Writer, error) {
	w := &csvWriter{lines: lines{out: o.Out}, options: o}
	w.out = csv.NewWriter(&w.lines)
	for _, f := range csvFields {
		w.record = append(w.record, f.Path)
	}
	return w, w.out.Write(w.record)
}

// Write collects bytes, for the writer of CSV.
func (l *lines) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	return len(b), nil
}

// Write implements Writer.
func (w *csvWriter) Write(u *timeline.Update) error {
	if u.Kind != timeline.UpdateEnd {
		return nil
	}
	s := Source{Timeline: u.Timeline, Options: &w.options}
	for i := range csvFields {
		w.value = w.cell(w.value[:0], i, &s)
		w.record[i] = string(w.value)
	}
	if err := w.out.Write(w.record); err != nil {
		return err
	}
	w.out.Flush()
	return w.flushEnough()
}

// Flush implements Writer.
func (w *csvWriter) Flush() error {
	w.out.Flush()
	return w.lines.Flush()
}

// Close implements Writer.
func (w *csvWriter) Close() error { return w.Flush() }

// cell appends a field's value, "" where it is unknown.
func (w *csvWriter) cell(b []byte, i int, s *Source) []byte {
	f := &csvFields[i]
	for _, o := range csvObjects[i] {
		if !o.present(s) {
			return b
		}
	}
	switch f.Kind {
	case Findings:
		for k := range s.Timeline.Findings {
			if k > 0 {
				b = append(b, ' ')
			}
			b = append(b, s.Timeline.Findings[k].Code...)
		}
		return b
	case Text:
		clean, _ := appendClean(nil, f.Append(nil, s), 0)
		// Spreadsheets take what begins so for a formula, and a process may call itself as it likes.
		if len(clean) > 0 && slices.Contains([]byte("=+-@"), clean[0]) {
			b = append(b, '\'')
		}
		return append(b, clean...)
	}
	return f.Append(b, s)
}
