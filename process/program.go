package process

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Program is what a process will be when it has become a program, known before: of one that is gone at once /proc tells
// nothing.
type Program struct {
	Comm             [16]byte
	Exe, CommandLine string
}

// maxScripts is how many interpreters, one a script of the next, the kernel goes through.
const maxScripts = 5

// ProgramOf says what execve(file, arguments) makes of the calling process, ok where that is sure: for a program of this
// machine's, and for a script of one.
func ProgramOf(file string, arguments []string) (p Program, ok bool) {
	copy(p.Comm[:len(p.Comm)-1], path.Base(file))
	self, err := beginning("/proc/self/exe")
	if err != nil {
		return p, false
	}
	for range maxScripts {
		b, err := beginning(file)
		if err != nil {
			return p, false
		}
		line, isScript := bytes.CutPrefix(b, []byte("#!"))
		if !isScript {
			if !sameMachine(b, self) {
				return p, false // whoever is registered for such files runs it (binfmt_misc)
			}
			if p.Exe, err = filepath.EvalSymlinks(file); err == nil {
				p.Exe, err = filepath.Abs(p.Exe)
			}
			p.CommandLine = commandLine([]byte(strings.Join(arguments, "\x00")))
			return p, err == nil
		}
		line, _, whole := bytes.Cut(line, []byte("\n"))
		const blanks = " \t"
		interpreter, argument := strings.Trim(string(line), blanks), ""
		if i := strings.IndexAny(interpreter, blanks); i >= 0 {
			interpreter, argument = interpreter[:i], strings.TrimLeft(interpreter[i:], blanks)
		}
		if !whole || interpreter == "" || len(arguments) == 0 {
			return p, false
		}
		before := []string{interpreter}
		if argument != "" {
			before = append(before, argument)
		}
		arguments = append(append(before, file), arguments[1:]...)
		file = interpreter
	}
	return p, false
}

// beginning is as much of a file as the kernel looks at to see what it is; before 5.1 it was half of that.
func beginning(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 256)
	n, err := f.Read(b)
	return b[:n], err
}

// sameMachine: two ELF files for the same processor.
func sameMachine(a, b []byte) bool {
	const class, machine, end = 6, 18, 20 // magic, class and byte order; e_machine
	return len(a) >= end && len(b) >= end && bytes.HasPrefix(a, []byte("\x7fELF")) &&
		bytes.Equal(a[:class], b[:class]) && bytes.Equal(a[machine:end], b[machine:end])
}

// Known says what a process that this one started will be, so that it need not be read. It is told of while the
// process has the program's name, and where /proc does not say otherwise.
func (r *Reader) Known(pid int, p *Program) {
	start, ok := startOf("/proc", pid)
	if !ok || r.ask == nil {
		return // or /proc has other numbers than the events
	}
	r.started = &startedProcess{
		id:      ID{PID: uint32(pid), Start: start, Comm: p.Comm},
		details: Details{ParentPID: uint32(os.Getpid()), Exe: p.Exe, CommandLine: p.CommandLine},
	}
}

// startedProcess is one that this process has started.
type startedProcess struct {
	id      ID
	details Details
}

// fill adds what was known before of a process, where it is this one and /proc did not tell what it runs.
func (s *startedProcess) fill(d *Details, id ID) {
	if s == nil || id.PID != s.id.PID || id.Start != s.id.Start || !bytes.Equal(nameOf(&id), nameOf(&s.id)) || d.Exe != "" {
		return
	}
	d.ParentPID, d.Exe = s.details.ParentPID, s.details.Exe
	if d.CommandLine == "" {
		d.CommandLine = s.details.CommandLine
	}
}
