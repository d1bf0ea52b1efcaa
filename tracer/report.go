package tracer

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Report is what this kernel can show, to this process.
type Report struct {
	Release, Machine string // of the kernel, as uname has them
	// BTF: the kernel describes its types itself.
	BTF bool
	// IPv6: the kernel has it.
	IPv6 bool
	// Held and Missing are the capabilities that tracing needs.
	Held, Missing []string
	// Facts in the order of the table of hooks; none where not even the maps could be made.
	Facts []Fact
	// Err is why nothing can be traced, nil where it can.
	Err error
}

// Check attaches, one after the other, all that a Tracer would, and takes it off again. Nothing
// is traced meanwhile.
func Check(opts Options) Report {
	r := system()
	t, err := prepare(opts, opts.Filter.table(true))
	if err != nil {
		r.Err = err
		return r
	}
	r.Facts = t.facts
	r.Err = errors.Join(cause(possible(t.facts, opts.Attach), t.memlock), t.Close())
	return r
}

// system is a report without the facts.
func system() Report {
	r := Report{BTF: hasBTF(), IPv6: hasIPv6()}
	r.Held, r.Missing = Capabilities()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		r.Release = unix.ByteSliceToString(name.Release[:])
		r.Machine = unix.ByteSliceToString(name.Machine[:])
	}
	return r
}
