package tracer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// loadError: the program did not even load.
type loadError struct{ error }

func (e loadError) Unwrap() error { return e.error }

// why puts the refusal of a program into words for people; r says what else is known.
func why(p program, err error, r *Report) string {
	var load loadError
	loading := errors.As(err, &load)
	mode := p.kind.Mode()
	switch {
	case !r.BTF && mode != Kprobe && p.kind != RawTracepoint:
		return "the kernel has no BTF of its own, which a file cannot replace here: only kprobes and raw tracepoints do without"
	case LockedDown(err):
		return "the kernel is locked down (confidentiality, see /sys/kernel/security/lockdown): no program may read its memory"
	case VerifierLog(err) != "":
		return "the kernel's verifier refuses the program" + signature(err)
	case is(err, unix.EPERM, unix.EACCES) && len(r.Missing) > 0:
		return "it takes " + strings.Join(r.Missing, " and ")
	case is(err, unix.EPERM, unix.EACCES) && mode == Kprobe && perfParanoid() > 2:
		// Debian's and Ubuntu's kernels have a level 3, and for it CAP_PERFMON is not enough.
		return fmt.Sprintf("kernel.perf_event_paranoid is %d: for kprobes it takes CAP_SYS_ADMIN, or at most 2 there", perfParanoid())
	case is(err, unix.EPERM, unix.EACCES):
		return "the kernel forbids " + string(mode) + ", though the capabilities are held (a hardened kernel, lockdown, a container)"
	case mode == Kprobe && strings.Contains(err.Error(), "tracefs"):
		// What the loader falls back to where perf_event_open knows no kprobes.
		return "the kernel has no kprobes (CONFIG_KPROBE_EVENTS)"
	case mode == Kprobe && is(err, fs.ErrNotExist, unix.EADDRNOTAVAIL):
		return "the kernel has no such function, or it was inlined"
	case loading && is(err, ebpf.ErrNotSupported) && mode == Tracepoint:
		return "the kernel has no such tracepoint"
	case loading && is(err, ebpf.ErrNotSupported) && mode == Iterator:
		return "the kernel has no such iterator"
	case loading && is(err, ebpf.ErrNotSupported):
		return "the kernel has no such function, or it was inlined"
	case mode == Fentry && is(err, ebpf.ErrNotSupported):
		return "the kernel cannot attach to it: no trampolines on this machine, or more than 6 arguments"
	case is(err, unix.EBUSY, unix.E2BIG):
		return "too many programs are attached there already"
	}
	return "the kernel refuses it"
}

// LockedDown: every tracing program may read the kernel's memory, unless lockdown forbids it. The helper is then as good as not there.
func LockedDown(err error) bool {
	var all *AttachError
	if errors.As(err, &all) {
		return LockedDown(all.telling().Err)
	}
	log := VerifierLog(err)
	return strings.Contains(log, "cannot use helper bpf_probe_read") || strings.Contains(log, "unknown func bpf_probe_read")
}

// signature says what a verifier's log shows of a function that is not the one the program knows.
func signature(err error) string {
	log := VerifierLog(err)
	switch {
	case strings.Contains(log, "doesn't have") && strings.Contains(log, "argument"):
		return ": fewer arguments are there than it reads"
	case strings.Contains(log, "invalid bpf_context access"):
		return ": the arguments are others than it reads"
	case strings.Contains(log, "unknown func") || strings.Contains(log, "invalid func"):
		return ": it uses a helper function that this kernel lacks"
	}
	return ""
}

// perfParanoid is kernel.perf_event_paranoid, 0 where it cannot be read.
func perfParanoid() int {
	text, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		return 0
	}
	level, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return level
}

// is reports whether err is any of these.
func is(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
