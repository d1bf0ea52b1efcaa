package tracer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"tcptrace/gen"
)

// needed are the capabilities without which nothing is traced. CAP_SYS_ADMIN stands for both.
var needed = []cap.Value{cap.BPF, cap.PERFMON}

// Capabilities says which of those that tracing needs this process holds, and which are missing;
// named as the kernel does, CAP_BPF.
func Capabilities() (held, missing []string) {
	set := cap.GetProc()
	for _, c := range needed {
		if has(set, c) || has(set, cap.SYS_ADMIN) {
			held = append(held, name(c))
		} else {
			missing = append(missing, name(c))
		}
	}
	return held, missing
}

func has(set *cap.Set, c cap.Value) bool {
	on, err := set.GetFlag(cap.Effective, c)
	return on && err == nil
}

func name(c cap.Value) string { return strings.ToUpper(c.String()) }

// raiseMemlock: kernels before 5.11 count BPF memory against RLIMIT_MEMLOCK. The error matters only
// if such a kernel then refuses a map.
func raiseMemlock(release string) error {
	err := rlimit.RemoveMemlock()
	// Where BPF is forbidden (a user namespace), it cannot find out which kernel this is.
	if err == nil || !countsMemlock(release) {
		return nil
	}
	// Not to be raised for good: as far as it goes.
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur != limit.Max {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
	}
	return err
}

// countsMemlock tells a kernel before 5.11 by its release.
func countsMemlock(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 {
		return true
	}
	return major < 5 || major == 5 && minor < 11
}

// cause adds the sentinel to an error of the kernel's; memlock is what raiseMemlock said.
func cause(err, memlock error) error {
	var verifier *ebpf.VerifierError
	switch _, missing := Capabilities(); {
	case err == nil, errors.As(err, &verifier):
		return err // the verifier's EACCES is no matter of rights
	case errors.Is(err, unix.EPERM) && len(missing) == 0 && memlock != nil:
		return fmt.Errorf("%w: %w", ErrMemlock, err)
	case is(err, unix.EPERM, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	case is(err, ebpf.ErrNotSupported, unix.ENOSYS):
		return fmt.Errorf("%w: %w", ErrNoBPF, err)
	}
	return err
}

// Need is something that is still to be done after the rights are dropped.
type Need struct {
	// Try does it, or asks whether it could be done, with the rights that there are then.
	Try func() error
	// Capability that it may take: it is kept where Try fails without.
	Capability cap.Value
}

// WriteIn is the need to create and replace files in a directory.
func WriteIn(directory string) Need {
	return Need{func() error {
		return unix.Faccessat(unix.AT_FDCWD, directory, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}, cap.DAC_OVERRIDE}
}

// WriteTo is the need to write to what is there: a device, a pipe; or to connect to a unix socket.
func WriteTo(path string) Need {
	return Need{func() error { return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) }, cap.DAC_OVERRIDE}
}

// DropRights gives up, for the whole process and for good, every capability that tracing on and
// what is in needs do not take; neither can a program that it starts gain any. What is kept is
// found out by trying, and returned by name.
func (t *Tracer) DropRights(needs ...Need) (kept []string, err error) {
	before := cap.GetProc()
	needs = append(needs, Need{t.reads, cap.BPF}, Need{priority, cap.SYS_NICE})

	// The effective set can be taken back, the permitted one can not.
	bare, err := before.Dup()
	if err == nil {
		err = bare.ClearFlag(cap.Effective)
	}
	if err == nil {
		err = setProc(bare)
	}
	if err != nil {
		return nil, fmt.Errorf("lower the capabilities: %w", err)
	}
	final := cap.NewSet()
	for _, n := range needs {
		held, err := before.GetFlag(cap.Permitted, n.Capability)
		if err != nil || !held || slices.Contains(kept, name(n.Capability)) || n.Try() == nil {
			continue
		}
		if err := final.SetFlag(cap.Permitted, true, n.Capability); err != nil {
			return nil, err
		}
		if err := final.SetFlag(cap.Effective, true, n.Capability); err != nil {
			return nil, err
		}
		kept = append(kept, name(n.Capability))
	}
	if err := giveUp(final); err != nil {
		return nil, err
	}
	return kept, nil
}

// reads looks at a map. Before 5.19 kernel.unprivileged_bpf_disabled forbids bpf() whole to those
// without CAP_BPF, also on file descriptors that they hold.
func (t *Tracer) reads() error {
	var loss gen.BPFLoss
	err := t.collection.Maps[gen.BPFMapLost].Lookup(gen.BPFTuple{}, &loss)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// priority: whether this process, having been niced, could raise its priority as far as a full ring takes.
func priority() error {
	const most = 20 - raisedNice // RLIMIT_NICE counts upwards: 20 is nice 0
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NICE, &limit); err != nil {
		return err
	}
	if limit.Max < most {
		return unix.EPERM
	}
	if limit.Cur < most {
		limit.Cur = limit.Max
		return unix.Setrlimit(unix.RLIMIT_NICE, &limit)
	}
	return nil
}

// KeepRightToLook gives up, for the whole process and for good, every capability but the one to look at other users' processes
// (CAP_SYS_PTRACE), which is kept where there is one.
func KeepRightToLook() error {
	final := cap.NewSet()
	if held, err := cap.GetProc().GetFlag(cap.Permitted, cap.SYS_PTRACE); err == nil && held {
		if err := errors.Join(final.SetFlag(cap.Permitted, true, cap.SYS_PTRACE), final.SetFlag(cap.Effective, true, cap.SYS_PTRACE)); err != nil {
			return err
		}
	}
	return giveUp(final)
}

// threadsFound says why a change of rights would not reach all threads. Where C is linked in, the library looks for them in
// /proc/PID/task: in a pid namespace that has another one's /proc those are another process's, and it waits for them for good.
func threadsFound(proc string) error {
	self, err := os.Readlink(proc + "/self")
	if !linksC || err == nil && self == strconv.Itoa(os.Getpid()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the own threads: %w", err)
	}
	return fmt.Errorf("%s is another pid namespace's (this process is %s there, and %d here), and a build with cgo looks for its threads in it: mount this one's (unshare --mount-proc), or build with CGO_ENABLED=0, as make does",
		proc, self, os.Getpid())
}

// setProc gives these to all threads.
func setProc(set *cap.Set) error {
	if err := threadsFound("/proc"); err != nil {
		return err
	}
	return set.SetProc()
}

// giveUp leaves just these, and lets no program that is started gain others.
func giveUp(final *cap.Set) error {
	if err := setProc(final); err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}
