package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/output"
	"tcptrace/tracer"
)

func port(first, last uint16) tracer.PortRange { return tracer.PortRange{First: first, Last: last} }

func TestOptions(t *testing.T) {
	self := uint32(os.Getpid())
	for _, c := range []struct {
		args string
		want func(o *options)
	}{
		{"", func(*options) {}},
		{"-P 80,443,8000-8100 -P 1", func(o *options) {
			o.filter.Ports = []tracer.PortRange{port(80, 80), port(443, 443), port(8000, 8100), port(1, 1)}
		}},
		{"-L 22 -D 1-65535", func(o *options) {
			o.filter.LocalPorts = []tracer.PortRange{port(22, 22)}
			o.filter.RemotePorts = []tracer.PortRange{port(1, 65535)}
		}},
		{fmt.Sprintf("-p %d", self), func(o *options) { o.filter.PIDs = []uint32{self} }},
		{"-a 10.0.0.1,10.1.2.3/8 -a fd00::/64 -a ::ffff:192.0.2.1", func(o *options) {
			for _, p := range []string{"10.0.0.1/32", "10.0.0.0/8", "fd00::/64", "192.0.2.1/32"} {
				o.filter.Addresses = append(o.filter.Addresses, netip.MustParsePrefix(p))
			}
		}},
		{`--comm "a,b",c`, func(o *options) { o.filter.Processes.Comms = []string{"a,b", "c"} }},
		{"-a fe80::1%eth0", func(o *options) { o.filter.Addresses = []netip.Prefix{netip.MustParsePrefix("fe80::1/128")} }},
		{"-4", func(o *options) { o.filter.Family = 4 }},
		{"-6 -N 4026531840", func(o *options) { o.filter.Family, o.filter.Netns = 6, []uint32{4026531840} }},
		{"-j -tT", func(o *options) { o.format, o.timeColumn = "json", output.TimeSeconds|output.TimeOfDay }},
		{"--explain", func(o *options) { o.format = "explain" }},
		{"--container-names", func(o *options) { o.containerNames = anyDaemon }},
		{"--container-names=/d.sock -j", func(o *options) { o.containerNames, o.format = "/d.sock", "json" }},
		{"--close-wait 3s", func(o *options) { o.closeWait = 3 * time.Second }},
		{"-o json", func(o *options) { o.format = "json" }},
		{"-w -q --segments all", func(o *options) { o.wide, o.quiet, o.allSegments = true, true, true }},
		{"-c 5 --duration 1m --linger 0s --time-wait", func(o *options) {
			o.count, o.duration, o.linger, o.timeWait = 5, time.Minute, 0, true
		}},
		{"--ring-size 64K --max-timelines 7 --attach tracepoint", func(o *options) {
			o.ringSize, o.maxLive, o.attach = 64<<10, 7, tracer.Tracepoint
		}},
		{"--check --attach kprobe --btf f", func(o *options) { o.check, o.attach, o.btf = true, tracer.Kprobe, "f" }},
		{"--ready-file r --record f --meta m", func(o *options) { o.readyFile, o.record, o.meta = "r", "f", "m" }},
	} {
		want := &options{ringSize: 16 << 20, format: "text", linger: time.Second, closeWait: 10 * time.Second, maxLive: 65536}
		c.want(want)
		got, err := parseOptions(strings.Fields(c.args))
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		got.orLive = false // TestWhenLive has this
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.args, got, want)
		}
	}
}

// TestListOfLines: each line counts of what pgrep and the like print.
func TestListOfLines(t *testing.T) {
	got, err := parseOptions([]string{"-P", "80\n81,82\n"})
	want := []tracer.PortRange{port(80, 80), port(81, 81), port(82, 82)}
	if err != nil || !slices.Equal(got.filter.Ports, want) {
		t.Errorf("%v, %v, want %v", got.filter.Ports, err, want)
	}
}

// thread is one of this process's that is not its first.
func thread(t *testing.T) int {
	t.Helper()
	tid := make(chan int)
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	for range 2 { // one of them is not on the first
		go func() {
			runtime.LockOSThread()
			tid <- unix.Gettid()
			<-end
		}()
	}
	for range 2 {
		if id := <-tid; id != os.Getpid() {
			go func() { <-tid }()
			return id
		}
	}
	t.Fatal("no second thread")
	return 0
}

// TestWrongUsage: each mistake ends with status 2, in one line that names it, before anything is touched.
func TestWrongUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--nonsense", "--nonsense"},
		{"-P 0", "-P 0: neither a port"},
		{"-P 65536", "-P 65536: neither a port"},
		{"-P 80-", "-P 80-: neither a port"},
		{"-L 100-90", "-L 100-90: neither a port"},
		{"-D http", "-D http: neither a port"},
		{"-p 0", "-p 0: not a process id"},
		{"-p -5", "-p -5: not a process id"},
		{"-p 4194305", "-p 4194305: there is no such process"},
		{"-a 10.0.0", "-a 10.0.0: neither an address"},
		{"-a 10.0.0.0/33", "-a 10.0.0.0/33: neither an address"},
		{"-a fe80::1%eth0/64", "-a fe80::1%eth0/64: neither an address"},
		{"-N /etc/passwd", "-N /etc/passwd: neither the inode number nor the path"},
		{"-N /proc/self/ns/mnt", "/proc/self/ns/mnt is a namespace of another kind"},
		{"-N 0", "-N 0: neither the inode number"},
		{"-N 5", "namespaces have higher inode numbers"},
		{"-u 4294967295", "-u 4294967295: neither a user id"},
		{"-4 -6", "-4 and -6 exclude each other"},
		{"-o xml", "-o xml: no such format; there are: live, text, json, explain"},
		{"-j -o text", "-j means -o json, but -o says text"},
		{"--segments data", "--segments data: not one of control, all"},
		{"--ring-size 3M", "--ring-size 3M: not a power of two"},
		{"--ring-size 2G", "--ring-size 2G: not a power of two"},
		{"--ring-size 0", "--ring-size 0: not a power of two"},
		{"--ring-size big", "--ring-size big: not a power of two"},
		{"--duration 0s", "--duration 0s: not a positive time"},
		{"--duration soon", "--duration soon: not a time such as"},
		{"--duration 10", "--duration 10: not a time such as 250ms, 10s"},
		{"--close-wait 0s", "--close-wait 0s: not a positive time"},
		{"--linger -1s", "--linger -1s: not a positive time"},
		{"--fail-if slow", `--fail-if: "slow" is not known; there are: failed, reset`},
		{"--fail-if failed|", `--fail-if: "" is not known`},
		{"--fail-if failed||reset", `--fail-if: "" is not known`},
		{"--fail-if handshake>soon", `--fail-if: "soon" is not a time such as 50ms`},
		{"--fail-if handshake<1s", `--fail-if: "handshake<1s" is not known`},
		{"--fail-if state=OPEN", `--fail-if: "OPEN" is no state`},
		{"--fail-if finding=nothing", `--fail-if: there is no finding "nothing"`},
		{"--state CLOSED", "--state CLOSED: no such state; there are: ESTABLISHED"},
		{"--min-handshake 0s", "--min-handshake 0s: not a positive time"},
		{"--min-handshake 10", "--min-handshake 10: not a time such as"},
		{"--explain -o json", "--explain means -o explain, but -o says json"},
		{"--explain -j", "-j and --explain exclude each other"},
		{"-c 0", "-c 0: not a number from 1"},
		{"-c -1", "-c -1: not a number from 1"},
		{"--max-timelines many", "--max-timelines many: not a number"},
		{"--json=5", "-j=5: it is given without a value"},
		{"--port=", "-P: an empty value: give PORTS, or leave the flag out"},
		{"-P 80,,81", "-P 80,,81: an empty value"},
		{"--pid=", "-p: an empty value: give PID"},
		{"--netns=", "-N: an empty value"},
		{"--comm=", "--comm: an empty value"},
		{"--replay=", "--replay: an empty value: give FILE"},
		{"--output=", "-o: an empty value: give FORMAT"},
		{"--fail-if=", "--fail-if: an empty value"},
		{"--max-timelines 0", "--max-timelines 0: not a number from 1"},
		{"--attach magic", "--attach magic: not one of"},
		{"--replay a --record b", "--replay and --record exclude each other"},
		{"--replay a --meta b", "--replay and --meta exclude each other"},
		{"--replay a -P 80", "--replay shows all that was recorded: leave out -P"},
		{"--replay a --netns 4026531840", "--replay shows all that was recorded: leave out -N"},
		{"--replay a --duration 1s", "--replay traces nothing: leave out --duration"},
		{"--replay options.go -O ./options.go", "-O ./options.go: --replay has this file already"},
		{"--record none -O ./none", "--record none: -O has this file already"},
		{"--meta m --ready-file m", "--ready-file m: --meta has this file already"},
		{"--check --meta b", "--check traces nothing"},
		{"--check -o csv", "--check -o csv: --check writes text or json"},
		{"--check --explain", "--check -o explain: --check writes text or json"},
		{"--check --replay b", "--check traces nothing"},
		{"443", `unexpected argument "443"`},
		{"curl -- x", `unexpected argument "curl": filters are flags, such as -P 443 or -p 1234; a command to trace comes after --`},
		{"--", "no command after --"},
		{fmt.Sprintf("-p %d -- true", os.Getpid()), "-p and a command exclude each other"},
		{"--check -- true", "--check traces nothing: leave out the command"},
		{"--replay f -- true", "--replay starts nothing: leave out the command"},
		{"-f", "-f follows the children of the processes that -p names"},
		{fmt.Sprintf("-p %d", thread(t)), fmt.Sprintf("a thread of process %d: give that", os.Getpid())},
		{"-u no-such-user-here", "-u no-such-user-here: neither a user id nor a user of this host"},
		{"--comm a-name-of-17-byte", `--comm a-name-of-17-byte: the kernel keeps 15 bytes of a name: give "a-name-of-17-by"`},
		{"--cgroup /no/such", "--cgroup /no/such: "},
		{"--container-names=", "--container-names: no socket: "},
		{"--container-names --check", "--container-names is for what is traced now"},
		{"--container-names=/d.sock --replay f", "--container-names is for what is traced now"},
		{"--container web", "--container web: not a container's ID"},
		{"--container 0123456789", "--container 0123456789: "},
	} {
		var stdout, stderr bytes.Buffer
		status := command(context.Background(), strings.Fields(c.args), &stdout, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if status != exitUsage || stdout.Len() > 0 || len(lines) != 2 ||
			!strings.HasPrefix(lines[0], "tcptrace: ") || !strings.Contains(lines[0], c.want) {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %q", c.args, status, stdout.String(), stderr.String(), c.want)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--replay /nonexistent", "replay: open /nonexistent: no such file or directory"},
		{"--replay /dev/null", "line 1: not a recording of tcptrace"},
	} {
		var stdout, stderr bytes.Buffer
		status := command(context.Background(), strings.Fields(c.args), &stdout, &stderr)
		if status != exitFailure || !strings.Contains(stderr.String(), c.want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%s: status %d, stderr %q; want %q", c.args, status, stderr.String(), c.want)
		}
	}
}

// TestNotPrinted: what could not be written is a failure.
func TestNotPrinted(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range []string{"--help", "--version", "--man", "--completion bash"} {
		var stderr bytes.Buffer
		status := command(context.Background(), strings.Fields(args), full, &stderr)
		if status != exitFailure || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%s: status %d, %q", args, status, stderr.String())
		}
	}
}

func TestExplain(t *testing.T) {
	forbidden := fmt.Errorf("create maps: %w: detail", tracer.ErrPermission)
	refused := fmt.Errorf("%w: %w", tracer.ErrPermission, &tracer.AttachError{What: "segments sent", Refused: []tracer.Refusal{
		{Hook: tracer.Hook{Kind: tracer.Fentry, Symbol: "f"}, Why: "not here", Err: errors.New("x")}}})
	for _, c := range []struct {
		err     error
		missing []string
		want    string
	}{
		{forbidden, []string{"CAP_BPF", "CAP_PERFMON"}, "CAP_BPF and CAP_PERFMON are missing: use sudo, or give the program the rights once: sudo setcap cap_bpf,cap_perfmon+ep /"},
		{forbidden, []string{"CAP_PERFMON"}, "CAP_PERFMON is missing"},
		{forbidden, nil, "lockdown"},
		{refused, []string{"CAP_BPF"}, "CAP_BPF is missing"},
		{refused, nil, "cannot attach to segments sent: fentry f: not here"},
		{fmt.Errorf("%w: detail", tracer.ErrNoBTF), nil, "--btf FILE"},
		{fmt.Errorf("%w: file is no BTF", tracer.ErrBTFFile), nil, "BTF file: file is no BTF"},
		{fmt.Errorf("%w: detail", tracer.ErrMemlock), nil, "ulimit -l unlimited"},
		{fmt.Errorf("start: %w", &os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: unix.ENOENT}), nil, "mount -t proc proc /proc"},
		{fmt.Errorf("attach: %w", tracer.ErrNoBPF), nil, "CONFIG_BPF_SYSCALL=y"},
	} {
		got := explainWith(c.err, c.missing)
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%v, missing %v: %q, want %q in one line", c.err, c.missing, got, c.want)
		}
	}
}

func TestEnumerate(t *testing.T) {
	for _, c := range []struct{ words, want string }{{"", "nothing"}, {"a", "a"}, {"a b", "a and b"}, {"a b c", "a, b and c"}} {
		if got := enumerate(strings.Fields(c.words)); got != c.want {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
}

func TestSayStarted(t *testing.T) {
	told := func(name string, k tracer.Kind) tracer.Fact {
		return tracer.Fact{Name: name, Required: true, By: []tracer.Hook{{Kind: k, Symbol: "x"}}}
	}
	for _, c := range []struct {
		facts []tracer.Fact
		want  string
	}{
		{[]tracer.Fact{told("a", tracer.Tracepoint), {Name: "b", NoProgram: true}}, "tcptrace: tracing by tracepoints; Ctrl-C ends it\n"},
		{[]tracer.Fact{told("a", tracer.Fexit), told("b", tracer.Kprobe), {Name: "c"}, {Name: "d"}},
			"tcptrace: tracing by fentry and kprobes; Ctrl-C ends it\ntcptrace: this kernel does not show c and d: tcptrace --check says why\n"},
	} {
		var b bytes.Buffer
		if sayStarted(&b, tracer.Report{Facts: c.facts}, nil); b.String() != c.want {
			t.Errorf("%q, want %q", b.String(), c.want)
		}
	}
}

func TestReplay(t *testing.T) {
	status, stdout, _ := replayed("refused", "-j")
	if status != exitOK || strings.Count(stdout, `"outcome":"refused"`) != 2 {
		t.Errorf("status %d, stdout %q", status, stdout)
	}
}

func TestSummaryCounts(t *testing.T) {
	for recording, want := range map[string]string{"refused": "2 timelines, 0 lost", "self-connect": "16 events, 1 timeline, 0 lost"} {
		if _, _, stderr := replayed(recording, "-j"); !strings.Contains(stderr, want) {
			t.Errorf("%s: %q is not in %q", recording, want, stderr)
		}
	}
}

func TestHelpListsEveryFlag(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := command(context.Background(), []string{"-h"}, &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
	for _, want := range []string{"-p, --pid", "-P, --port", "-L, --local-port", "-D, --remote-port", "-a, --addr", "-4,", "-6,",
		"-N, --netns", "-o, --output", "-j, --json", "--segments", "-c, --count", "--duration", "-t,", "-T,", "-w, --wide",
		"--attach", "--ring-size", "-q, --quiet", "-V, --version", "-h, --help", "--ready-file", "--linger", "--time-wait",
		"--max-timelines", "--failed", "--reset", "--retransmits", "--state", "--min-handshake", "--fail-if", "--explain",
		"--close-wait", "--check", "--btf", "--meta", "Examples:"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("help lacks %q", want)
		}
	}
}
