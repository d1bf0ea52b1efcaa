// Package process reads what /proc and the cgroups say of processes and of the containers that they are in. All that it
// reads may be hostile: names, command lines and paths hold whatever somebody put there. It must be cleaned before it is shown.
package process

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ID names a process for good, and the program that it runs.
type ID struct {
	// PID as the initial pid namespace counts.
	PID uint32
	// Start is when it started: field 22 of /proc/PID/stat, in its units. 0 is unknown.
	Start uint32
	// Comm is its name, up to a NUL: another one after exec.
	Comm [16]byte
}

// Details are what a process is. What is not known is 0 or "": the process was gone, or had become another
// program, before it could be asked, or this process may not ask.
type Details struct {
	ParentPID uint32
	// InnerPID is its number in its own pid namespace, 0 where that is this process's too.
	InnerPID uint32
	// Exe is the path of its program's file, as its own mount namespace has it.
	Exe string
	// CommandLine is its arguments with spaces between, at most MaxCommandLine bytes; a longer one ends in "…".
	CommandLine string
	// Container is that of its cgroup.
	Container Container
	// Names are the container's, where a daemon is asked for them.
	Names Names
}

// MaxCommandLine bounds Details.CommandLine, "…" aside.
const MaxCommandLine = 4096

// maxFile bounds what is read of any other file of /proc.
const maxFile = 16 << 10

// read is nil where the process is gone.
func read(proc string, id ID) *Details {
	// The directory is the process's for good: another one that gets its number has another.
	dir, err := unix.Open(proc+"/"+strconv.FormatUint(uint64(id.PID), 10), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	d := &Details{
		CommandLine: commandLine(readFile(dir, "cmdline", MaxCommandLine+1)),
		Exe:         readLink(dir, "exe"),
		InnerPID:    innerPID(readFile(dir, "status", maxFile)),
		Container:   containerInFile(readFile(dir, "cgroup", maxFile)),
	}
	parent, start, ok := parseStat(readFile(dir, "stat", maxFile))
	if !ok || start != id.Start {
		return nil
	}
	d.ParentPID = parent
	// Asked last: if it was another program meanwhile, it has another name now.
	name := bytes.TrimSuffix(readFile(dir, "comm", maxFile), []byte("\n"))
	if !bytes.Equal(name, nameOf(&id)) {
		d.Exe, d.CommandLine = "", ""
	}
	return d
}

// nameOf is its name: a longer one before may have left its end.
func nameOf(id *ID) []byte {
	name, _, _ := bytes.Cut(id.Comm[:], []byte{0})
	return name
}

// startOf is when a process that is there started, in ID's units.
func startOf(proc string, pid int) (start uint32, ok bool) {
	stat, err := os.ReadFile(proc + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	_, start, ok = parseStat(stat)
	return start, ok
}

// readFile reads at most that much of a file; nil where it cannot.
func readFile(dir int, name string, most int) []byte {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)))
	if err != nil {
		return nil
	}
	return b
}

func readLink(dir int, name string) string {
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, name, b[:])
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// commandLine joins arguments that end in NUL. A process may have put anything else there.
func commandLine(b []byte) string {
	long := len(b) > MaxCommandLine
	if long {
		b = b[:MaxCommandLine]
	}
	b = bytes.TrimRight(b, "\x00")
	line := strings.ReplaceAll(string(b), "\x00", " ")
	if long {
		line = strings.ToValidUTF8(line, "\uFFFD") + "…"
	}
	return line
}

// parseStat finds the 4th and the 22nd field of /proc/PID/stat, behind the name, which may hold anything.
func parseStat(b []byte) (parent, start uint32, ok bool) {
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const ppid, starttime = 4 - 3, 22 - 3 // the first behind the name is the 3rd
	if len(fields) <= starttime {
		return 0, 0, false
	}
	p, err1 := strconv.ParseUint(fields[ppid], 10, 32)
	s, err2 := strconv.ParseUint(fields[starttime], 10, 64)
	return uint32(p), uint32(s), err1 == nil && err2 == nil // the kernel's record has 32 bits of it
}

// innerPID is the last of the numbers that a process has in one pid namespace inside another.
func innerPID(status []byte) uint32 {
	_, rest, ok := bytes.Cut(status, []byte("\nNSpid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	numbers := strings.Fields(string(line))
	if !ok || len(numbers) < 2 {
		return 0
	}
	pid, _ := strconv.ParseUint(numbers[len(numbers)-1], 10, 32)
	return uint32(pid)
}

// containerInFile reads /proc/PID/cgroup. It takes the first of the cgroups that shows one: version 2's, which is the last line, or any of
// version 1's.
func containerInFile(cgroup []byte) (c Container) {
	lines := strings.Split(strings.TrimSuffix(string(cgroup), "\n"), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		// hierarchy:controllers:path
		if parts := strings.SplitN(lines[i], ":", 3); len(parts) == 3 {
			if c = containerInPath(parts[2]); c != (Container{}) {
				return c
			}
		}
	}
	return c
}
