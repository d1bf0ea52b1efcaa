package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// connectTo is a line of bash that opens a connection to a port of the server's, and closes it.
func connectTo(port int) string { return fmt.Sprintf("exec 3<>/dev/tcp/192.0.2.2/%d; exec 3>&-", port) }

// on starts a command on a host.
func on(t *testing.T, h *lab.Host, name string, args ...string) *exec.Cmd {
	t.Helper()
	lab.Need(t, "nsenter", name)
	cmd := exec.Command("nsenter", append([]string{"--net=" + h.Path(), name}, args...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// fifo makes a named pipe: who reads a line of it waits until the test writes one.
func fifo(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// waiting returns when somebody reads the pipe; what it returns has the reader go on.
func waiting(t *testing.T, path string) (goOn func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return func() {
		if _, err := f.WriteString("go\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// serve accepts one connection at the port of e and sees it to its end.
func (e *env) serve() {
	e.t.Helper()
	s := e.accept()
	s.readEOF()
	s.close()
}

// remotePorts are those of the timelines, in order.
func remotePorts(out *lab.Output) (ports []int) {
	for _, tl := range out.Timelines {
		ports = append(ports, int(tl.Remote.Port))
	}
	slices.Sort(ports)
	return ports
}

// testCgroup is a cgroup of version 2 of this test's own, the mount point it is below, and its path below that.
func testCgroup(t *testing.T) (dir, path string) {
	t.Helper()
	lab.Need(t)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if before, after, _ := strings.Cut(line, " - "); strings.HasPrefix(after, "cgroup2 ") {
			mount := strings.Fields(before)[4]
			path := fmt.Sprintf("/tcptrace-test-%d", os.Getpid())
			dir := filepath.Join(mount, path)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Skipf("needs a cgroup of version 2 that it may make: %v", err)
			}
			t.Cleanup(func() { removeCgroup(t, dir) })
			return dir, path
		}
	}
	t.Skip("needs a mounted cgroup2")
	return "", ""
}

// removeCgroup waits until its processes are gone.
func removeCgroup(t *testing.T, dir string) {
	t.Helper()
	lab.Eventually(t, "the cgroup "+dir+" is removed", func() bool {
		err := os.Remove(dir)
		return err == nil || os.IsNotExist(err)
	})
}

// TestProcessFilters: clients that differ in user, name, cgroup and parent connect, each to a port of its own, under a
// tracer for each filter: it tells those that it is to tell, and none of the others.
func TestProcessFilters(t *testing.T) {
	lab.Need(t, "bash", "setpriv", "nsenter")
	const container = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	dir, path := testCgroup(t)
	inner := filepath.Join(dir, "docker-"+container+".scope")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, inner) })

	const plain, user, named, inCgroup, earlier, later, grandchild, parent = 1, 2, 3, 4, 5, 6, 7, 8
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	servers := map[int]*env{}
	for shift := plain; shift <= parent; shift++ {
		servers[shift] = e.at(t, shift)
		servers[shift].listen()
	}
	port := func(shift int) string { return connectTo(serverPort + shift) }
	// One child is there before the tracers, one comes later, and has one itself.
	forEarlier, forLater := fifo(t), fifo(t)
	family := on(t, n.Client, "bash", "-c", fmt.Sprintf(`bash -c 'read < %s; %s' & read < %s; (%s; bash -c '%s'; true); %s; wait`,
		forEarlier, port(earlier), forLater, port(later), port(grandchild), port(parent)))
	earlierGo, laterGo := waiting(t, forEarlier), waiting(t, forLater)

	cases := []struct {
		args string
		want []int
	}{
		{"-u 65534", []int{user}},
		{"-u 1,65534", []int{user}},
		{"--comm tt-wanted", []int{named}},
		{"--comm tt-wanted,tt-other --port 8080-8090", []int{named}},
		{"--cgroup " + path, []int{inCgroup}},
		{"--cgroup " + inner, []int{inCgroup}},
		{"--container " + container[:12], []int{inCgroup}},
		{fmt.Sprintf("-p %d", family.Process.Pid), []int{parent}},
		{fmt.Sprintf("-f -p %d", family.Process.Pid), []int{earlier, later, grandchild, parent}},
		{"-u 65534 --comm bash", []int{user}},
		{"-u 65534 --comm tt-wanted", nil},
		{fmt.Sprintf("-f -p %d -u 65534", family.Process.Pid), nil},
	}
	var tracers []*lab.Tracer
	for i, c := range cases {
		args := append([]string{"-N", n.Client.Path(), "--ring-size", "1M"}, strings.Fields(c.args)...)
		tracers = append(tracers, lab.LaunchTracer(t, args...))
		if i > 0 { // two at a time: a slow machine would keep all waiting
			tracers[i-1].Ready(t)
		}
	}
	tracers[len(tracers)-1].Ready(t)

	on(t, n.Client, "bash", "-c", port(plain))
	servers[plain].serve()
	on(t, n.Client, "setpriv", "--reuid", "65534", "--clear-groups", "bash", "-c", port(user))
	servers[user].serve()
	on(t, n.Client, "bash", "-c", "printf tt-wanted > /proc/self/comm; "+port(named))
	servers[named].serve()
	on(t, n.Client, "bash", "-c", fmt.Sprintf("echo $$ > %s/cgroup.procs; %s", inner, port(inCgroup)))
	servers[inCgroup].serve()
	earlierGo()
	servers[earlier].serve()
	laterGo()
	for _, shift := range []int{later, grandchild, parent} {
		servers[shift].serve()
	}
	for _, server := range servers {
		server.rest()
	}
	for i, c := range cases {
		t.Run(strings.ReplaceAll(c.args, path, "PATH"), func(t *testing.T) {
			out := tracers[i].Stop()
			want := []int{}
			for _, shift := range c.want {
				want = append(want, serverPort+shift)
			}
			if got := remotePorts(out); !slices.Equal(got, want) {
				t.Errorf("connections to ports %v, want %v", got, want)
			}
			for _, tl := range out.Timelines {
				equal(t, "states", states(t, &tl), activeOpen+activeClose)
				equal(t, "complete", tl.Complete, true)
				equal(t, "source", tl.Process.Source, "connect")
			}
		})
	}
}

// TestPIDsOfANamespace: a tracer in a pid namespace of its own is given the pids that are seen there.
func TestPIDsOfANamespace(t *testing.T) {
	lab.Need(t, "unshare", "nsenter", "bash")
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	decoy, target := e.at(t, 1), e.at(t, 2)
	decoy.listen()
	target.listen()
	wait := fifo(t)
	inside := fmt.Sprintf(`nsenter --net=%s bash -c 'read < %s; %s' & exec "$@" -p $!`, n.Client.Path(), wait, connectTo(serverPort+2))
	tracer := lab.StartTracerBy(t, []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", inside, "bash"},
		"-N", n.Client.Path(), "-c", "1")
	targetGo := waiting(t, wait)
	on(t, n.Client, "bash", "-c", connectTo(serverPort+1))
	decoy.serve()
	targetGo()
	target.serve()
	out, status := tracer.Ended()
	equal(t, "status", status, 0)
	if got := remotePorts(out); !slices.Equal(got, []int{serverPort + 2}) {
		t.Errorf("connections to ports %v, want the target's %d", got, serverPort+2)
	}
}
