// Package tracer puts the programs into the kernel and reads what they say. It
// is the only package that loads, attaches and reads:
// Open → Snapshot → Run → Finish → Close.
package tracer

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/gen"
)

// Causes that a caller can have advice for; errors.Is finds them.
var (
	// ErrPermission: the kernel refuses BPF to this process.
	ErrPermission = errors.New("the kernel does not permit this process to load BPF programs")
	// ErrMemlock: the memory for BPF is beyond RLIMIT_MEMLOCK, which cannot be raised.
	ErrMemlock = errors.New("the limit on locked memory (RLIMIT_MEMLOCK) is too low for this kernel, and cannot be raised")
	// ErrNoBTF: the kernel does not describe its types.
	ErrNoBTF = errors.New("the kernel has no BTF (/sys/kernel/btf/vmlinux)")
	// ErrBTFFile: Options.BTF is no file with the types of the running kernel.
	ErrBTFFile = errors.New("BTF file")
	// ErrNoBPF: the kernel has no BPF, or lacks what is needed of it.
	ErrNoBPF = errors.New("the kernel cannot run these BPF programs")
)

// Options of a Tracer.
type Options struct {
	Filter Filter
	// AllSegments: data segments are events too, not only those that control the connection.
	AllSegments bool
	// RingSize in bytes, of all rings together; a power of two and a multiple of the page size.
	RingSize int
	// Attach is the one kind of hook to use where there is a choice (Fentry, Kprobe or
	// Tracepoint), "" the best that attaches.
	Attach Kind
	// BTF is a file with the running kernel's types, "" for the kernel's own.
	BTF string
	// Poll bounds how long an event waits for its reader; 0 is 25 ms.
	Poll time.Duration
	// Flows is how many endpoints the kernel programs remember at once.
	Flows int
}

// Tracer holds the programs, their maps and their attachments. It is for one
// goroutine; Close gives everything back.
type Tracer struct {
	collection  *ebpf.Collection // maps and variables
	programs    []*ebpf.Program
	links       []io.Closer
	walks       map[string]*link.Iter // by symbol
	copiesFiles bool                  // the files' walk knows no socket by itself
	netns       []uint32              // those that are wanted; none means all
	rings       *rings
	seenLost    uint64
	losses      []events.Loss // to be told, in the order of their times
	seenMissed  uint64
	// kprobes are those of links whose missed runs their links count; detachedMissed is what they were
	// when they ended.
	kprobes        []link.Link
	detachedMissed uint64
	system         Report // without the facts
	facts          []Fact
	kernel         *btf.Spec
	memlock        error // why RLIMIT_MEMLOCK could not be raised
	reader         *poller
	poll           time.Duration
}

// Open loads the programs, attaches them and begins to trace: from its return on, what
// happens is in the rings. The error is one of those above, or an *AttachError, where it has such a cause.
func Open(opts Options) (*Tracer, error) {
	t, err := prepare(opts, opts.Filter.table(false))
	if err != nil {
		return nil, err
	}
	if err := possible(t.facts, opts.Attach); err != nil {
		return nil, errors.Join(cause(err, t.memlock), t.Close())
	}
	if err := t.begin(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// prepare makes the maps and attaches what it can of the table. Nothing is traced yet.
func prepare(opts Options, table []hook) (*Tracer, error) {
	kernel, err := kernelTypes(opts.BTF)
	if err != nil {
		return nil, err
	}
	spec, err := embedded()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	return prepareSpec(spec, kernel, opts, table)
}

// embedded are the programs of both objects, on the maps and variables that they share.
func embedded() (*ebpf.CollectionSpec, error) {
	spec, err := gen.LoadBPF()
	if err != nil {
		return nil, err
	}
	copying, err := gen.LoadCopying()
	if err != nil {
		return nil, err
	}
	maps.Copy(spec.Programs, copying.Programs)
	return spec, nil
}

func prepareSpec(spec *ebpf.CollectionSpec, kernel *btf.Spec, opts Options, table []hook) (*Tracer, error) {
	if err := opts.setConstants(spec, kernel); err != nil {
		return nil, err
	}
	if opts.Poll == 0 {
		opts.Poll = pollInterval
	}
	report := system()
	t := &Tracer{poll: opts.Poll, kernel: kernel, memlock: raiseMemlock(report.Release), system: report,
		walks: map[string]*link.Iter{}, netns: opts.Filter.Netns}
	programs := spec.Programs
	spec.Programs = nil
	var err error
	if t.collection, err = ebpf.NewCollection(spec); err != nil {
		return nil, fmt.Errorf("create maps: %w", cause(err, t.memlock))
	}
	spec.Programs = programs
	if t.rings, err = makeRings(spec.Maps[gen.BPFMapRings], t.collection.Maps[gen.BPFMapRings]); err != nil {
		return nil, errors.Join(cause(err, t.memlock), t.Close())
	}
	if t.reader, err = newPoller(t.rings.maps); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if err := opts.Filter.fillMaps(t.collection.Maps); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if err := t.putPIDs(spec, opts.Filter.PIDs); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.attach(spec, opts.Attach, table)
	if opts.Filter.FollowForks {
		if err := t.followEarlier(spec, opts.Filter.PIDs); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

// setConstants writes the options into the programs, which must not be loaded yet.
func (o *Options) setConstants(spec *ebpf.CollectionSpec, kernel *btf.Spec) error {
	if err := o.Filter.setConstants(spec); err != nil {
		return err
	}
	for _, v := range []struct {
		name  string
		value any
	}{
		{gen.BPFVarIgnoredDrops, ignoredDrops(kernel)},
		{gen.BPFVarJiffyNs, jiffy()},
		{gen.BPFVarAllSegments, o.AllSegments},
		{gen.BPFVarWakeupBytes, uint32(o.RingSize / o.rings() / wakeupShare)},
		{gen.BPFVarRingMask, uint32(o.rings() - 1)},
	} {
		if err := spec.Variables[v.name].Set(v.value); err != nil {
			return fmt.Errorf("set %s: %w", v.name, err)
		}
	}
	spec.Maps[gen.BPFMapRings].MaxEntries = uint32(o.rings())
	spec.Maps[gen.BPFMapRings].InnerMap.MaxEntries = uint32(o.RingSize / o.rings())
	spec.Maps[gen.BPFMapFlows].MaxEntries = uint32(o.Flows)
	spec.Maps[gen.BPFMapOwners].MaxEntries = uint32(o.Flows)
	return nil
}

// jiffy is how long the kernel's is, in nanoseconds: what the coarse clocks tick by.
func jiffy() uint32 {
	var tick unix.Timespec
	if unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick) != nil {
		return 0
	}
	return uint32(tick.Nsec)
}

// begin lets all programs begin at once: what was told by some of the hooks
// alone would seem whole.
func (t *Tracer) begin() error {
	if err := t.collection.Variables[gen.BPFVarTracing].Set(true); err != nil {
		return fmt.Errorf("set tracing: %w", err)
	}
	return nil
}

// attach goes through the table.
func (t *Tracer) attach(spec *ebpf.CollectionSpec, mode Kind, table []hook) {
	removeLeftProbes()
	a := attaching{
		mode: mode,
		ipv6: t.system.IPv6,
		try:  func(p program) (io.Closer, error) { return t.try(spec, p) },
		explain: func(p program, err error) string {
			return why(p, err, &t.system)
		},
	}
	var all []attached
	t.facts, all = a.run(table)
	for _, it := range all {
		placed := it.link.(*placement)
		t.programs = append(t.programs, placed.program)
		if walk, ok := placed.link.(*link.Iter); ok {
			t.walks[it.symbol] = walk // used once more when all else is taken off
			t.copiesFiles = t.copiesFiles || it.name == gen.CopyingProgCopyingTaskFile
		} else {
			t.links = append(t.links, placed.link)
		}
		if l, ok := placed.link.(link.Link); ok && it.kind.Mode() == Kprobe {
			t.kprobes = append(t.kprobes, l)
		}
	}
}

// placement is a program that is loaded and attached.
type placement struct {
	program *ebpf.Program
	link    io.Closer
}

func (p *placement) Close() error { return errors.Join(p.link.Close(), p.program.Close()) }

// try loads one program and attaches it: on some kernels one loads and only the attaching fails.
func (t *Tracer) try(spec *ebpf.CollectionSpec, p program) (io.Closer, error) {
	loaded, err := t.loadProgram(spec, p.name)
	if err != nil {
		return nil, loadError{err}
	}
	l, err := p.attach(loaded)
	if err != nil {
		return nil, errors.Join(err, loaded.Close())
	}
	return &placement{loaded, l}, nil
}

// sleepers is how many processes may wait in a function that a kretprobe is on: KRETPROBE_MAXACTIVE_MAX.
const sleepers = 4096

func (p program) attach(loaded *ebpf.Program) (io.Closer, error) {
	switch p.kind {
	case Kprobe:
		return closer(link.Kprobe(p.symbol, loaded, nil))
	case Kretprobe:
		// accept() may sleep in as many processes at once; the kernel is prepared for as many as it has
		// processors, unless it is told otherwise. It can be only through tracefs.
		o := link.KprobeOptions{RetprobeMaxActive: sleepers, TraceFSPrefix: probeGroup(os.Getpid())}
		if l, err := link.Kretprobe(p.symbol, loaded, &o); err == nil {
			return l, nil
		}
		return closer(link.Kretprobe(p.symbol, loaded, nil))
	case RawTracepoint:
		return closer(link.AttachRawTracepoint(link.RawTracepointOptions{Name: p.symbol, Program: loaded}))
	case Iterator:
		return closer(link.AttachIter(link.IterOptions{Program: loaded}))
	}
	return closer(link.AttachTracing(link.TracingOptions{Program: loaded}))
}

// closer keeps a nil pointer out of the interface.
func closer[C io.Closer](c C, err error) (io.Closer, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// loadProgram loads one program, on the maps that are there: what one lacks must not cost the others.
func (t *Tracer) loadProgram(spec *ebpf.CollectionSpec, name string) (*ebpf.Program, error) {
	one := spec.Copy()
	maps.DeleteFunc(one.Programs, func(n string, _ *ebpf.ProgramSpec) bool { return n != name })
	collection, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{
		MapReplacements: t.collection.Maps,
		Programs:        ebpf.ProgramOptions{KernelTypes: t.kernel},
	})
	if err != nil {
		return nil, err
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}

// hasIPv6 asks the kernel for a socket of it.
func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return !errors.Is(err, unix.EAFNOSUPPORT)
}

// Report says what this kernel gives, by which hooks. The capabilities are those that Open found.
func (t *Tracer) Report() Report {
	r := t.system
	r.Facts = slices.Clone(t.facts)
	return r
}

// Detach ends the tracing and takes the programs off their hooks, in reverse. What is in the
// rings stays there.
func (t *Tracer) Detach() error {
	errs := []error{t.collection.Variables[gen.BPFVarTracing].Set(false)}
	t.detachedMissed += t.missedKprobes()
	t.kprobes = nil
	for _, l := range slices.Backward(t.links) {
		errs = append(errs, l.Close())
	}
	t.links = nil
	return errors.Join(errs...)
}

// Close gives everything back. Events read before are no longer valid.
func (t *Tracer) Close() error {
	errs := []error{t.Detach()}
	for _, w := range t.walks {
		errs = append(errs, w.Close())
	}
	for _, p := range t.programs {
		errs = append(errs, p.Close())
	}
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	if t.rings != nil {
		errs = append(errs, t.rings.Close())
	}
	t.collection.Close()
	return errors.Join(errs...)
}

// VerifierLog is what the kernel's verifier said of a program that it refused, "" where err is no such refusal.
func VerifierLog(err error) string {
	var v *ebpf.VerifierError
	if !errors.As(err, &v) {
		return ""
	}
	return fmt.Sprintf("%+v", v)
}

// NetnsInode is the number by which the kernel knows the network namespace at path.
func NetnsInode(path string) (uint32, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if fs.Type != unix.NSFS_MAGIC {
		return 0, fmt.Errorf("%s is not a namespace", path)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err == nil && kind != unix.CLONE_NEWNET {
		return 0, fmt.Errorf("%s is a namespace of another kind", path)
	}
	return uint32(s.Ino), nil
}
