package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// stat makes /proc/PID/stat of a process.
func stat(name string, parent, start int) string {
	return fmt.Sprintf("7 (%s) S %d 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %d 2 3\n", name, parent, start)
}

// fake is a /proc with one process, 7.
func fake(t *testing.T, files map[string]string) string {
	t.Helper()
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "7"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(proc, "7", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func id(pid, start uint32, comm string) ID {
	i := ID{PID: pid, Start: start}
	copy(i.Comm[:], comm)
	return i
}

func TestRead(t *testing.T) {
	files := map[string]string{
		"stat": stat("a) S 1 (b", 42, 4711), "comm": "a) S 1 (b\n", "cmdline": "web\x00-p\x0080\x00", "status": "Name:\tx\nNSpid:\t7\t1\nVm:\n",
		"cgroup": "12:memory:/docker/" + id1 + "\n1:name=systemd:/\n0::/\n",
	}
	whole := &Details{ParentPID: 42, InnerPID: 1, CommandLine: "web -p 80", Container: Container{ID: id1, Runtime: "docker"}}
	other := *whole
	other.CommandLine = ""
	for _, c := range []struct {
		name string
		id   ID
		want *Details
	}{
		{"it", id(7, 4711, "a) S 1 (b"), whole},
		{"with the rest of a longer name", id(7, 4711, "a) S 1 (b\x00gger"), whole},
		{"another program by now", id(7, 4711, "sh"), &other},
		{"another process of the same number", id(7, 4710, "a) S 1 (b"), nil},
		{"gone", id(8, 4711, "a) S 1 (b"), nil},
	} {
		if got := read(fake(t, files), c.id); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	for name, broken := range map[string]string{"empty": "", "no name": "7 S 1", "short": "7 (x) S 1", "words": stat("x", 1, 1) + ")"} {
		if got := read(fake(t, map[string]string{"stat": broken}), id(7, 1, "x")); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCommandLine(t *testing.T) {
	long := strings.Repeat("x", MaxCommandLine-1)
	for _, c := range []struct{ b, want string }{
		{"", ""},
		{"\x00\x00", ""},
		{"sshd: root@pts/0", "sshd: root@pts/0"},
		{"a\x00\x00b\x00", "a  b"},
		{long + "y", long + "y"},
		{long + "é\x00z", long + "\uFFFD…"},
	} {
		if got := commandLine([]byte(c.b[:min(len(c.b), MaxCommandLine+1)])); got != c.want {
			t.Errorf("%.20q…: %.20q…, %d bytes, want %d", c.b, got, len(got), len(c.want))
		}
	}
}

// TestReader: it learns of this process and of one that ends, and asks for none twice.
func TestReader(t *testing.T) {
	questions, ask := io.Pipe()
	answers, say := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve("/proc", questions, say) }()
	r := NewReader(answers, ask, &Cgroups{}, nil)

	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	// Between fork and exec it still bears this process's name, and in exec it has no arguments for a moment.
	child := ID{PID: uint32(sleep.Process.Pid)}
	deadline := time.Now().Add(time.Minute)
	var arguments []byte
	for (child.Comm != id(0, 0, "sleep").Comm || len(arguments) == 0) && time.Now().Before(deadline) {
		var err error
		if arguments, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child.PID)); err != nil {
			t.Fatal(err)
		}
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child.PID))
		if err != nil {
			t.Fatal(err)
		}
		child.Comm = id(0, 0, string(bytes.TrimSpace(comm))).Comm
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.PID))
	if err != nil {
		t.Fatal(err)
	}
	_, child.Start, _ = parseStat(b)
	r.See(child)
	r.See(child)
	r.Settle(time.Minute)
	_ = sleep.Process.Kill()
	_ = sleep.Wait()
	d := r.Details(child, 0)
	if d.ParentPID != uint32(os.Getpid()) || d.CommandLine != "sleep 60" || d.Exe == "" || d.InnerPID != 0 {
		t.Errorf("%+v", d)
	}
	late := child
	late.Start++
	r.See(late)
	r.See(ID{PID: child.PID}) // who started nobody knows when is nobody
	r.Settle(time.Minute)
	if d := r.Details(late, 0); d != (Details{}) {
		t.Errorf("of a process that is gone: %+v", d)
	}
	if r.total != 2 {
		t.Errorf("asked %d times, want 2", r.total)
	}
	r.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestReaderIsBounded: what is remembered of processes, however many there were.
func TestReaderIsBounded(t *testing.T) {
	questions, ask := io.Pipe()
	answers, say := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(t.TempDir(), questions, say) }()
	r := NewReader(answers, ask, &Cgroups{}, nil)
	const n = maxKnown + 100
	for pid := uint32(1); pid <= n; {
		before := r.total
		if r.See(id(pid, 1, "x")); r.total > before {
			pid++
		} else {
			r.Settle(time.Minute) // there were too many at once
		}
	}
	r.Settle(time.Minute)
	if len(r.asked) != maxKnown || len(r.order) != maxKnown || len(r.known) > maxKnown {
		t.Errorf("%d asked for, %d in order, %d known; want at most %d", len(r.asked), len(r.order), len(r.known), maxKnown)
	}
	r.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
