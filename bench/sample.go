package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// samplePart is before the tool's name in the part that takes a sample.
const samplePart = "sample:"

// result is one sample.
type result struct {
	Connections uint64
	PerSecond   float64
	// Lost are the events that the tool says it lost.
	Lost uint64
	// CPU is the tool's time while it traced, user and system.
	CPU time.Duration
	// Output is how many bytes it wrote.
	Output int64
	// Timelines of the sample's namespace, of them Incomplete.
	Timelines, Incomplete uint64
	// Resets that the load sent: it is to send none.
	Resets uint64
	// BitsPerSecond that iperf3's server got, where that is the load.
	BitsPerSecond float64
}

// sample takes a sample and prints it in JSON. It is a process that was started in
// namespaces of its own, which end with it.
func sample(part string, s *settings) error {
	t := find(strings.TrimPrefix(part, samplePart))
	if t == nil {
		return fmt.Errorf("no part %q", part)
	}
	if err := enter(); err != nil {
		return err
	}
	stopServer, err := startServer(s)
	if err != nil {
		return err
	}
	defer stopServer()

	var r result
	if t.args == nil {
		err = load(s, &r)
	} else {
		err = traced(t, s, &r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// enter readies the namespaces: a loopback device that is up, ports enough, and
// tracefs for the tools that need it.
func enter() error {
	// Nothing that is mounted from here on is seen outside.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	const tracefs = "/sys/kernel/tracing"
	if _, err := os.Stat(tracefs + "/events"); err != nil {
		if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil {
			return fmt.Errorf("mount tracefs: %w", err)
		}
	}
	// bpftrace, tcpstates and tcplife look for it in its old place.
	const debugfs = "/sys/kernel/debug"
	if _, err := os.Stat(debugfs + "/tracing/events"); err != nil {
		_ = unix.Mount("debugfs", debugfs, "debugfs", 0, "") // they say so themselves if they needed it
	}
	for name, value := range map[string]string{
		"ip_local_port_range": "1024 65535",
		"tcp_max_tw_buckets":  "1000000", // never let TIME_WAIT be left out
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			return err
		}
	}
	return loopbackUp()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// diesWithParent leaves no load and no tracer behind, however a run ends.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// self is this program in another part.
func self(part string, s *settings) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-part", part,
		"-tcptrace", s.tcptrace,
		"-dir", s.dir,
		"-threads", strconv.Itoa(s.threads),
		"-sample", s.length.String(),
		"-bulk="+strconv.FormatBool(s.bulk),
		"-limit", strconv.FormatUint(s.limit, 10))
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1") // see unscheduled
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = diesWithParent()
	return cmd
}

func startServer(s *settings) (stop func(), err error) {
	cmd := self("serve", s)
	if s.bulk {
		cmd = iperfServer()
		cmd.SysProcAttr = diesWithParent()
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		return nil, fmt.Errorf("server: %w", err)
	}
	return stop, nil
}

// load runs the client.
func load(s *settings, r *result) error {
	if s.bulk {
		return stream(s, r)
	}
	before, err := snmp("Tcp", "OutRsts")
	if err != nil {
		return err
	}
	out, err := self("connect", s).Output()
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	var c churnResult
	if err := json.Unmarshal(out, &c); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	r.Connections = c.Connections
	r.PerSecond = float64(c.Connections) / time.Duration(c.Nanoseconds).Seconds()
	after, err := snmp("Tcp", "OutRsts")
	r.Resets = after - before
	return err
}

// snmp is a counter of this network namespace.
func snmp(group, name string) (uint64, error) {
	text, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == name {
				return strconv.ParseUint(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no counter %s of %s", name, group)
}

// traced runs the client while the tool traces.
func traced(t *tool, s *settings, r *result) (err error) {
	sink := os.NewFile(sinkFD, "sink")
	defer sink.Close()
	if _, err := sink.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(s.dir, readyFile)) // another sample's
	args := t.args(s)
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = sink, &stderr
	cmd.SysProcAttr = diesWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	abandon := func(err error) error {
		_ = cmd.Process.Kill()
		<-ended
		return fmt.Errorf("%w; it says: %s", err, stderr.String())
	}
	if err := waitReady(t, cmd.Process.Pid, s.dir, ended); err != nil {
		return abandon(err)
	}
	cpuBefore, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return abandon(err)
	}
	if err := load(s, r); err != nil {
		return abandon(err)
	}
	// What has happened, the tool is to have seen.
	time.Sleep(200 * time.Millisecond)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return abandon(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		return abandon(errors.New("does not end"))
	}
	r.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() - cpuBefore
	return account(t, stderr.Bytes(), sink, r)
}

// waitReady returns when the tool traces.
func waitReady(t *tool, pid int, dir string, ended chan error) error {
	const patience, step, rest = 20 * time.Second, 20 * time.Millisecond, 400 * time.Millisecond
	// On a host with connections of its own, a tool may never rest: this long after it
	// has loaded something, it is taken for ready.
	const settled = 3 * time.Second
	var last, resting, tracing time.Duration
	for waited := time.Duration(0); waited < patience; waited += step {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("ended at once: %w", err)
		case <-time.After(step):
		}
		if t.ready != "" {
			if _, err := os.Stat(filepath.Join(dir, t.ready)); err == nil {
				return nil
			}
			continue
		}
		now, err := cpuTime(pid)
		if err != nil {
			return err
		}
		if !traces(pid) {
			continue
		}
		tracing += step
		if resting += step; now != last {
			last, resting = now, 0
		}
		if resting >= rest || tracing >= settled {
			return nil
		}
	}
	return errors.New("is never ready")
}

// traces reports whether the process holds a BPF program or a packet socket.
func traces(pid int) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		link, _ := os.Readlink(fd)
		if strings.Contains(link, "bpf") || strings.Contains(link, "perf_event") || strings.HasPrefix(link, "socket:") {
			return true
		}
	}
	return false
}

// cpuTime is what the process has used so far, in the kernel's ticks.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// After the name in parentheses: state is field 3, utime 14, stime 15 (proc_pid_stat(5)).
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	const hz = 100 // USER_HZ, the same on all architectures that Go runs on
	return time.Duration(ticks) * time.Second / hz, nil
}

// account looks at what the tool wrote.
func account(t *tool, stderr []byte, sink *os.File, r *result) error {
	for _, m := range t.lost.FindAllSubmatch(stderr, -1) {
		n, err := strconv.ParseUint(string(m[1]), 10, 64)
		if err != nil {
			return err
		}
		r.Lost += n
	}
	// It wrote through a copy of the same open file: where that stands is how much it was.
	var err error
	if r.Output, err = sink.Seek(0, io.SeekCurrent); err != nil {
		return err
	}
	if r.Output == 0 {
		return fmt.Errorf("wrote nothing; it says: %s", stderr)
	}
	if !t.timelines {
		return nil
	}
	return countTimelines(io.NewSectionReader(sink, 0, r.Output), r)
}

// countTimelines counts those of this namespace: others may have connections too.
func countTimelines(output io.Reader, r *result) error {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &ns); err != nil {
		return err
	}
	for d := json.NewDecoder(bufio.NewReaderSize(output, 1<<20)); ; {
		var line struct {
			Schema   string
			Netns    uint64
			Complete bool
		}
		switch err := d.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("tcptrace's output: %w", err)
		}
		if line.Netns != ns.Ino || line.Schema != "tcptrace.timeline/1" {
			continue
		}
		r.Timelines++
		if !line.Complete {
			r.Incomplete++
		}
	}
}
