package tracer

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Fact is what a kernel gives of one of the facts that timelines are made of.
type Fact struct {
	// Name in a user's words, such as "segments sent".
	Name string
	// Required: without it there is no tracing.
	Required bool
	// By are the hooks that tell it, none where nothing does.
	By []Hook
	// Refused are the better hooks that were tried in vain, in that order; where none was,
	// and nothing tells the fact, those that were left out because another kind was asked for.
	Refused []Refusal
	// Absence is what the timelines lack without it.
	Absence string
	// NoProgram: tcptrace has none for it, on any kernel.
	NoProgram bool
}

// Told reports whether the kernel gives the fact.
func (f *Fact) Told() bool { return len(f.By) > 0 }

// Hook is a place in the kernel and how a program attaches to it.
type Hook struct {
	Kind   Kind
	Symbol string // the kernel's name of the function, tracepoint or iterator
}

func (h Hook) String() string { return string(h.Kind) + " " + h.Symbol }

// Refusal says why a hook is not used.
type Refusal struct {
	Hook
	// Why, in words for people.
	Why string
	// Err is the kernel's, or the loader's, own error.
	Err error
}

func (r Refusal) String() string { return r.Hook.String() + ": " + r.Why }

// attached is a program at its hook.
type attached struct {
	program
	link io.Closer
}

// attaching goes through a table of hooks.
type attaching struct {
	// mode is the one kind to use where a hook has it, "" the best that attaches.
	mode Kind
	// ipv6: the kernel has IPv6.
	ipv6 bool
	// try loads a program and attaches it.
	try func(program) (io.Closer, error)
	// explain puts the error of try into words.
	explain func(program, error) string

	refused map[program]error // what was tried in vain
	aside   map[program]bool  // attached, but given up for the sake of the other segments
}

var (
	errAside   = errors.New("attached, and taken off again")
	errLeftOut = errors.New("not tried")
)

// run attaches what it can of the table. The facts are in the table's order.
func (a *attaching) run(table []hook) ([]Fact, []attached) {
	a.refused, a.aside = map[program]error{}, map[program]bool{}
	taken := make([][]attached, len(table))
	a.segments(table, taken)
	var all []attached
	facts := make([]Fact, len(table))
	for i := range table {
		h := &table[i]
		for w := 0; w < len(h.ways) && taken[i] == nil; w++ {
			taken[i] = a.way(h, w)
		}
		all = append(all, taken[i]...)
		facts[i] = a.fact(h, taken[i])
	}
	return facts, all
}

// segments attaches the hooks of segments by the first way that all of them can go. Where there
// is none, each is left to go its own.
func (a *attaching) segments(table []hook, taken [][]attached) {
	most := 0
	for i := range table {
		if table[i].segments {
			most = max(most, len(table[i].ways))
		}
	}
	for w := range most {
		all := true
		for i := range table {
			if h := &table[i]; all && h.segments {
				taken[i] = a.way(h, w)
				all = taken[i] != nil
			}
		}
		if all {
			return
		}
		for i := range table {
			if table[i].segments {
				for _, t := range taken[i] {
					a.aside[t.program] = true
				}
				detach(taken[i])
				taken[i] = nil
			}
		}
	}
}

// way attaches the programs of one way; nil where that does not succeed, and then none stays.
func (a *attaching) way(h *hook, index int) (taken []attached) {
	if index >= len(h.ways) {
		return nil
	}
	served := map[place]bool{}
	var missing bool
	for _, p := range h.ways[index] {
		if served[p.place()] || !a.allowed(h, p) {
			continue
		}
		if a.refused[p] != nil {
			continue
		}
		l, err := a.try(p)
		if err != nil {
			a.refused[p] = err
			continue
		}
		served[p.place()] = true
		taken = append(taken, attached{p, l})
	}
	for _, p := range h.ways[index] {
		if !served[p.place()] && (a.ipv6 || !ipv6Symbols[p.symbol]) {
			missing = true
		}
	}
	if missing {
		detach(taken)
		return nil
	}
	return taken
}

func detach(taken []attached) {
	for _, t := range slices.Backward(taken) {
		_ = t.link.Close()
	}
}

// allowed: where one kind is asked for, functions are hooked by no other, and a tracepoint or an
// iterator only where the hook has nothing of that kind.
func (a *attaching) allowed(h *hook, p program) bool {
	if a.mode == "" || p.kind.Mode() == a.mode {
		return true
	}
	if k := p.kind.Mode(); k == Fentry || k == Kprobe {
		return false
	}
	for _, w := range h.ways {
		if slices.ContainsFunc(w, func(p program) bool { return p.kind.Mode() == a.mode }) {
			return false
		}
	}
	return true
}

func (a *attaching) fact(h *hook, taken []attached) Fact {
	f := Fact{Name: h.fact, Required: h.required, Absence: h.absence, NoProgram: len(h.ways) == 0}
	for _, t := range taken {
		f.By = append(f.By, Hook{t.kind, t.symbol})
	}
	var leftOut []Refusal
	for _, w := range h.ways {
		for _, p := range w {
			hook := Hook{p.kind, p.symbol}
			switch err := a.refused[p]; {
			case err != nil:
				f.Refused = append(f.Refused, Refusal{hook, a.explain(p, err), err})
			case a.aside[p] && !slices.Contains(f.By, hook):
				f.Refused = append(f.Refused, Refusal{hook, "it would attach, but other segments' hooks of its kind do not", errAside})
			case !a.allowed(h, p):
				leftOut = append(leftOut, Refusal{hook, "left out, " + string(a.mode) + " was asked for", errLeftOut})
			}
		}
	}
	if len(f.By) == 0 && len(f.Refused) == 0 {
		f.Refused = leftOut
	}
	return f
}

// possible is nil where the facts suffice for tracing, by the kind that was asked for.
func possible(facts []Fact, mode Kind) error {
	if err := forced(facts, mode); err != nil {
		return err
	}
	for i := range facts {
		if f := &facts[i]; f.Required && !f.Told() {
			return &AttachError{What: f.Name, Refused: f.Refused}
		}
	}
	return nil
}

// forced is an error where one kind is asked for and nothing of it attached.
func forced(facts []Fact, mode Kind) error {
	if mode == "" {
		return nil
	}
	e := &AttachError{What: "anything by " + string(mode)}
	for _, f := range facts {
		for _, h := range f.By {
			if h.Kind.Mode() == mode {
				return nil
			}
		}
		for _, r := range f.Refused {
			if r.Kind.Mode() == mode {
				e.Refused = append(e.Refused, r)
			}
		}
	}
	return e
}

// AttachError: what tracing needs cannot be attached.
type AttachError struct {
	What    string
	Refused []Refusal // none: there is no program that could be tried
}

// telling is the refusal that says most: the first, unless another has a cause that is behind all of them.
func (e *AttachError) telling() (r Refusal) {
	if i := slices.IndexFunc(e.Refused, func(r Refusal) bool { return LockedDown(r.Err) }); i >= 0 {
		return e.Refused[i]
	}
	if len(e.Refused) > 0 {
		r = e.Refused[0]
	}
	return r
}

// Error is one line: one refusal says most, the others often the same.
func (e *AttachError) Error() string {
	if len(e.Refused) == 0 {
		return fmt.Sprintf("cannot attach to %s: tcptrace has no program for it", e.What)
	}
	first, _, _ := strings.Cut(e.telling().String(), "\n")
	more := ""
	if n := len(e.Refused) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more; see tcptrace --check)", n)
	}
	return fmt.Sprintf("cannot attach to %s: %s%s", e.What, first, more)
}

// Unwrap gives the kernel's errors.
func (e *AttachError) Unwrap() []error {
	var errs []error
	for _, r := range e.Refused {
		errs = append(errs, r.Err)
	}
	return errs
}
