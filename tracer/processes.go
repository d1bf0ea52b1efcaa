package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"tcptrace/gen"
)

// Processes says whose sockets are wanted: the socket's owner's, not those of who is on the CPU. All that is not empty must hold.
type Processes struct {
	// PIDs are process IDs as this process's own pid namespace counts.
	PIDs []uint32
	// FollowForks: the children of PIDs, and theirs, those that are there and those to come.
	FollowForks bool
	// UIDs are real user IDs, as the initial user namespace counts.
	UIDs []uint32
	// Comms are names of processes, at most MaxComm bytes each.
	Comms []string
	// Cgroups are IDs of cgroups of version 2; those below them are wanted too.
	Cgroups []uint64
}

// Limits of Processes, set by bpf/maps.h; what is followed has room for more.
const (
	MaxPIDs    = 4096
	MaxUIDs    = 1024
	MaxComms   = 1024
	MaxCgroups = 1024
	MaxComm    = 15

	maxFollowed = 1 << 16
)

// following is the table's row for Processes.FollowForks.
var following = hook{
	fact:    "child processes",
	absence: "--follow-forks and tracing a command are not possible",
	ways: []way{{
		{Tracepoint, "sched_process_fork", gen.BPFProgOnSchedProcessFork},
		{RawTracepoint, "sched_process_fork", gen.CopyingProgRawSchedProcessFork},
		{Tracepoint, "sched_process_free", gen.BPFProgOnSchedProcessFree},
		{RawTracepoint, "sched_process_free", gen.CopyingProgRawSchedProcessFree},
	}},
}

// table is all hooks that the filter takes, for the run or, with check, for any.
func (f *Filter) table(check bool) []hook {
	if !f.FollowForks && !check {
		return hooks
	}
	row := following
	row.required = f.FollowForks
	return append([]hook{row}, hooks...)
}

// setConstants writes which of the filters there are into the programs' constants.
func (p *Processes) setConstants(spec *ebpf.CollectionSpec) error {
	namespace, err := pidNamespace()
	if err != nil {
		return err
	}
	pids, uids, comms, cgroups := len(p.PIDs) > 0, len(p.UIDs) > 0, len(p.Comms) > 0, len(p.Cgroups) > 0
	for _, v := range []struct {
		name  string
		value any
	}{
		{gen.BPFVarFilterPid, pids || uids || comms || cgroups},
		{gen.BPFVarFilterPids, pids},
		{gen.BPFVarFilterUids, uids},
		{gen.BPFVarFilterComms, comms},
		{gen.BPFVarFilterCgroups, cgroups},
		{gen.BPFVarPidNamespace, namespace},
	} {
		if err := spec.Variables[v.name].Set(v.value); err != nil {
			return fmt.Errorf("set %s: %w", v.name, err)
		}
	}
	if p.FollowForks {
		spec.Maps[gen.BPFMapPids].MaxEntries = maxFollowed
	}
	return nil
}

// fillMaps puts what is wanted into the filter's maps, pids aside.
func (p *Processes) fillMaps(maps map[string]*ebpf.Map) error {
	for _, uid := range p.UIDs {
		if err := maps[gen.BPFMapUids].Put(uid, uint8(1)); err != nil {
			return fmt.Errorf("filter on uid %d: %w", uid, err)
		}
	}
	for _, comm := range p.Comms {
		var key [MaxComm + 1]byte
		copy(key[:MaxComm], comm)
		if err := maps[gen.BPFMapComms].Put(key, uint8(1)); err != nil {
			return fmt.Errorf("filter on the name %q: %w", comm, err)
		}
	}
	for _, id := range p.Cgroups {
		if err := maps[gen.BPFMapCgroups].Put(id, uint8(1)); err != nil {
			return fmt.Errorf("filter on cgroup %d: %w", id, err)
		}
	}
	return nil
}

// putPIDs wants these processes, numbered as this process's pid namespace does.
func (t *Tracer) putPIDs(spec *ebpf.CollectionSpec, pids []uint32) error {
	if len(pids) == 0 {
		return nil
	}
	host, err := t.hostPIDs(spec, pids)
	if err != nil {
		return err
	}
	for _, pid := range host {
		if err := t.collection.Maps[gen.BPFMapPids].Put(pid, uint8(1)); err != nil {
			return fmt.Errorf("filter on pid %d: %w", pid, err)
		}
	}
	return nil
}

// followEarlier wants the children that there are. Those to come are followed already.
func (t *Tracer) followEarlier(spec *ebpf.CollectionSpec, pids []uint32) error {
	wanted := map[uint32]bool{}
	for _, pid := range pids {
		wanted[pid] = true
	}
	for {
		children, err := descendants(wanted)
		if err != nil {
			return fmt.Errorf("look for child processes: %w", err)
		}
		if len(children) == 0 {
			return nil
		}
		// One may have been born, unseen, while they were looked for: look again.
		if err := t.putPIDs(spec, children); err != nil {
			return err
		}
	}
}

// descendants adds to wanted, and returns, those whose parent, or parent's parent, … it has.
func descendants(wanted map[uint32]bool) (added []uint32, err error) {
	parents := map[uint32]uint32{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil {
			continue
		}
		if parent, ok := parentOf(e.Name()); ok {
			parents[uint32(pid)] = parent
		}
	}
	for found := true; found; {
		found = false
		for pid, parent := range parents {
			if wanted[parent] && !wanted[pid] {
				wanted[pid], found = true, true
				added = append(added, pid)
			}
		}
	}
	return added, nil
}

// parentOf reads the 4th field of /proc/PID/stat: behind the name, which may hold anything.
func parentOf(pid string) (parent uint32, ok bool) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, false // gone
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(fields[1], 10, 32)
	return uint32(n), err == nil
}

// initialPIDNamespace is the inode number that the kernel gives it (PROC_PID_INIT_INO).
const initialPIDNamespace = 0xEFFFFFFC

// pidNamespace is the inode number of this process's own.
func pidNamespace() (uint32, error) {
	const path = "/proc/self/ns/pid"
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return 0, fmt.Errorf("look at this process's pid namespace: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	return uint32(s.Ino), nil
}

// InitialPIDNamespace reports whether this process numbers processes as the records of the kernel do.
func InitialPIDNamespace() bool {
	n, err := pidNamespace()
	return err == nil && n == initialPIDNamespace
}

// errNoNumbers: /proc does not have those of the initial pid namespace.
var errNoNumbers = errors.New("in a pid namespace of its own tcptrace needs the kernel's list of processes (iter/task, Linux 5.8 or later with BTF) to know them by their pid: run it in the host's pid namespace")

// hostPIDs are the processes' numbers in the initial pid namespace; who is gone has none.
func (t *Tracer) hostPIDs(spec *ebpf.CollectionSpec, pids []uint32) ([]uint32, error) {
	if InitialPIDNamespace() {
		return pids, nil
	}
	all, err := t.listProcesses(spec)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errNoNumbers, err)
	}
	var host []uint32
	for _, p := range all {
		if slices.Contains(pids, p.InnerPid) {
			host = append(host, p.Pid)
		}
	}
	return host, nil
}

// listProcesses has the kernel list the processes that this process's pid namespace has a number for.
func (t *Tracer) listProcesses(spec *ebpf.CollectionSpec) ([]gen.BPFListedProcess, error) {
	program, err := t.loadProgram(spec, gen.BPFProgOnTask)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	iterator, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return nil, err
	}
	defer iterator.Close()
	walk, err := iterator.Open()
	if err != nil {
		return nil, err
	}
	defer walk.Close()
	written, err := io.ReadAll(walk)
	if err != nil {
		return nil, err
	}
	const size = 8
	var all []gen.BPFListedProcess
	for ; len(written) >= size; written = written[size:] {
		all = append(all, gen.BPFListedProcess{
			Pid:      binary.NativeEndian.Uint32(written),
			InnerPid: binary.NativeEndian.Uint32(written[4:]),
		})
	}
	return all, nil
}
