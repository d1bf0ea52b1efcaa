package endtoend

import (
	"bytes"
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

// TestTracedCommand: of a command and its children every connection is told, from its first state on; of others none.
func TestTracedCommand(t *testing.T) {
	lab.Need(t, "nsenter", "bash")
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	own, child, decoy := e.at(t, 1), e.at(t, 2), e.at(t, 3)
	for _, server := range []*env{own, child, decoy} {
		server.listen()
	}
	wait := fifo(t)
	tracer := lab.LaunchTracer(t, "--", "nsenter", "--net="+n.Client.Path(), "bash", "-c",
		fmt.Sprintf(`%s; read < %s; (%s; true); exit 7`, connectTo(serverPort+1), wait, connectTo(serverPort+2)))
	own.serve() // not before the tracer is ready
	goOn := waiting(t, wait)
	on(t, n.Client, "bash", "-c", connectTo(serverPort+3))
	decoy.serve()
	goOn()
	child.serve()
	out, status := tracer.Ended()
	equal(t, "status", status, 7)
	if got := remotePorts(out); !slices.Equal(got, []int{serverPort + 1, serverPort + 2}) {
		t.Fatalf("connections to ports %v, want the command's and its child's", got)
	}
	for _, tl := range out.Timelines {
		equal(t, "states", states(t, &tl), activeOpen+activeClose)
		equal(t, "handshake", tl.Handshake.Kind+" "+tl.Handshake.Outcome, "three-way established")
		equal(t, "complete", tl.Complete, true)
		equal(t, "comm", tl.Process.Comm, "bash")
	}
	if a, b := out.Timelines[0].Process.PID, out.Timelines[1].Process.PID; a == b {
		t.Errorf("both connections are process %d's; one is its child's", a)
	}
}

// traced runs a command under the tracer, in text, with an environment and input; it is not to fail to end.
func traced(t *testing.T, env []string, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command(lab.Binary(t), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	_ = cmd.Run()
	return out.String(), complaints.String(), cmd.ProcessState.ExitCode()
}

// TestTracedCommandStatus: the command's own, as shells have it.
func TestTracedCommandStatus(t *testing.T) {
	lab.Need(t, "bash")
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	lost := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(lost, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	refused := "exec 3<>/dev/tcp/127.0.0.1/1" // nobody listens on port 1
	for _, c := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"success", []string{"--", "true"}, 0, ""},
		{"failure", []string{"--", "bash", "-c", "exit 42"}, 42, ""},
		{"by-signal", []string{"--", "bash", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{"not-found", []string{"--", "no-such-command"}, 127, "tcptrace: no-such-command: command not found"},
		{"no-such-path", []string{"--", "/no/such/path"}, 127, "tcptrace: /no/such/path: no such file"},
		{"not-executable", []string{"--", plain}, 126, "tcptrace: " + plain + ": cannot be run: permission denied"},
		{"directory", []string{"--", "/"}, 126, "tcptrace: /: cannot be run: "},
		{"no-interpreter", []string{"--", lost}, 127, "tcptrace: " + lost + ": no such file, or its interpreter is missing"},
		{"own-flags", []string{"--", "bash", "-c", "exit $#", "-", "-p", "--help"}, 2, ""},
		{"fail-if", []string{"--fail-if", "failed", "--", "bash", "-c", refused + "; exit 0"}, 3, ""},
		{"fail-if-and-failure", []string{"--fail-if", "failed", "--", "bash", "-c", refused + "; exit 5"}, 5, ""},
		{"count", []string{"-c", "1", "--", "bash", "-c", "(" + refused + "); (" + refused + "); exit 4"}, 4, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stderr, status := traced(t, nil, "", append([]string{"-q"}, c.args...)...)
			equal(t, "status", status, c.status)
			if c.says != "" && !strings.HasPrefix(stderr, c.says) {
				t.Errorf("it says %q, want %q", stderr, c.says)
			}
		})
	}
}

// TestTracedCommandStreams: the command has the standard streams; what is told of it follows, or goes to a file.
func TestTracedCommandStreams(t *testing.T) {
	lab.Need(t, "bash")
	script := `cat; echo warning >&2; exec 3<>/dev/tcp/127.0.0.1/1; echo last`
	stdout, stderr, _ := traced(t, nil, "input\n", "-q", "--", "bash", "-c", script)
	before, after, ok := strings.Cut(stdout, "PID ")
	if !ok || before != "input\nlast\n" || !strings.Contains(after, "refused") || strings.Contains(after, "input") {
		t.Errorf("standard output is not the command's, and then the connections:\n%s", stdout)
	}
	if !strings.HasPrefix(stderr, "warning\n") {
		t.Errorf("standard error is not the command's: %q", stderr)
	}
	file := filepath.Join(t.TempDir(), "connections")
	stdout, _, _ = traced(t, nil, "input\n", "-q", "-O", file, "--", "bash", "-c", script)
	equal(t, "standard output", stdout, "input\nlast\n")
	told, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(told), "PID ") || !strings.Contains(string(told), "refused") {
		t.Errorf("%v; the file has %q", err, told)
	}
}

// TestTracedCommandUser: it runs as who called sudo, and may gain rights as any program of that user's may.
func TestTracedCommandUser(t *testing.T) {
	lab.Need(t, "bash")
	sudo := []string{"SUDO_UID=65534", "SUDO_GID=65533", "SUDO_USER=somebody", "SUDO_COMMAND=tcptrace", "HOME=/root", "USER=root", "LOGNAME=root"}
	script := `echo $(id -u) $(id -ru) $(id -g) $(id -G) $USER $LOGNAME $HOME ${SUDO_UID-none}; grep -E "^(Cap(Prm|Eff|Amb)|NoNewPrivs)" /proc/self/status`
	stdout, _, status := traced(t, sudo, "", "-q", "--", "bash", "-c", script)
	equal(t, "status", status, 0)
	// Its own group's number is not the caller's: the groups are both.
	head, _, _ := strings.Cut(stdout, "\n")
	words := strings.Fields(head)
	if len(words) < 7 || strings.Join(words[:4], " ") != "65534 65534 65533 65533" || words[len(words)-1] != "none" || slices.Contains(words, "/root") || slices.Contains(words, "root") {
		t.Errorf("it runs as %q", head)
	}
	for _, want := range []string{"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t0\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	_, stderr, status := traced(t, []string{"SUDO_UID=me", "SUDO_GID=0"}, "", "-q", "--", "true")
	equal(t, "status", status, 1)
	if !strings.Contains(stderr, `SUDO_UID="me"`) {
		t.Errorf("it says %q", stderr)
	}
}

// TestTracedCommandSignals: SIGTERM is passed on, Ctrl-C is the command's own affair, and tcptrace tells all the same.
func TestTracedCommandSignals(t *testing.T) {
	lab.Need(t, "bash")
	for _, c := range []struct {
		name   string
		signal unix.Signal
		group  bool // as the terminal's driver sends it
		script string
		status int
	}{
		{"term", unix.SIGTERM, false, `trap "exit 9" TERM`, 9},
		{"hang-up", unix.SIGHUP, false, `trap "exit 10" HUP`, 10},
		{"term-untrapped", unix.SIGTERM, false, `:`, 128 + 15},
		{"interrupt", unix.SIGINT, true, `trap "exit 11" INT`, 11},
		{"interrupt-untrapped", unix.SIGINT, true, `:`, 128 + 2},
		{"quit", unix.SIGQUIT, true, `trap "exit 12" QUIT`, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs := fifo(t)
			cmd := exec.Command(lab.Binary(t), "-q", "--", "bash", "-c",
				c.script+fmt.Sprintf("; exec 3<>/dev/tcp/127.0.0.1/1; echo > %s; while :; do sleep 0.01; done", runs))
			cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			to := cmd.Process.Pid
			if c.group {
				to = -to
			}
			t.Cleanup(func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
			if _, err := os.ReadFile(runs); err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(to, c.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			equal(t, "status", cmd.ProcessState.ExitCode(), c.status)
			if !strings.Contains(out.String(), "refused") {
				t.Errorf("its connection is not told:\n%s", out.String())
			}
		})
	}
}

// TestTracedCommandInANamespace: its pid there is not the one that the kernel's records have.
func TestTracedCommandInANamespace(t *testing.T) {
	lab.Need(t, "unshare", "bash")
	out, err := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", lab.Binary(t),
		"-q", "--", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1").Output()
	if got := strings.Count(string(out), "= refused"); got != 1 {
		t.Errorf("%d connections told, want 1: %v\n%s", got, err, out)
	}
}

// TestTracedCommandGoneAtOnce: what the command is was known before; it need not live until /proc is read.
func TestTracedCommandGoneAtOnce(t *testing.T) {
	lab.Need(t, "bash")
	bash, err := exec.LookPath("bash")
	if err == nil {
		bash, err = filepath.EvalSymlinks(bash)
	}
	if err != nil {
		t.Fatal(err)
	}
	const script = "exec 3<>/dev/tcp/127.0.0.1/1"
	for range 3 { // once in a while it is read in time
		out, status := lab.LaunchTracer(t, "--", "bash", "-c", script).Ended()
		equal(t, "status", status, 1)
		equal(t, "timelines", len(out.Timelines), 1)
		p := out.Timelines[0].Process
		equal(t, "exe", deref(p.Exe), bash)
		equal(t, "command line", deref(p.CommandLine), "bash -c "+script)
		if p.PPID == nil {
			t.Error("no parent")
		}
	}
}

// TestOldRecordingIsKept: where the output cannot be written, nothing is recorded over what was.
func TestOldRecordingIsKept(t *testing.T) {
	lab.Need(t)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(old, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing", "f")
	_, stderr, status := output(t, lab.Binary(t), "-P", "1", "--duration", "1ms", "--record", old, "-o", "json", "-O", missing)
	equal(t, "status", status, 1)
	if kept, err := os.ReadFile(old); err != nil || string(kept) != "precious" || !strings.Contains(stderr, missing) {
		t.Errorf("the old recording is %q, %v; %s", kept, err, stderr)
	}
}
