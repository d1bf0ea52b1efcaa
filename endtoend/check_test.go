package endtoend

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tcptrace/internal/lab"
	"tcptrace/internal/schema"
)

// checkReport is what tests read of --check -o json.
type checkReport struct {
	Schema   string  `json:"schema"`
	Possible bool    `json:"possible"`
	Error    *string `json:"error"`
	Attach   string  `json:"attach"`
	BTFFile  *string `json:"btf_file"`
	Kernel   struct {
		Release string `json:"release"`
		BTF     bool   `json:"btf"`
	} `json:"kernel"`
	Capabilities struct {
		Held, Missing []string
	} `json:"capabilities"`
	Facts []struct {
		Fact     string `json:"fact"`
		Required bool   `json:"required"`
		By       []struct{ Kind, Symbol string }
		Refused  []struct{ Kind, Symbol, Why, Error string }
		Absence  *string
	} `json:"facts"`
}

// output runs the command and returns its standard output, its standard error and its status.
func output(t *testing.T, command ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &err
	if failed := cmd.Run(); failed != nil {
		var exit *exec.ExitError
		if !errors.As(failed, &exit) {
			t.Fatal(failed)
		}
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// checkJSON runs --check -o json, by a command that starts it where one is given.
func checkJSON(t *testing.T, by []string, args ...string) (r checkReport, status int) {
	t.Helper()
	lab.Need(t)
	command := append(append(by[:len(by):len(by)], lab.Binary(t), "--check", "-o", "json"), args...)
	stdout, stderr, status := output(t, command...)
	if stderr != "" {
		t.Errorf("on standard error: %s", stderr)
	}
	if err := schema.ValidateReport([]byte(stdout)); err != nil {
		t.Errorf("not as the schema has it: %v\n%s", err, stdout)
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	if (status == 0) != r.Possible || status > 1 {
		t.Errorf("status %d, possible %v", status, r.Possible)
	}
	return r, status
}

func TestCheck(t *testing.T) {
	r, status := checkJSON(t, nil)
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "status", status, 0)
	equal(t, "schema", r.Schema, "tcptrace.check/1")
	equal(t, "release", r.Kernel.Release, strings.TrimSpace(string(release)))
	equal(t, "BTF", r.Kernel.BTF, true)
	equal(t, "capabilities", strings.Join(r.Capabilities.Held, " "), "CAP_BPF CAP_PERFMON")
	for _, f := range r.Facts {
		if f.Required && len(f.By) == 0 {
			t.Errorf("possible, but nothing tells %s", f.Fact)
		}
	}
	// The text says the same, in a terminal's width.
	text, _, status := output(t, lab.Binary(t), "--check")
	equal(t, "status of the text", status, 0)
	for line := range strings.Lines(text) {
		if len(line) > 81 {
			t.Errorf("longer than 80 columns: %q", line)
		}
	}
	joined := strings.Join(strings.Fields(text), " ")
	for _, f := range r.Facts {
		for _, h := range f.By {
			if !strings.Contains(joined, h.Kind+" "+h.Symbol) {
				t.Errorf("the text lacks %s %s:\n%s", h.Kind, h.Symbol, text)
			}
		}
	}
}

// TestAttachForced: of each kind, either it is used and possible, or the error says why not.
func TestAttachForced(t *testing.T) {
	for _, mode := range []string{"fentry", "kprobe", "tracepoint"} {
		t.Run(mode, func(t *testing.T) {
			r, status := checkJSON(t, nil, "--attach", mode)
			equal(t, "attach", r.Attach, mode)
			used := false
			for _, f := range r.Facts {
				for _, h := range f.By {
					kind := map[string]string{"fexit": "fentry", "kretprobe": "kprobe"}[h.Kind]
					if kind == "" {
						kind = h.Kind
					}
					used = used || kind == mode
					// Of iterators and netlink there is but one.
					if kind != mode && kind != "tracepoint" && kind != "iterator" && kind != "netlink" {
						t.Errorf("%s is told by %s", f.Fact, h.Kind)
					}
				}
			}
			if status == 0 {
				equal(t, "used", used, true)
				return
			}
			if mode == "tracepoint" {
				t.Errorf("tracing by tracepoints is not possible: %s", *r.Error)
			}
			if !strings.HasPrefix(*r.Error, "cannot attach to ") {
				t.Errorf("the error says %q", *r.Error)
			}
			_, stderr, status := output(t, lab.Binary(t), "--attach", mode, "--duration", "1ms")
			equal(t, "status of a run", status, 1)
			equal(t, "error of a run", stderr, "tcptrace: "+*r.Error+"\n")
		})
	}
}

// withoutBTF starts a command where the kernel's BTF is out of sight.
func withoutBTF() []string {
	return []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /sys/kernel/btf && exec "$@"`, "sh"}
}

func TestBTFFile(t *testing.T) {
	lab.Need(t, "unshare", "mount")
	if m, _ := filepath.Glob("/boot/vmlinux-*"); len(m) > 0 {
		t.Skip("a vmlinux in /boot stands in for the kernel's BTF")
	}
	dir := t.TempDir()
	own, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	// The kernel's own, with another name in it: of the same size, and another kernel's.
	other := bytes.Replace(own, []byte("\x00tcp_v4_rcv\x00"), []byte("\x00tcp_v4_xxx\x00"), 1)
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ownFile, otherFile := write("own", own), write("other", other)
	for _, c := range []struct {
		name string
		by   []string
		file string
		want string // "" is no error
	}{
		{"its own", nil, ownFile, ""},
		{"another's", nil, otherFile, "BTF file: " + otherFile + " is not the running kernel's, which has its own: leave --btf out"},
		{"garbage", nil, write("garbage", []byte("garbage")), "is neither BTF nor an ELF file such as vmlinux"},
		{"ELF without BTF", nil, "/bin/true", "/bin/true has no section .BTF"},
		{"nothing", nil, "/nonexistent", "open /nonexistent: no such file or directory"},
		{"no BTF", withoutBTF(), "", "CONFIG_DEBUG_INFO_BTF=y"},
		{"no BTF but a file", withoutBTF(), ownFile, ""},
		{"no BTF but another's", withoutBTF(), otherFile, "holds no types of a kernel"},
		{"no BTF but a piece", withoutBTF(), write("piece", own[:100]), "holds no types of a kernel"},
		{"no BTF but a program's", withoutBTF(), "../gen/bpf_x86_bpfel.o", "holds no types of a kernel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args []string
			if c.file != "" {
				args = []string{"--btf", c.file}
			}
			r, _ := checkJSON(t, c.by, args...)
			equal(t, "BTF", r.Kernel.BTF, c.by == nil)
			switch {
			case c.want == "" && !r.Possible:
				t.Errorf("error %s", *r.Error)
			case c.want == "":
			case r.Error == nil || !strings.Contains(*r.Error, c.want):
				t.Errorf("error %v, want %q", deref(r.Error), c.want)
			}
		})
	}
}

// TestWithoutBTF: a file with the kernel's types does where the kernel has none of its own. What it
// cannot make up for is said.
func TestWithoutBTF(t *testing.T) {
	lab.Need(t, "unshare", "mount", "ip", "tcpdump", "tshark")
	for _, sc := range scenarios[:1] {
		for _, family := range families {
			t.Run(sc.name+"-"+family, func(t *testing.T) {
				t.Parallel()
				n := lab.Cable(t)
				e := newEnvBy(t, n, family, withoutBTF(), "--btf", ownBTF(t), "-N", n.Client.Path(), "-N", n.Server.Path())
				sc.run(e)
				e.rest()
				sc.want.check(t, e, e.finish())
			})
		}
	}
	r, _ := checkJSON(t, withoutBTF(), "--btf", ownBTF(t))
	const why = "the kernel has no BTF of its own, which a file cannot replace here"
	for _, f := range r.Facts {
		if f.Fact == "dropped segments" && !strings.Contains(f.Refused[0].Why, why) {
			t.Errorf("%s: %q, want %q", f.Fact, f.Refused[0].Why, why)
		}
	}
}

// ownBTF is a copy of the kernel's.
func ownBTF(t *testing.T) string {
	t.Helper()
	own, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vmlinux.btf")
	if err := os.WriteFile(path, own, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// metaReport is what tests read of --meta.
type metaReport struct {
	Schema  string
	PID     int
	End     *string
	Filters struct {
		Family *string
		Ports  []string
		Netns  []uint32
	}
	Check  checkReport
	Kept   []string `json:"capabilities_kept"`
	Totals *struct{ Events, Timelines, Lost uint64 }
}

func readMeta(t *testing.T, path string) (m metaReport) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.ValidateReport(text); err != nil {
		t.Errorf("not as the schema has it: %v\n%s", err, text)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

func TestMeta(t *testing.T) {
	n := lab.Cable(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.json")
	// What an earlier run left must not pass for this one's.
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path(), "-4", "-P", "8080,9000-9010", "--meta", path)
	m := readMeta(t, path)
	equal(t, "schema", m.Schema, "tcptrace.run/1")
	equal(t, "pid", m.PID, tracer.PID())
	equal(t, "ended", m.End != nil || m.Totals != nil, false)
	equal(t, "family", deref(m.Filters.Family), "ipv4")
	equal(t, "ports", strings.Join(m.Filters.Ports, " "), "8080 9000-9010")
	equal(t, "namespaces", len(m.Filters.Netns), 2)
	equal(t, "possible", m.Check.Possible, true)

	c, s := e.open()
	c.close()
	s.readEOF()
	s.close()
	e.rest()
	out := tracer.Stop()
	m = readMeta(t, path)
	equal(t, "ended", m.End != nil, true)
	equal(t, "timelines", m.Totals.Timelines, uint64(len(out.Timelines)))
	equal(t, "timelines", m.Totals.Timelines, 2)
	if !strings.Contains(out.Stderr, "tcptrace: "+strconv.FormatUint(m.Totals.Events, 10)+" events, 2 timelines") {
		t.Errorf("events: %d, but standard error says %s", m.Totals.Events, out.Stderr)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in its directory: %v, %v", left, err)
	}
}

// TestMetaOfFailure: a run that does not come about leaves no file.
func TestMetaOfFailure(t *testing.T) {
	lab.Need(t)
	path := filepath.Join(t.TempDir(), "meta.json")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, status := output(t, lab.Binary(t), "--meta", path, "--btf", "/nonexistent", "--duration", "1ms")
	equal(t, "status", status, 1)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file: %v (%s)", err, stderr)
	}
	_, stderr, status = output(t, lab.Binary(t), "--meta", "/nonexistent/meta.json", "--duration", "1ms")
	equal(t, "status", status, 1)
	if !strings.Contains(stderr, "tcptrace: meta: open /nonexistent/") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("standard error: %q", stderr)
	}
}
