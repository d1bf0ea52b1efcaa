package main

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tcptrace/finding"
	"tcptrace/output"
	"tcptrace/timeline"
	"tcptrace/tracer"
)

// options are what the command line says, checked.
type options struct {
	filter      tracer.Filter
	allSegments bool
	ringSize    int
	attach      tracer.Kind // "" is auto
	btf         string

	format     string
	orLive     bool // or the live view, on a terminal
	wide       bool
	absolute   bool
	screen     screen // what the output is shown on; the zero value is a file
	outputFile string // "": standard output
	timeColumn output.TimeColumn
	quiet      bool

	count     uint64
	duration  time.Duration
	linger    time.Duration
	timeWait  bool
	closeWait time.Duration
	selected  condition // which timelines are shown; nil: all
	failIf    condition // which make it fail; nil: none
	maxLive   int
	readyFile string
	// containerNames is the socket of a daemon that knows them, or anyDaemon; "": not asked.
	containerNames string
	record         string
	replay         string
	meta           string
	command        []string // to start and to trace; none: everything is traced

	check         bool
	completion    string // shell
	man           bool
	help, version bool
}

const usage = `Usage: tcptrace [flags] [-- command args…]

Shows each TCP connection's handshake and teardown as it happens in the kernel:
every state change and every SYN, SYN-ACK, ACK, FIN and RST, in order, per
socket, with the process that owns it. Needs root, or CAP_BPF and CAP_PERFMON.
With a command, starts it as the user who called sudo, and shows its connections
and those of its children, when it has ended (with -O, as they happen).

`

const examples = `
Examples:
  tcptrace                         on a terminal: what is open, failed or stuck now
  tcptrace -o text -P 443          each step of connections from or to port 443
  tcptrace -- curl -s example.com  those of a command and its children
  tcptrace -p 1234 -T              those of process 1234, with the time of day
  tcptrace -D 5432 -a 10.0.0.0/8   to PostgreSQL servers in 10.0.0.0/8
  tcptrace -N /run/netns/blue      in one network namespace
  tcptrace --failed --reset        only what went wrong, told when it is over
  tcptrace --explain -p 1234       in prose, step by step
  tcptrace -o ladder -P 443        as textbooks draw it
  tcptrace -o html -O report.html  a page about all connections, on Ctrl-C
  tcptrace -P 443 --duration 1m --fail-if 'failed|handshake>50ms'
  tcptrace --check                 what this kernel can show, and why not more
  tcptrace -j --duration 10s | jq 'select(.handshake.outcome == "refused")'

Exit status: 0 traced (--check: could trace), 1 failed, 2 wrong usage, 3 a connection matched --fail-if.
Of a command: its own, 128+N where signal N ended it, 127 where there is none, 126 where it cannot be run.
`

// usageError is a mistake in the command line: exit status 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// rawFlags are flags whose words are not checked yet.
type rawFlags struct {
	pids, ports, localPorts, remotePorts, addresses, netns list
	uids, comms, cgroups, containers                       list
	follow                                                 bool
	v4, v6, json, explain, seconds, timeOfDay              bool
	format, segments, attach, ringSize, failIf             string
	failed, reset, retransmits                             bool
	states                                                 list
	minHandshake                                           time.Duration
}

func flagSet(o *options, raw *rawFlags) *pflag.FlagSet {
	f := pflag.NewFlagSet("tcptrace", pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {}
	f.SetOutput(io.Discard)

	f.VarP(&raw.pids, "pid", "p", "only sockets of these processes (`PID`,…)")
	f.BoolVarP(&raw.follow, "follow-forks", "f", false, "with -p, of their children too, and of theirs")
	f.VarP(&raw.uids, "uid", "u", "only sockets of processes of these users (`USER`: id or name)")
	f.Var(&raw.comms, "comm", "only sockets of processes with this `NAME`, as ps -o comm has it")
	f.Var(&raw.cgroups, "cgroup", "only sockets of processes in this cgroup v2 or below it (`PATH`: /system.slice/nginx.service)")
	f.Var(&raw.containers, "container", "only sockets of processes in the container whose `ID` begins so")
	f.VarP(&raw.ports, "port", "P", "only with these ports on either side (`PORTS`: 80,443,8000-8100)")
	f.VarP(&raw.localPorts, "local-port", "L", "only with these local `PORTS`")
	f.VarP(&raw.remotePorts, "remote-port", "D", "only with these remote `PORTS`")
	f.VarP(&raw.addresses, "addr", "a", "only with this address or CIDR `PREFIX` on either side")
	f.BoolVarP(&raw.v4, "ipv4", "4", false, "only IPv4 on the wire, IPv4-mapped sockets included")
	f.BoolVarP(&raw.v6, "ipv6", "6", false, "only IPv6 on the wire")
	f.VarP(&raw.netns, "netns", "N", "only in this network `NAMESPACE`: inode number, or path such as /run/netns/blue")
	f.StringVar(&raw.segments, "segments", "control", "`WHICH` segments to show: control (of handshake and teardown) or all")

	f.BoolVar(&raw.failed, "failed", false, "only connections that were never established, and half-open ones that sent a part again")
	f.BoolVar(&raw.reset, "reset", false, "only those that an RST ended; of --failed, --reset, --retransmits any will do")
	f.BoolVar(&raw.retransmits, "retransmits", false, "only those with segments that were sent again")
	f.Var(&raw.states, "state", "only those whose last state is one of these `STATES`: CLOSE_WAIT,FIN_WAIT2")
	f.DurationVar(&raw.minHandshake, "min-handshake", 0, "only those whose handshake took this `TIME` or more, such as 10ms")
	f.StringVar(&raw.failIf, "fail-if", "", "exit with status 3 if a connection is `WHAT`: 'failed|reset|retransmits|handshake>50ms'")

	f.StringVarP(&raw.format, "output", "o", "", "`FORMAT` of the output: "+formatNames()+"; default: live on a terminal, else text")
	f.StringVarP(&o.outputFile, "output-file", "O", "", "write to `FILE` instead of standard output, which a command may use")
	f.BoolVarP(&raw.json, "json", "j", false, "short for -o json")
	f.BoolVar(&raw.explain, "explain", false, "short for -o explain")
	f.BoolVarP(&raw.seconds, "timestamp", "t", false, "column of seconds since the first event")
	f.BoolVarP(&raw.timeOfDay, "time", "T", false, "column of the time of day, HH:MM:SS")
	f.BoolVarP(&o.wide, "wide", "w", false, "show all there is, in more than 80 columns")
	f.BoolVar(&o.absolute, "absolute", false, "ladders: sequence numbers as on the wire, not relative to the initial ones")
	f.StringVar(&o.containerNames, "container-names", "", "tell containers' and pods' names: ask Docker or Podman, where it usually is or, with =`SOCKET`, there")
	f.Lookup("container-names").NoOptDefVal = anyDaemon
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no start message and no summary; losses are still reported")

	f.Uint64VarP(&o.count, "count", "c", 0, "stop when `N` connections have been written; those still open are written too")
	f.DurationVar(&o.duration, "duration", 0, "stop after this `TIME`, such as 10s")
	f.DurationVar(&o.linger, "linger", time.Second, "write a connection this `TIME` after it entered TIME_WAIT")
	f.BoolVar(&o.timeWait, "time-wait", false, "write it only when TIME_WAIT has ended")
	f.DurationVar(&o.closeWait, "close-wait", finding.DefaultCloseWait, "find fault with an application that stays in CLOSE_WAIT this `TIME`")
	f.IntVar(&o.maxLive, "max-timelines", timeline.DefaultMaxLive, "keep at most `N` connections in memory")

	f.BoolVar(&o.check, "check", false, "say what this kernel can show, by which hooks, and end")
	f.StringVar(&raw.attach, "attach", "auto", "`HOW` to attach: auto, fentry, kprobe or tracepoint")
	f.StringVar(&o.btf, "btf", "", "`FILE` with the running kernel's types, for a kernel without BTF: vmlinux or raw BTF")
	f.StringVar(&raw.ringSize, "ring-size", "16M", "`SIZE` of the ring buffers between kernel and tcptrace, together: a power of two, such as 64M")
	f.StringVar(&o.readyFile, "ready-file", "", "create `FILE` when all hooks are attached")
	f.StringVar(&o.meta, "meta", "", "write what the run was to `FILE`, as JSON: version, filters, hooks, totals")
	f.StringVar(&o.record, "record", "", "write the kernel's events to `FILE` as well")
	f.StringVar(&o.replay, "replay", "", "show the events of a recorded `FILE`; needs no root")

	f.StringVar(&o.completion, "completion", "", "print the completion script for a `SHELL`: "+strings.Join(shells, ", "))
	f.BoolVar(&o.man, "man", false, "print the man page, as roff")
	f.BoolVarP(&o.version, "version", "V", false, "print the version")
	f.BoolVarP(&o.help, "help", "h", false, "print this help")
	return f
}

func formatNames() string {
	names := []string{liveFormat}
	for _, f := range output.Formats {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// parseOptions reads the command line. Its errors are usageErrors.
func parseOptions(args []string) (*options, error) {
	o, raw := &options{}, &rawFlags{}
	f := flagSet(o, raw)
	if err := parseFlags(f, args); err != nil {
		return nil, err
	}
	if o.help || o.version || o.man {
		return o, nil
	}
	if f.Changed("completion") {
		if !slices.Contains(shells, o.completion) {
			return nil, usagef("--completion %s: not one of %s", o.completion, strings.Join(shells, ", "))
		}
		return o, nil
	}
	var err error
	if o.selected, err = raw.selection(); err != nil {
		return nil, err
	}
	if f.Changed("fail-if") {
		if o.failIf, err = parseFailIf(raw.failIf); err != nil {
			return nil, err
		}
	}
	if f.NArg() > 0 {
		if f.ArgsLenAtDash() != 0 {
			return nil, usagef("unexpected argument %q: filters are flags, such as -P 443 or -p 1234; a command to trace comes after --", f.Arg(0))
		}
		o.command = f.Args()
		if err := o.checkCommand(raw); err != nil {
			return nil, err
		}
	} else if f.ArgsLenAtDash() == 0 {
		return nil, usagef("no command after --: tcptrace -- curl -s example.com")
	}
	for _, short := range []struct {
		flag, format string
		given        bool
	}{{"-j", "json", raw.json}, {"--explain", "explain", raw.explain}} {
		if short.given && f.Changed("output") && raw.format != short.format {
			return nil, usagef("%s means -o %s, but -o says %s: give one of them", short.flag, short.format, raw.format)
		}
	}
	if raw.json && raw.explain {
		return nil, usagef("-j and --explain exclude each other: give one of them")
	}
	return o, errors.Join(o.checkFilter(raw), o.checkOutput(raw), o.checkLimits(f, raw), o.checkFiles())
}

func (o *options) checkFilter(raw *rawFlags) (err error) {
	t := &o.filter
	if t.Ports, err = parsePorts("-P", raw.ports); err != nil {
		return err
	}
	if t.LocalPorts, err = parsePorts("-L", raw.localPorts); err != nil {
		return err
	}
	if t.RemotePorts, err = parsePorts("-D", raw.remotePorts); err != nil {
		return err
	}
	if t.Processes, err = checkProcesses(raw); err != nil {
		return err
	}
	for _, s := range raw.addresses {
		prefix, err := parsePrefix(s)
		if err != nil {
			return usagef("-a %s: neither an address nor a prefix such as 10.0.0.0/8 or fd00::/64", s)
		}
		t.Addresses = append(t.Addresses, prefix)
	}
	if len(t.Addresses) > tracer.MaxAddresses {
		return usagef("-a: %d prefixes, at most %d", len(t.Addresses), tracer.MaxAddresses)
	}
	for _, s := range raw.netns {
		inode, err := parseNetns(s)
		if err != nil {
			return usagef("-N %s: neither the inode number nor the path of a network namespace (see `lsns -t net`, /run/netns, /proc/PID/ns/net): %w", s, err)
		}
		t.Netns = append(t.Netns, inode)
	}
	if len(t.Netns) > tracer.MaxNetns {
		return usagef("-N: %d namespaces, at most %d", len(t.Netns), tracer.MaxNetns)
	}
	switch {
	case raw.v4 && raw.v6:
		return usagef("-4 and -6 exclude each other; without either both are shown")
	case raw.v4:
		t.Family = 4
	case raw.v6:
		t.Family = 6
	}
	return nil
}

func (o *options) checkOutput(raw *rawFlags) error {
	o.format = raw.format
	lines := raw.seconds || raw.timeOfDay || o.wide || o.selected != nil || o.replay != "" || o.outputFile != "" ||
		len(o.command) > 0 // these ask for lines; a command has the terminal for itself
	switch {
	case raw.json:
		o.format = "json"
	case raw.explain:
		o.format = "explain"
	case raw.format == "":
		o.format, o.orLive = "text", !lines && !o.check
	case raw.format == liveFormat && lines:
		return usagef("-o live shows what is open now: leave out -O, -t, -T, -w, --replay, a command, and --failed, --state and the like (in the view, / and f choose)")
	}
	if o.format != liveFormat && !slices.ContainsFunc(output.Formats, func(f output.Format) bool { return f.Name == o.format }) {
		return usagef("-o %s: no such format; there are: %s", o.format, formatNames())
	}
	switch raw.segments {
	case "control":
	case "all":
		o.allSegments = true
	default:
		return usagef("--segments %s: not one of control, all", raw.segments)
	}
	if raw.seconds {
		o.timeColumn |= output.TimeSeconds
	}
	if raw.timeOfDay {
		o.timeColumn |= output.TimeOfDay
	}
	return nil
}

func (o *options) checkLimits(f *pflag.FlagSet, raw *rawFlags) (err error) {
	switch kind := tracer.Kind(raw.attach); kind {
	case "auto":
	case tracer.Fentry, tracer.Kprobe, tracer.Tracepoint:
		o.attach = kind
	default:
		return usagef("--attach %s: not one of auto, fentry, kprobe, tracepoint", raw.attach)
	}
	if o.ringSize, err = parseSize(raw.ringSize); err != nil {
		return usagef("--ring-size %s: %w", raw.ringSize, err)
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"duration", o.duration}, {"linger", o.linger}, {"close-wait", o.closeWait}, {"min-handshake", raw.minHandshake}} {
		if d.value < 0 || d.flag != "linger" && f.Changed(d.flag) && d.value == 0 {
			return usagef("--%s %s: not a positive time", d.flag, d.value)
		}
	}
	if f.Changed("count") && o.count == 0 {
		return usagef("-c 0: not a number from 1")
	}
	if o.maxLive < 1 || o.maxLive > 1<<22 {
		return usagef("--max-timelines %d: not a number from 1 to %d", o.maxLive, 1<<22)
	}
	if o.containerNames != "" && (o.replay != "" || o.check) {
		return usagef("--container-names is for what is traced now: leave out --replay and --check")
	}
	if f.Changed("container-names") && o.containerNames == "" {
		return usagef("--container-names: no socket: --container-names=/var/run/docker.sock, or without =")
	}
	if o.replay != "" {
		if err := replayExcludes(f); err != nil {
			return err
		}
	}
	if o.replay != "" && o.record != "" {
		return usagef("--replay and --record exclude each other: a recording would only be copied")
	}
	if o.replay != "" && o.meta != "" {
		return usagef("--replay and --meta exclude each other: a recording is not of this kernel")
	}
	if o.check && o.outputFile != "" {
		return usagef("--check and -O exclude each other: tcptrace --check > %s", o.outputFile)
	}
	if o.check && o.format != "text" && o.format != "json" {
		return usagef("--check -o %s: --check writes text or json", o.format)
	}
	if o.check && (o.replay != "" || o.record != "" || o.meta != "" || o.readyFile != "") {
		return usagef("--check traces nothing: leave out --replay, --record, --meta and --ready-file")
	}
	return nil
}

func parsePorts(flag string, words []string) (ranges []tracer.PortRange, err error) {
	for _, word := range words {
		from, to, isRange := strings.Cut(word, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || first == 0 || first > last {
			return nil, usagef("%s %s: neither a port (1 to 65535) nor a range such as 8000-8100", flag, word)
		}
		ranges = append(ranges, tracer.PortRange{First: uint16(first), Last: uint16(last)})
	}
	return ranges, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && !strings.Contains(addr.Zone(), "/") {
		addr = addr.Unmap().WithZone("")
		return addr.Prefix(addr.BitLen())
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return prefix, err
	}
	if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= 96 {
		return a.Unmap().Prefix(prefix.Bits() - 96)
	}
	return prefix.Masked(), nil
}

// leastNetns: the kernel gives its namespaces higher numbers (PROC_DYNAMIC_FIRST, and some just below for the initial ones).
const leastNetns = 0xe0000000

func parseNetns(s string) (uint32, error) {
	if inode, err := strconv.ParseUint(s, 10, 32); err == nil {
		if inode < leastNetns {
			return 0, errors.New("namespaces have higher inode numbers, such as 4026531840")
		}
		return uint32(inode), nil
	}
	return tracer.NetnsInode(s)
}

// parseSize reads a number of bytes with an optional K, M or G.
func parseSize(s string) (int, error) {
	digits, shift := s, 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMG", s[n-1]&^0x20); i >= 0 {
			digits, shift = s[:n-1], 10*(i+1)
		}
	}
	const most = 1 << 30
	n, err := strconv.ParseUint(digits, 10, 31)
	switch page := os.Getpagesize(); {
	case err != nil, n<<shift > most, n<<shift < uint64(page), bits.OnesCount64(n) != 1:
		return 0, fmt.Errorf("not a power of two from %d to 1G", page)
	}
	return int(n << shift), nil
}
