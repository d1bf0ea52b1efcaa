package output

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"tcptrace/timeline"
)

// jsonWriter writes a line of JSON for each timeline when it has ended.
// It walks the lists of fields, reuses its buffer and allocates nothing per line.
type jsonWriter struct {
	lines
	options Options
	source  Source
}

func newJSON(o Options) (Writer, error) {
	w := &jsonWriter{lines: lines{out: o.Out}, options: o}
	w.source.Options = &w.options
	return w, nil
}

// Write implements Writer.
func (w *jsonWriter) Write(u *timeline.Update) error {
	var program []op
	switch u.Kind {
	case timeline.UpdateEnd:
		program = timelineProgram
	case timeline.UpdateAddendum:
		program = addendumProgram
	default:
		return nil
	}
	w.source.Timeline = u.Timeline
	w.buf = append(w.buf, '{')
	w.buf = run(w.buf, program, &w.source)
	w.buf = append(w.buf, '}', '\n')
	w.source.Timeline, w.source.Entry, w.source.Finding, w.source.detailsOf = nil, nil, nil, nil // memory is used again
	return w.flushEnough()
}

// Close implements Writer.
func (w *jsonWriter) Close() error { return w.Flush() }

// A program is a list of fields made ready for writing: one step for each field,
// and one for the end of each object.
type op struct {
	kind    Kind
	name    string // `,"name":`
	value   func(b []byte, s *Source) []byte
	present func(s *Source) bool
	next    int  // Object: the step after its end
	absent  bool // leave the field out where it is unknown, instead of writing null
}

const objectEnd Kind = 0

var (
	timelineProgram = compile(TimelineFields, false)
	addendumProgram = compile(AddendumFields, false)
	findingProgram  = compile(FindingFields, false)
	entryPrograms   = compileEntries()
)

// compileEntries makes a program for each type of entry.
func compileEntries() (programs [timeline.EntryOwner + 1][]op) {
	for t := timeline.EntryState; t <= timeline.EntryOwner; t++ {
		var fields []Field
		for _, f := range EntryFields {
			if f.In.Has(t) {
				fields = append(fields, f)
			}
		}
		programs[t] = compile(fields, true)
	}
	return programs
}

// compile makes the program; unknown fields are left out if absent, else null.
func compile(fields []Field, absent bool) []op {
	var program []op
	var open []string // paths of the objects that are open
	var opened []int  // their steps
	end := func() {
		program = append(program, op{kind: objectEnd})
		program[opened[len(opened)-1]].next = len(program)
		open, opened = open[:len(open)-1], opened[:len(opened)-1]
	}
	for _, f := range fields {
		for len(open) > 0 && !strings.HasPrefix(f.Path, open[len(open)-1]+".") {
			end()
		}
		name := f.Path[strings.LastIndexByte(f.Path, '.')+1:]
		program = append(program, op{kind: f.Kind, name: `,"` + name + `":`, value: f.value, present: f.present, absent: absent})
		if f.Kind == Object {
			open, opened = append(open, f.Path), append(opened, len(program)-1)
		}
	}
	for len(open) > 0 {
		end()
	}
	return program
}

// run appends the members of an object, without its braces.
func run(b []byte, program []op, s *Source) []byte {
	for i := 0; i < len(program); i++ {
		o := &program[i]
		if o.kind == objectEnd {
			b = append(b, '}')
			continue
		}
		start := len(b)
		if b[start-1] == '{' {
			b = append(b, o.name[1:]...)
		} else {
			b = append(b, o.name...)
		}
		value := len(b)
		switch o.kind {
		case Object:
			if o.present != nil && !o.present(s) {
				i = o.next - 1
				break
			}
			b = append(b, '{')
		case Integer, Bool:
			b = o.value(b, s)
		case Word:
			b = append(b, '"')
			if b = o.value(b, s); len(b) == value+1 {
				b = b[:value]
				break
			}
			b = append(b, '"')
		case Text:
			b = append(b, '"')
			if b = o.value(b, s); len(b) == value+1 {
				b = b[:value]
				break
			}
			b = append(escape(b, value+1), '"')
		case Words:
			b = quoteWords(o.value(b, s), value)
		case Entries:
			b = appendEntries(b, s)
		case Findings:
			b = appendFindings(b, s)
		}
		switch {
		case len(b) > value:
		case o.absent:
			b = b[:start]
		default:
			b = append(b, "null"...)
		}
	}
	return b
}

func appendEntries(b []byte, s *Source) []byte {
	b = append(b, '[')
	for i := range s.Timeline.Entries {
		s.Entry = &s.Timeline.Entries[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		if int(s.Entry.Type) < len(entryPrograms) {
			b = run(b, entryPrograms[s.Entry.Type], s)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendFindings(b []byte, s *Source) []byte {
	b = append(b, '[')
	for i := range s.Timeline.Findings {
		s.Finding = &s.Timeline.Findings[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = append(run(b, findingProgram, s), '}')
	}
	return append(b, ']')
}

// quoteWords turns the words that b has from start on, SYN,ACK, into ["SYN","ACK"].
func quoteWords(b []byte, start int) []byte {
	if len(b) == start {
		return append(b, '[', ']')
	}
	var room [64]byte
	words := append(room[:0], b[start:]...)
	b = append(b[:start], '[', '"')
	for _, c := range words {
		if c == ',' {
			b = append(b, '"', ',', '"')
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"', ']')
}

// escape makes what b has from start on the inside of a JSON string. Bytes that
// are not UTF-8 become U+FFFD. What a terminal could take for a command, or what
// would not show, is written as \u: control characters C0 and C1, DEL, and the
// invisible ones that turn the direction of text.
func escape(b []byte, start int) []byte {
	plain := start
	for plain < len(b) && b[plain] >= ' ' && b[plain] < 0x7f && b[plain] != '"' && b[plain] != '\\' {
		plain++
	}
	if plain == len(b) {
		return b
	}
	var room [256]byte
	raw := append(room[:0], b[plain:]...)
	b = b[:plain]
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		raw = raw[n:]
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case unicode.IsPrint(r): // U+FFFD, which stands for what is not UTF-8, is
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			r -= 0x10000
			b = appendUnicode(appendUnicode(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			b = appendUnicode(b, r)
		}
	}
	return b
}

func appendUnicode(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
