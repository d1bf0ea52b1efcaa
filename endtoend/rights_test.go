package endtoend

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcptrace/internal/lab"
)

// nobody starts a command as user 65534 with these capabilities alone, such as bpf.
func nobody(t *testing.T, capabilities ...string) []string {
	t.Helper()
	lab.Need(t, "setpriv")
	set := "-all"
	for _, c := range capabilities {
		set += ",+" + c
	}
	return []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		"--inh-caps=" + set, "--ambient-caps=" + set, "--bounding-set=" + set}
}

// numbers of capabilities (linux/capability.h).
var capabilityNumbers = map[string]uint{"CAP_DAC_OVERRIDE": 1, "CAP_SYS_NICE": 23, "CAP_PERFMON": 38, "CAP_BPF": 39}

// holds checks that each thread of a process holds just these capabilities, and can gain none.
func holds(t *testing.T, pid int, capabilities []string) {
	t.Helper()
	var want uint64
	for _, c := range capabilities {
		number, known := capabilityNumbers[c]
		if !known {
			t.Errorf("it keeps %s", c)
		}
		want |= 1 << number
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			continue // ended meanwhile
		}
		for name, value := range map[string]string{
			"CapInh": "0000000000000000", "CapAmb": "0000000000000000",
			"CapPrm": fmt.Sprintf("%016x", want), "CapEff": fmt.Sprintf("%016x", want), "NoNewPrivs": "1",
		} {
			if !strings.Contains(string(status), "\n"+name+":\t"+value+"\n") {
				t.Errorf("%s: %s is not %s:\n%s", thread, name, value, status)
			}
		}
	}
}

// TestRightsAreDropped: a tracer that root started holds nothing but what is still to be done takes.
func TestRightsAreDropped(t *testing.T) {
	meta := filepath.Join(t.TempDir(), "meta.json")
	tracer := lab.StartTracer(t, "-P", "1", "--meta", meta)
	m := readMeta(t, meta)
	for _, c := range m.Kept {
		// CAP_BPF where the kernel forbids bpf() whole to others, before 5.19.
		if !slices.Contains([]string{"CAP_BPF", "CAP_SYS_NICE"}, c) {
			t.Errorf("it keeps %s", c)
		}
	}
	holds(t, tracer.PID(), m.Kept)
	tracer.Stop()
}

// TestRightToWrite: root keeps what it takes to write a file where root as such may not.
func TestRightToWrite(t *testing.T) {
	lab.Need(t)
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(dir, "meta.json")
	tracer := lab.StartTracer(t, "-P", "1", "--meta", meta)
	m := readMeta(t, meta)
	if !slices.Contains(m.Kept, "CAP_DAC_OVERRIDE") {
		t.Errorf("it keeps only %v", m.Kept)
	}
	holds(t, tracer.PID(), m.Kept)
	tracer.Stop()
	if readMeta(t, meta).Totals == nil {
		t.Error("the end was not written")
	}
	// Two files there are one reason.
	_, stderr, status := output(t, lab.Binary(t), "-P", "1", "--duration", "1ms", "--meta", meta, "--ready-file", filepath.Join(dir, "ready"))
	equal(t, "status", status, 0)
	if readMeta(t, meta).Totals == nil {
		t.Errorf("the end was not written: %s", stderr)
	}
}

// TestCauseOutsideTheHost: what is said where it is not the program's own rights that are missing.
func TestCauseOutsideTheHost(t *testing.T) {
	lab.Need(t, "unshare", "mount")
	for _, c := range []struct {
		name    string
		unshare []string
		want    string
	}{
		{"user namespace", []string{"-Ur"}, "in a container or user namespace, they must be those of the host"},
		{"no proc", []string{"-m", "sh", "-c", `mount -t tmpfs none /proc && exec "$@"`, "sh"}, "there is no /proc here: mount it first"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, status := output(t, append(append([]string{"unshare"}, c.unshare...), lab.Binary(t), "-P", "1", "--duration", "1ms")...)
			equal(t, "status", status, 1)
			if stdout != "" || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%q, %q", stdout, stderr)
			}
		})
	}
}

// TestWithoutRoot: CAP_BPF and CAP_PERFMON are enough, for other users' connections too, those
// that were there before included.
func TestWithoutRoot(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			n := lab.Cable(t)
			e := &env{t: t, net: n, family: family, client: n.Client4, server: n.Server4}
			if family == "v6" {
				e.client, e.server = n.Client6, n.Server6
			}
			before, beforeEnd := e.open()
			tracer := lab.StartTracerBy(t, nobody(t, "bpf", "perfmon"), "-N", n.Client.Path(), "-N", n.Server.Path())
			before.write(100)
			beforeEnd.read(100)
			before.shutdown()
			e.state(n.Client, tcpFinWait2)
			beforeEnd.readEOF()
			beforeEnd.close()
			before.readEOF()
			before.close()
			c := e.socketAt(n.Client, e.client, clientPort+1)
			c.must("connect", e.connect(c, e.server, serverPort))
			s := e.accept()
			c.write(1234)
			s.read(1234)
			out := tracer.Stop()
			if len(out.Timelines) != 4 {
				t.Fatalf("%d timelines, want 4\n%s", len(out.Timelines), out.Stderr)
			}
			for _, tl := range out.Timelines {
				if tl.Process == nil || tl.Process.PID != os.Getpid() {
					t.Errorf("%s's process is %+v, want pid %d", tl.Role, tl.Process, os.Getpid())
				}
				if tl.State == "ESTABLISHED" && tl.Role == "client" { // told by the last snapshot
					equal(t, "sent", *tl.Traffic.TxBytes, 1234)
				}
			}
		})
	}
}

// TestMissingCapability: the error says which one, and how to give it.
func TestMissingCapability(t *testing.T) {
	for _, c := range []struct {
		name  string
		holds []string
		want  string
	}{
		{"none", nil, "CAP_BPF and CAP_PERFMON are missing"},
		{"CAP_BPF alone", []string{"bpf"}, "CAP_PERFMON is missing"},
		{"CAP_PERFMON alone", []string{"perfmon"}, "CAP_BPF is missing"},
		{"another", []string{"net_admin"}, "CAP_BPF and CAP_PERFMON are missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			by := nobody(t, c.holds...)
			r, status := checkJSON(t, by)
			equal(t, "status", status, 1)
			want := c.want + ": use sudo, or give the program the rights once: sudo setcap cap_bpf,cap_perfmon+ep " + lab.Binary(t)
			if r.Error == nil || !strings.HasSuffix(*r.Error, want) {
				t.Errorf("error %q, want %q", deref(r.Error), want)
			}
			stdout, stderr, status := output(t, append(by, lab.Binary(t), "--duration", "1ms")...)
			equal(t, "status of a run", status, 1)
			equal(t, "standard output of a run", stdout, "")
			equal(t, "standard error of a run", stderr, "tcptrace: "+*r.Error+"\n")
		})
	}
}

// TestLowMemlock: from 5.11 on the limit does not matter; before, the error says what to do.
func TestLowMemlock(t *testing.T) {
	lab.Need(t, "prlimit")
	by := append([]string{"prlimit", "--memlock=0:0"}, nobody(t, "bpf", "perfmon")...)
	r, _ := checkJSON(t, by)
	if !r.Possible && !strings.Contains(*r.Error, "ulimit -l unlimited") {
		t.Errorf("error %s", *r.Error)
	}
}
