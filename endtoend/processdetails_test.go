package endtoend

import (
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcptrace/internal/lab"
)

// TestProcessDetails: what is told of a client in a pod's container, of another user and in a pid namespace of its own.
func TestProcessDetails(t *testing.T) {
	lab.Need(t, "bash", "unshare", "setpriv", "nsenter")
	const container = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	dir, path := testCgroup(t)
	pod := "kubepods-besteffort-pod7f2d1c3b_55aa_4e1b_9d0c_0123456789ab.slice"
	scope := "cri-containerd-" + container + ".scope"
	for _, name := range []string{pod, filepath.Join(pod, scope)} {
		inner := filepath.Join(dir, name)
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeCgroup(t, inner) })
	}
	bash, err := exec.LookPath("bash")
	if err == nil {
		bash, err = filepath.EvalSymlinks(bash)
	}
	if err != nil {
		t.Fatal(err)
	}

	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	e.listen()
	tracer := lab.StartTracer(t, "-N", n.Client.Path())
	// It ends when the server has closed.
	script := fmt.Sprintf("exec 3<>/dev/tcp/192.0.2.2/%d; read <&3; : \x1b[2J\xff", serverPort)
	client := on(t, n.Client, "bash", "-c", fmt.Sprintf(`echo $$ > %s/cgroup.procs; exec unshare --pid --fork --kill-child setpriv --reuid 65534 --clear-groups bash -c "$0"`,
		filepath.Join(dir, pod, scope)), script)
	s := e.accept()
	out := tracer.Stop() // while the client waits
	s.close()
	_ = client.Wait()
	if len(out.Timelines) != 1 {
		t.Fatalf("%d timelines, want the client's", len(out.Timelines))
	}
	p := out.Timelines[0].Process
	equal(t, "uid", p.UID, 65534)
	equal(t, "tid", *p.TID, p.PID)
	if p.InnerPID == nil || *p.InnerPID != 1 || p.PPID == nil || *p.PPID != client.Process.Pid {
		t.Errorf("inner pid %v, want 1; parent %v, want %d", p.InnerPID, p.PPID, client.Process.Pid)
	}
	equal(t, "exe", deref(p.Exe), bash)
	equal(t, "command line", deref(p.CommandLine), "bash -c "+strings.ToValidUTF8(script, "\uFFFD"))
	equal(t, "cgroup", deref(p.Cgroup), path+"/"+pod+"/"+scope)
	equal(t, "container", deref(p.ContainerID), container)
	equal(t, "runtime", deref(p.ContainerRuntime), "containerd")
	equal(t, "pod", deref(p.PodUID), "7f2d1c3b-55aa-4e1b-9d0c-0123456789ab")
}

// TestCSVHasProcessDetails: whatever format has every field has those too that take asking.
func TestCSVHasProcessDetails(t *testing.T) {
	lab.Need(t, "bash")
	stdout, stderr, _ := traced(t, nil, "", "-q", "-o", "csv", "--", "bash", "-c", "(: </dev/tcp/127.0.0.1/1) 2>/dev/null; : </dev/tcp/127.0.0.1/1; for i in {1..100000}; do true; done")
	records, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil || len(records) != 3 {
		t.Fatalf("%d records, want a header, the child's and the command's: %v\n%s%s", len(records), err, stdout, stderr)
	}
	cell := func(name string) string { return records[2][slices.Index(records[0], name)] }
	equal(t, "comm", cell("process.comm"), "bash")
	for _, name := range []string{"process.cgroup", "process.exe", "process.cmdline", "process.ppid"} {
		if cell(name) == "" {
			t.Errorf("%s is empty: %q", name, records[2])
		}
	}
}
