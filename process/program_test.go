package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgramOf: what is foretold of a program, and of a script, is what the kernel then says of it.
func TestProgramOf(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	link := filepath.Join(dir, "a-name-of-more-than-15-bytes")
	if err := os.Symlink(sleep, link); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"script":   "#! /bin/sh -e  \nread wait\n",
		"indirect": "#!./script  one two\t three\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, argv := range [][]string{
		{sleep, "60"},
		{link, "60"},
		{"./script"},
		{"./script", "a", "\xff", ""},
		{"./indirect", "a"},
	} {
		p, ok := ProgramOf(argv[0], append([]string{"argv0"}, argv[1:]...))
		if !ok {
			t.Errorf("%q: not known", argv)
			continue
		}
		cmd := &exec.Cmd{Path: argv[0], Args: append([]string{"argv0"}, argv[1:]...)}
		hold, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		start, _ := startOf("/proc", cmd.Process.Pid)
		var got *Details
		deadline := time.Now().Add(time.Minute)
		for (got == nil || got.CommandLine == "") && time.Now().Before(deadline) { // in exec it has no arguments for a moment
			got = read("/proc", ID{PID: uint32(cmd.Process.Pid), Start: start, Comm: p.Comm})
		}
		if got == nil || got.Exe != p.Exe || got.CommandLine != p.CommandLine {
			t.Errorf("%q: %+v is foretold, it is %+v", argv, p, got)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = hold.Close()
	}
}

// TestProgramNotSure: nothing is foretold where somebody else decides what runs.
func TestProgramNotSure(t *testing.T) {
	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	foreign := []byte(string(self[:unix.Getpagesize()]))
	foreign[18] ^= 0xff // e_machine
	for name, content := range map[string]string{
		"foreign": string(foreign), "text": "echo\n", "empty": "", "nothing": "#!\n", "long": "#!/bin/sh " + strings.Repeat("x", 300) + "\n",
		"lost": "#!/no/such/interpreter\n", "itself": "#!" + dir + "/itself\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		if p, ok := ProgramOf(path, []string{"x"}); ok {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p, ok := ProgramOf(filepath.Join(dir, "absent"), []string{"x"}); ok {
		t.Errorf("%+v", p)
	}
}

// TestStarted: of a process that this one started, what was known before is told where /proc was asked too late, and of no
// other process or program.
func TestStarted(t *testing.T) {
	self := os.Getpid()
	start, ok := startOf("/proc", self)
	if !ok {
		t.Skip("no /proc")
	}
	its := id(uint32(self), start, "curl")
	r := &Reader{cgroups: &Cgroups{}, ask: make(chan ID), known: map[ID]*Details{}, containers: map[string]Container{}}
	r.Known(self, &Program{its.Comm, "/usr/bin/curl", "curl -s x"})
	whole := Details{ParentPID: uint32(self), Exe: "/usr/bin/curl", CommandLine: "curl -s x"}
	read := Details{ParentPID: 1, Exe: "/opt/curl", CommandLine: "other"}
	for _, c := range []struct {
		name string
		id   ID
		proc *Details
		want Details
	}{
		{"gone", its, nil, whole},
		{"with the rest of a longer name", id(its.PID, its.Start, "curl\x00iting)"), nil, whole},
		{"a zombie, or another program by now", its, &Details{ParentPID: 1, InnerPID: 3}, Details{ParentPID: uint32(self), InnerPID: 3, Exe: whole.Exe, CommandLine: whole.CommandLine}},
		{"one that wrote over its arguments", its, &Details{Exe: whole.Exe}, Details{Exe: whole.Exe}},
		{"another program of the same name", its, &read, read},
		{"not that program yet, or no more", id(its.PID, its.Start, "sh"), nil, Details{}},
		{"another process of the same number", id(its.PID, its.Start+1, "curl"), nil, Details{}},
		{"its child", id(its.PID+1, its.Start, "curl"), nil, Details{}},
	} {
		clear(r.known)
		if c.proc != nil {
			r.known[c.id] = c.proc
		}
		if got := r.Details(c.id, 0); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	none := &Reader{cgroups: &Cgroups{}, containers: map[string]Container{}}
	none.Known(self, &Program{its.Comm, "/usr/bin/curl", "curl -s x"})
	if got := none.Details(its, 0); got != (Details{}) {
		t.Errorf("where /proc has other numbers than the events: %+v", got)
	}
}
