package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tcptrace/output"
	"tcptrace/tracer"
)

// check says what this kernel can show; its exit status is whether tracing is possible.
func check(o *options, stdout io.Writer) (possible bool, err error) {
	nat := checkTranslations()
	r := report(o, tracer.Check(tracerOptions(o)), nat)
	if err := nat.close(); err != nil {
		return false, err
	}
	if o.format == "json" {
		err = output.WriteJSON(stdout, r)
	} else {
		err = r.WriteText(stdout)
	}
	if err != nil {
		return false, fmt.Errorf("write the report: %w", err)
	}
	return r.Possible, nil
}

// commandPoll is for a command: what it starts may be gone soon, and costs little to look for.
const commandPoll = time.Millisecond

func tracerOptions(o *options) tracer.Options {
	var poll time.Duration
	if len(o.command) > 0 {
		poll = commandPoll
	}
	return tracer.Options{
		Poll:        poll,
		Filter:      o.filter,
		AllSegments: o.allSegments,
		RingSize:    o.ringSize,
		Flows:       2 * o.maxLive,
		Attach:      o.attach,
		BTF:         o.btf,
	}
}

// report puts the tracer's report into the form in which it is written.
func report(o *options, t tracer.Report, nat *translations) *output.Report {
	r := &output.Report{
		Schema:       output.ReportSchema,
		Version:      version(),
		Possible:     t.Err == nil,
		Kernel:       output.Kernel{Release: t.Release, Machine: t.Machine, BTF: t.BTF, IPv6: t.IPv6},
		Attach:       "auto",
		Capabilities: output.Capabilities{Held: words(t.Held), Missing: words(t.Missing)},
		Facts:        []output.Fact{},
	}
	if o.attach != "" {
		r.Attach = string(o.attach)
	}
	if o.btf != "" {
		r.BTFFile = &o.btf
	}
	if t.Err != nil {
		says := explain(t.Err)
		r.Error = &says
	}
	for i := range t.Facts {
		r.Facts = append(r.Facts, fact(&t.Facts[i]))
	}
	if len(r.Facts) > 0 {
		r.Facts = append(r.Facts, nat.fact())
	}
	return r
}

func fact(f *tracer.Fact) output.Fact {
	to := output.Fact{Name: f.Name, Required: f.Required, By: []output.Hook{}, Refused: []output.Refusal{}}
	for _, h := range f.By {
		to.By = append(to.By, hook(h))
	}
	for _, r := range f.Refused {
		to.Refused = append(to.Refused, output.Refusal{Hook: hook(r.Hook), Why: r.Why, Error: kernelError(r.Err)})
	}
	if !f.Told() {
		absence := f.Absence
		if f.NoProgram {
			absence += "; tcptrace has no hook for it yet"
		}
		to.Absence = &absence
	}
	return to
}

// kernelError leaves out what the loader guesses at each EPERM; where it is true, the error of the
// whole says so.
func kernelError(err error) string {
	return strings.ReplaceAll(firstLine(err), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
}

func hook(h tracer.Hook) output.Hook { return output.Hook{Kind: string(h.Kind), Symbol: h.Symbol} }

// words are never null in JSON.
func words(list []string) []string { return append([]string{}, list...) }

// sayStarted says how it is attached, and what this kernel cannot tell: in full, --check does.
func sayStarted(stderr io.Writer, r tracer.Report, command []string) {
	var kinds, missing []string
	for i := range r.Facts {
		f := &r.Facts[i]
		for _, h := range f.By {
			if kind := plural[h.Kind.Mode()]; f.Required && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
		if !f.Told() && !f.NoProgram {
			missing = append(missing, f.Name)
		}
	}
	what, end := "tracing", "Ctrl-C ends it"
	if len(command) > 0 {
		what, end = fmt.Sprintf("tracing %q", command[0]), "its connections are told when it has ended"
	}
	fmt.Fprintf(stderr, "tcptrace: %s by %s; %s\n", what, enumerate(kinds), end)
	if len(missing) > 0 {
		fmt.Fprintf(stderr, "tcptrace: this kernel does not show %s: tcptrace --check says why\n", enumerate(missing))
	}
}

var plural = map[tracer.Kind]string{tracer.Fentry: "fentry", tracer.Kprobe: "kprobes", tracer.Tracepoint: "tracepoints"}

// enumerate: "a, b and c".
func enumerate(words []string) string {
	switch n := len(words); n {
	case 0:
		return "nothing"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}
