package main

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"

	"tcptrace/process"
	"tcptrace/tracer"
)

// checkProcesses reads the filters by process.
func checkProcesses(raw *rawFlags) (p tracer.Processes, err error) {
	for _, s := range raw.pids {
		pid, err := parsePID(s)
		if err != nil {
			return p, err
		}
		p.PIDs = append(p.PIDs, pid)
	}
	for _, s := range raw.uids {
		uid, err := parseUID(s)
		if err != nil {
			return p, err
		}
		p.UIDs = append(p.UIDs, uid)
	}
	for _, s := range raw.comms {
		switch {
		case s == "":
			return p, usagef("--comm: an empty name")
		case len(s) > tracer.MaxComm:
			return p, usagef("--comm %s: the kernel keeps %d bytes of a name: give %q", s, tracer.MaxComm, s[:tracer.MaxComm])
		}
		p.Comms = append(p.Comms, s)
	}
	cgroups := process.NewCgroups()
	for _, s := range raw.cgroups {
		id, err := cgroups.ID(s)
		if err != nil {
			return p, usagef("--cgroup %s: %w", s, err)
		}
		p.Cgroups = append(p.Cgroups, id)
	}
	for _, s := range raw.containers {
		if strings.Trim(s, "0123456789abcdef-") != "" || s == "" {
			return p, usagef("--container %s: not a container's ID or what one begins with (hexadecimal digits); names are not known to the kernel", s)
		}
		id, err := cgroups.Container(s)
		if err != nil {
			return p, usagef("--container %s: %w", s, err)
		}
		p.Cgroups = append(p.Cgroups, id)
	}
	for _, many := range []struct {
		flag    string
		n, most int
	}{
		{"-p", len(p.PIDs), tracer.MaxPIDs}, {"-u", len(p.UIDs), tracer.MaxUIDs},
		{"--comm", len(p.Comms), tracer.MaxComms}, {"--cgroup and --container", len(p.Cgroups), tracer.MaxCgroups},
	} {
		if many.n > many.most {
			return p, usagef("%s: %d, at most %d", many.flag, many.n, many.most)
		}
	}
	if p.FollowForks = raw.follow; p.FollowForks && len(p.PIDs) == 0 {
		return p, usagef("-f follows the children of the processes that -p names: give -p PID")
	}
	return p, nil
}

// parsePID takes a process, not one of its threads.
func parsePID(s string) (uint32, error) {
	pid, err := strconv.ParseUint(s, 10, 31)
	if err != nil || pid == 0 {
		return 0, usagef("-p %s: not a process id (a number from 1)", s)
	}
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(pid, 10) + "/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0, usagef("-p %s: there is no such process", s)
	}
	// /proc has threads too, though it does not list them.
	if _, rest, ok := strings.Cut(string(status), "\nTgid:\t"); ok {
		if tgid, _, _ := strings.Cut(rest, "\n"); tgid != strconv.FormatUint(pid, 10) {
			return 0, usagef("-p %s: a thread of process %s: give that", s, tgid)
		}
	}
	return uint32(pid), nil
}

func parseUID(s string) (uint32, error) {
	if uid, err := strconv.ParseUint(s, 10, 32); err == nil && uid != 1<<32-1 { // which is nobody's: (uid_t)-1
		return uint32(uid), nil
	}
	u, err := user.Lookup(s)
	if err != nil {
		return 0, usagef("-u %s: neither a user id nor a user of this host", s)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, usagef("-u %s: its user id %q is not a number", s, u.Uid)
	}
	return uint32(uid), nil
}
