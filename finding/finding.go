// Package finding says of a timeline what was unusual about it, and what to look at
// next. It reads the timeline alone: no clock, no I/O. docs/findings.md lists all.
package finding

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

// Options of a Finder.
type Options struct {
	// DropReason names a value of the running kernel's enum skb_drop_reason; "" or
	// nil: its number is told.
	DropReason func(reason uint32) string
	// ResetReason names a value of the running kernel's enum sk_rst_reason; "" or nil: its number is told.
	ResetReason func(reason uint32) string
	// CloseWait is how long an application may stay in CLOSE_WAIT unnoticed; 0 means DefaultCloseWait.
	CloseWait time.Duration
}

// DefaultCloseWait is Options.CloseWait's default.
const DefaultCloseWait = 10 * time.Second

// What is worth telling from a second on: Linux's first retransmission timeout for a
// SYN (RFC 6298), and a half-close that is more than the moment between two FINs.
const second = uint64(time.Second)

// Finder looks timelines over. It is for one goroutine.
type Finder struct {
	o Options
	t *timeline.Timeline
	s seen
}

// New is a Finder.
func New(o Options) *Finder {
	if o.CloseWait == 0 {
		o.CloseWait = DefaultCloseWait
	}
	return &Finder{o: o}
}

// Find fills in the timeline's Findings, the most important first.
func (f *Finder) Find(t *timeline.Timeline) {
	f.t, f.s = t, seen{}
	t.Findings = t.Findings[:0]
	f.look()
	f.handshake()
	f.negotiation()
	f.resets()
	f.closing()
	f.dataDropped()
	f.selfCheck()
	if t.LostEvents > 0 {
		f.add("events-lost", "%s of this connection %s lost: what is told of it may lack something.",
			count(t.LostEvents, "event"), wasWere(t.LostEvents))
	}
	if len(t.Findings) > 1 {
		slices.SortStableFunc(t.Findings, func(a, b timeline.Finding) int {
			if c := cmp.Compare(b.Severity, a.Severity); c != 0 {
				return c
			}
			return cmp.Compare(kinds[a.Code], kinds[b.Code])
		})
	}
}

// kinds are the places of the codes in Kinds.
var kinds = func() map[string]int {
	m := make(map[string]int, len(Kinds))
	for i, k := range Kinds {
		m[k.Code] = i
	}
	return m
}()

// add adds a finding. Each code is told once, the first time.
func (f *Finder) add(code, format string, args ...any) {
	if slices.ContainsFunc(f.t.Findings, func(have timeline.Finding) bool { return have.Code == code }) {
		return
	}
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	k := &Kinds[kinds[code]]
	f.t.Findings = append(f.t.Findings, timeline.Finding{Code: k.Code, Severity: k.Severity, Text: text, Next: k.Next})
}

// sent counts what one side sent of a part.
type sent struct {
	n, repeats, drops int
	first             *timeline.Entry
}

// seen is one walk over the entries. Arrays are by direction.
type seen struct {
	syn, synack, fin [timeline.Rx + 1]sent
	rst              *timeline.Entry // that counts
	beforeRST        events.State    // in which it came or went
	lateFIN          *timeline.Entry
	drops            int
	last             *timeline.Entry // change of state
}

func (f *Finder) look() {
	state, reset := events.StateUnknown, f.t.EndingReset()
	for i := range f.t.Entries {
		e := &f.t.Entries[i]
		if e.Type == timeline.EntryState {
			if f.s.rst != nil && f.s.last == nil {
				f.s.beforeRST = e.From // its first change that was seen
			}
			f.s.last, state = e, e.To
			continue
		}
		if e.Type == timeline.EntryGap || e.Type == timeline.EntryOwner {
			continue
		}
		if e.Type == timeline.EntryDrop {
			f.s.drops++
		}
		var of *sent
		switch e.Step {
		case timeline.StepSYN:
			of = &f.s.syn[e.Dir]
		case timeline.StepSYNACK:
			of = &f.s.synack[e.Dir]
		case timeline.StepFIN:
			of = &f.s.fin[e.Dir]
			if e.Dir == timeline.Rx && e.Retransmit && state == events.TimeWait {
				f.s.lateFIN = e
			}
		case timeline.StepRST:
			if e == reset {
				f.s.rst, f.s.beforeRST = e, state
				if state == events.Close && f.s.last != nil {
					f.s.beforeRST = f.s.last.From // it goes with the change to CLOSE
				}
			}
			continue
		default:
			continue
		}
		if of.first == nil {
			of.first = e
		}
		of.n++
		if e.Retransmit {
			of.repeats++
		}
		if e.Type == timeline.EntryDrop {
			of.drops++
		}
	}
}

// at is a time as the connection counts it: since its start.
func (f *Finder) at(t uint64) string {
	if t <= f.t.Start {
		return "0 ms"
	}
	return span(t - f.t.Start)
}

// times lists when a part was sent: "at 0.051 ms, 1.02 s and 3.07 s".
func (f *Finder) times(dir timeline.Dir, step timeline.Step) string {
	const most = 6
	var all []string
	more := 0
	for i := range f.t.Entries {
		e := &f.t.Entries[i]
		if e.Dir != dir || e.Step != step {
			continue
		}
		if len(all) < most {
			all = append(all, f.at(e.Time))
		} else {
			more++
		}
	}
	if more > 0 {
		return fmt.Sprintf("at %s and %s more", join(all), count(uint64(more), "time"))
	}
	return "at " + list(all)
}

// dropped tells of the local drops of a part: "; 1 of them was dropped here on the way in (NETFILTER_DROP)".
func (f *Finder) dropped(dir timeline.Dir, step timeline.Step) string {
	n, all, reason := 0, 0, uint32(0)
	for i := range f.t.Entries {
		e := &f.t.Entries[i]
		if e.Dir != dir || e.Step != step {
			continue
		}
		all++
		if e.Type == timeline.EntryDrop {
			n, reason = n+1, e.DropReason
		}
	}
	which := fmt.Sprintf("%d of them %s", n, plural(n, "was", "were"))
	switch {
	case n == 0:
		return ""
	case n == all:
		which = plural(n, "it was", "all were")
	}
	return fmt.Sprintf("; %s dropped here on the way %s (%s)", which, inOut(dir), f.reason(reason))
}

// reason is the kernel's word for a drop.
func (f *Finder) reason(reason uint32) string {
	if f.o.DropReason != nil {
		if name := f.o.DropReason(reason); name != "" {
			return name
		}
	}
	if reason == 0 {
		return "reason unknown"
	}
	return fmt.Sprintf("reason %d", reason)
}

// process is who owns the socket, in words.
func (f *Finder) process() string {
	p := &f.t.Process
	if p.Source == events.SourceUnknown {
		return "the application"
	}
	return human.Process(p.Comm.String(), p.PID)
}

// errno is the error's name, in parentheses with a space before, or nothing.
func errno(e uint16) string {
	if e == 0 {
		return ""
	}
	return " (" + string(human.AppendErrno(nil, e)) + ")"
}

func span(ns uint64) string { return string(human.AppendDuration(nil, ns)) }

func size(n uint64) string { return string(human.AppendBytes(nil, n)) }

func count(n uint64, of string) string { return string(human.AppendCount(nil, n, of)) }

// were is "1 segment was" or "3 segments were".
func were(n uint64, of string) string { return count(n, of) + " " + wasWere(n) }

func wasWere(n uint64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func inOut(d timeline.Dir) string {
	if d == timeline.Tx {
		return "out"
	}
	return "in"
}

func join(all []string) string {
	s := ""
	for i, a := range all {
		if i > 0 {
			s += ", "
		}
		s += a
	}
	return s
}

// list is "a, b and c".
func list(all []string) string {
	n := len(all)
	if n < 2 {
		return join(all)
	}
	return join(all[:n-1]) + " and " + all[n-1]
}
