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

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"tcptrace/gen"
)

// Causes that a caller can have advice for; errors.Is finds them.
var (
	// ErrPermission: the kernel refuses BPF to this process.
	ErrPermission = errors.New("the kernel does not permit this process to load BPF programs")
	// ErrNoBTF: the kernel does not describe its types.
	ErrNoBTF = errors.New("the kernel has no BTF (/sys/kernel/btf/vmlinux)")
	// ErrNoBPF: the kernel has no BPF, or lacks what is needed of it.
	ErrNoBPF = errors.New("the kernel cannot run these BPF programs")
)

// Options of a Tracer.
type Options struct {
	Filter Filter
	// AllSegments: data segments are events too, not only those that control the connection.
	AllSegments bool
	// RingSize in bytes, a power of two and a multiple of the page size.
	RingSize int
	// Flows is how many endpoints the kernel programs remember at once.
	Flows int
}

// Tracer holds the programs, their maps and their attachments. It is for one
// goroutine; Close gives everything back.
type Tracer struct {
	collection *ebpf.Collection // maps and variables
	programs   []*ebpf.Program
	links      []link.Link
	snapshot   *link.Iter
	ring       *ringMapping
	seenLost   uint64
	seenMissed uint64
	nextMissed uint64 // when to look for missed runs again
	hooks      []HookReport
	kernel     *btf.Spec
	reader     *poller
}

// HookReport says which program tells a fact on this kernel.
type HookReport struct {
	Fact string
	// Program is "" where none attached.
	Program string
	// Refused says why each better alternative did not attach.
	Refused []error
}

// Open loads the programs, attaches them and begins to trace: from its return on, what
// happens is in the ring. The error is ErrPermission, ErrNoBTF or ErrNoBPF where it is one of these.
func Open(opts Options) (*Tracer, error) {
	// Kernels before 5.11 count BPF memory against RLIMIT_MEMLOCK. Where the limit can't be
	// raised, a kernel that needs it raised says so when a map is made.
	_ = rlimit.RemoveMemlock()

	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBTF, err)
	}
	spec, err := gen.LoadBPF()
	if err != nil {
		return nil, fmt.Errorf("read the embedded programs: %w", err)
	}
	if err := opts.Filter.setConstants(spec); err != nil {
		return nil, err
	}
	if err := spec.Variables[gen.BPFVarIgnoredDrops].Set(ignoredDrops(kernel)); err != nil {
		return nil, fmt.Errorf("set ignored_drops: %w", err)
	}
	if err := spec.Variables[gen.BPFVarAllSegments].Set(opts.AllSegments); err != nil {
		return nil, fmt.Errorf("set all_segments: %w", err)
	}
	if err := spec.Variables[gen.BPFVarWakeupBytes].Set(uint32(opts.RingSize / wakeupShare)); err != nil {
		return nil, fmt.Errorf("set wakeup_bytes: %w", err)
	}
	spec.Maps[gen.BPFMapRing].MaxEntries = uint32(opts.RingSize)
	spec.Maps[gen.BPFMapFlows].MaxEntries = uint32(opts.Flows)
	spec.Maps[gen.BPFMapOwners].MaxEntries = uint32(opts.Flows)

	programs := spec.Programs
	spec.Programs = nil
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("create maps: %w", cause(err))
	}
	t := &Tracer{collection: collection, kernel: kernel}
	spec.Programs = programs
	if err := t.begin(spec, opts); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Tracer) begin(spec *ebpf.CollectionSpec, opts Options) error {
	if err := opts.Filter.fillMaps(t.collection.Maps); err != nil {
		return err
	}
	var err error
	if t.ring, err = mapRing(t.collection.Maps[gen.BPFMapRing].FD(), opts.RingSize); err != nil {
		return err
	}
	if t.reader, err = newPoller(t.collection.Maps[gen.BPFMapRing].FD()); err != nil {
		return err
	}
	return t.attach(spec)
}

// cause adds the sentinel to an error of the kernel's.
func cause(err error) error {
	switch {
	case VerifierLog(err) != "":
		return err // EACCES too, but no matter of rights
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: %w", ErrNoBPF, err)
	}
	return err
}

// attach finds, for each hook, the first program that the kernel takes; then all begin at once.
func (t *Tracer) attach(spec *ebpf.CollectionSpec) error {
	for _, h := range hooks {
		report := HookReport{Fact: h.fact}
		for _, name := range h.programs {
			program, err := t.loadProgram(spec, name)
			if err == nil {
				var l link.Link
				if l, err = link.AttachTracing(link.TracingOptions{Program: program}); err == nil {
					t.links = append(t.links, l)
					report.Program = name
					break
				}
			}
			report.Refused = append(report.Refused, fmt.Errorf("%s: %w", name, err))
		}
		t.hooks = append(t.hooks, report)
		if h.required && report.Program == "" {
			return fmt.Errorf("attach to %s: %w", h.fact, cause(errors.Join(report.Refused...)))
		}
	}
	// All at once: what was told by some of the hooks alone would seem whole.
	if err := t.collection.Variables[gen.BPFVarTracing].Set(true); err != nil {
		return fmt.Errorf("set tracing: %w", err)
	}
	report := HookReport{Fact: "sockets that were there before"}
	program, err := t.loadProgram(spec, snapshotProgram)
	if err == nil {
		t.snapshot, err = link.AttachIter(link.IterOptions{Program: program})
	}
	if err != nil {
		report.Refused = append(report.Refused, fmt.Errorf("%s: %w", snapshotProgram, err))
	} else {
		report.Program = snapshotProgram
	}
	t.hooks = append(t.hooks, report)
	return nil
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
	program := collection.DetachProgram(name)
	t.programs = append(t.programs, program)
	return program, nil
}

// Hooks reports what attached.
func (t *Tracer) Hooks() []HookReport { return slices.Clone(t.hooks) }

// Snapshot makes events of the sockets that processes hold now; final makes
// events of their counters alone. It is nothing where the kernel has no iterators (before 5.11).
func (t *Tracer) Snapshot(final bool) error {
	if t.snapshot == nil {
		return nil
	}
	if err := t.collection.Variables[gen.BPFVarFinalSnapshot].Set(final); err != nil {
		return fmt.Errorf("set final_snapshot: %w", err)
	}
	walk, err := t.snapshot.Open()
	if err != nil {
		return fmt.Errorf("walk the processes' files: %w", err)
	}
	defer walk.Close()
	if _, err := io.Copy(io.Discard, walk); err != nil {
		return fmt.Errorf("walk the processes' files: %w", err)
	}
	return nil
}

// Detach ends the tracing and takes the programs off their hooks, in reverse. What is in the
// ring stays there.
func (t *Tracer) Detach() error {
	errs := []error{t.collection.Variables[gen.BPFVarTracing].Set(false)}
	for _, l := range slices.Backward(t.links) {
		errs = append(errs, l.Close())
	}
	t.links = nil
	return errors.Join(errs...)
}

// Close gives everything back. Events read before are no longer valid.
func (t *Tracer) Close() error {
	errs := []error{t.Detach()}
	if t.snapshot != nil {
		errs = append(errs, t.snapshot.Close())
	}
	for _, p := range t.programs {
		errs = append(errs, p.Close())
	}
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	if t.ring != nil {
		errs = append(errs, t.ring.Close())
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
	return uint32(s.Ino), nil
}
