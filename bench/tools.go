package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
)

// tool is a tracer to compare.
type tool struct {
	// name is its row in the table.
	name string
	// args is its command line, nothing where no tracer runs. What it tells goes to
	// its standard output, which is memory.
	args func(s *settings) []string
	// ready is a file in s.dir that it creates when it traces; without one, it is
	// ready when it has loaded something into the kernel and rests.
	ready string
	// lost finds the numbers of lost events in what it prints; they are added up.
	lost *regexp.Regexp
	// timelines: its output is tcptrace's JSON, to be counted.
	timelines bool
}

const readyFile = "ready"

// baseline is measured twice in each round: the second tells what is mere noise.
const (
	baseline = "no tracer"
	control  = "no tracer, again"
)

// stateScript prints what tcpstates prints, from the same tracepoint.
const stateScript = `tracepoint:sock:inet_sock_set_state /args->protocol == 6/ {
	printf("%d %s %s %d %s %d %d %d\n", pid, comm, ntop(args->saddr), args->sport,
		ntop(args->daddr), args->dport, args->oldstate, args->newstate);
}`

var tools = []tool{
	{name: baseline},
	tcptraceRow("tcptrace -o json", "-o", "json"),
	tcptraceRow("tcptrace (text)"),
	{
		name: "tcpdump -w (all TCP)",
		args: tcpdump("tcp"),
		lost: tcpdumpLost,
	},
	{
		name: "tcpdump -w (SYN, FIN, RST)",
		args: tcpdump("tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0"),
		lost: tcpdumpLost,
	},
	{name: control},
	{
		name: "tcplife (libbpf-tools)",
		args: command("tcplife"),
		lost: regexp.MustCompile(`(?i)lost (\d+) events`),
	},
	{
		name: "tcpstates (libbpf-tools)",
		args: command("tcpstates"),
		lost: regexp.MustCompile(`(?i)lost (\d+) events`),
	},
	{
		name: "bpftrace, same tracepoint",
		args: command("bpftrace", "-e", stateScript),
		lost: regexp.MustCompile(`(?i)lost (\d+) events`),
	},
}

var tcpdumpLost = regexp.MustCompile(`(\d+) packets dropped by kernel`)

func tcptraceRow(name string, args ...string) tool {
	return tool{
		name: name,
		args: func(s *settings) []string {
			return append([]string{s.tcptrace, "--ready-file", filepath.Join(s.dir, readyFile)}, args...)
		},
		ready:     readyFile,
		lost:      regexp.MustCompile(`(\d+) lost`),
		timelines: len(args) > 0,
	}
}

func tcpdump(filter string) func(*settings) []string {
	return func(*settings) []string {
		return []string{"tcpdump", "-Z", "root", "-i", "lo", "-n", "-w", "-", filter}
	}
}

func command(args ...string) func(*settings) []string {
	return func(*settings) []string { return args }
}

// find is the tool of that name.
func find(name string) *tool {
	for i := range tools {
		if tools[i].name == name {
			return &tools[i]
		}
	}
	return nil
}

// installed reports whether the tool's program is there.
func (t *tool) installed(s *settings) bool {
	if t.args == nil {
		return true
	}
	_, err := exec.LookPath(t.args(s)[0])
	return err == nil
}
