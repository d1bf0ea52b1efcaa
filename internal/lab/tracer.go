package lab

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// binaryVariable names a tracer that is built already.
	binaryVariable = "TCPTRACE_BINARY"
	// attachVariable is how the tracer shall attach, as its --attach says it.
	attachVariable = "TCPTRACE_ATTACH"
)

// build builds the tracer once for all tests of a binary, unless $TCPTRACE_BINARY names one.
var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "tcptrace-test-")
	if err != nil {
		return "", err
	}
	// Others than root are to run it too.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tcptrace")
	out, err := exec.Command("go", "build", "-o", path, "tcptrace/cmd/tcptrace").CombinedOutput()
	if err != nil {
		err = &buildError{string(out), err}
	}
	return path, err
})

type buildError struct {
	output string
	err    error
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + e.output }

// Binary is the path of the tracer: $TCPTRACE_BINARY, or built from this tree.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build the tracer: %v", err)
	}
	return path
}

// CleanUp removes what Binary built, and ends what dissects captures; TestMain calls it.
func CleanUp() {
	if path, err := build(); err == nil && os.Getenv(binaryVariable) == "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	dissector.stop()
}

// Tracer is a running tcptrace.
type Tracer struct {
	t              testing.TB
	cmd            *exec.Cmd
	ended          chan struct{} // closed when it has ended
	ready          string        // the file that is there when it traces
	stdout, stderr bytes.Buffer
}

// StartTracer launches a tracer and returns when it traces.
func StartTracer(t testing.TB, args ...string) *Tracer {
	t.Helper()
	tr := LaunchTracer(t, args...)
	tr.Ready(t)
	return tr
}

// LaunchTracer starts tcptrace -o json, which does not trace before Ready returns.
func LaunchTracer(t testing.TB, args ...string) *Tracer {
	t.Helper()
	return LaunchTracerBy(t, nil, args...)
}

// StartTracerBy has a command such as setpriv, which becomes the tracer, start it.
func StartTracerBy(t testing.TB, command []string, args ...string) *Tracer {
	t.Helper()
	tr := LaunchTracerBy(t, command, args...)
	tr.Ready(t)
	return tr
}

// LaunchTracerBy is LaunchTracer by a command. $TCPTRACE_ATTACH is how it attaches; $TCPTRACE_RECORD
// names a directory for recordings, each under the test's name.
func LaunchTracerBy(t testing.TB, command []string, args ...string) *Tracer {
	t.Helper()
	Need(t)
	tr := &Tracer{t: t, ended: make(chan struct{}), ready: filepath.Join(openDir(t), "ready")}
	args = append([]string{"-o", "json", "--ready-file", tr.ready}, args...)
	if attach := os.Getenv(attachVariable); attach != "" {
		args = append(args, "--attach", attach)
	}
	if dir := os.Getenv("TCPTRACE_RECORD"); dir != "" {
		args = append(args, "--record", filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")+".events"))
	}
	command = append(append(command[:len(command):len(command)], Binary(t)), args...)
	tr.cmd = exec.Command(command[0], command[1:]...)
	tr.cmd.Stdout, tr.cmd.Stderr = &tr.stdout, &tr.stderr
	if err := tr.cmd.Start(); err != nil {
		t.Fatalf("start the tracer: %v", err)
	}
	go func() { _ = tr.cmd.Wait(); close(tr.ended) }()
	t.Cleanup(func() {
		_ = tr.cmd.Process.Kill()
		<-tr.ended
		if t.Failed() {
			t.Logf("the tracer said:\n%s", tr.stderr.String())
		}
	})
	return tr
}

// Ready waits until it traces; a tracer that ends before fails the test.
func (tr *Tracer) Ready(t testing.TB) {
	t.Helper()
	Eventually(t, "the tracer is ready", func() bool {
		select {
		case <-tr.ended:
			t.Fatalf("the tracer ended: %v\n%s", tr.cmd.ProcessState, tr.stderr.String())
		default:
		}
		_, err := os.Stat(tr.ready)
		return err == nil
	})
}

// openDir is a temporary directory in which any user may write.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tcptrace-ready-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// PID is the tracer's.
func (tr *Tracer) PID() int { return tr.cmd.Process.Pid }

// Wait waits until the tracer has ended by itself, and returns its standard output as it is.
func (tr *Tracer) Wait() string {
	tr.t.Helper()
	select {
	case <-tr.ended:
	case <-time.After(patience):
		tr.t.Fatal("the tracer does not end")
	}
	if code := tr.cmd.ProcessState.ExitCode(); code != 0 {
		tr.t.Fatalf("the tracer ended with status %d\n%s", code, tr.stderr.String())
	}
	return tr.stdout.String()
}

// Output is what a tracer wrote.
type Output struct {
	// Lines are the JSON lines as they are.
	Lines     [][]byte
	Timelines []Timeline
	Addenda   []Timeline
	Stderr    string
}

// Lacks reports whether the tracer said that this kernel does not tell a fact, by the name that
// its hook has in tracer/hooks.go.
func (o *Output) Lacks(fact string) bool {
	for line := range strings.Lines(o.Stderr) {
		if _, facts, ok := strings.Cut(line, "this kernel does not show "); ok {
			return strings.Contains(facts, fact)
		}
	}
	return false
}

// ByFunctions reports whether tracers hook TCP's functions, as far as $TCPTRACE_ATTACH says.
func ByFunctions() bool {
	attach := os.Getenv(attachVariable)
	return attach != "" && attach != "tracepoint"
}

var missed = regexp.MustCompile(`, (\d+) missed`)

// Missed is how many runs of the tracer's programs the kernel left out, "" for none.
func (o *Output) Missed() string {
	if m := missed.FindStringSubmatch(o.Stderr); m != nil {
		return m[1]
	}
	return ""
}

// Stop ends the tracer as Ctrl-C does, and reads its output.
func (tr *Tracer) Stop() *Output {
	t := tr.t
	t.Helper()
	_ = tr.cmd.Process.Signal(unix.SIGINT)
	o, status := tr.Ended()
	if status != 0 {
		t.Fatalf("the tracer ended with status %d\n%s", status, o.Stderr)
	}
	return o
}

// Ended waits until the tracer has ended, and reads its output.
func (tr *Tracer) Ended() (o *Output, status int) {
	t := tr.t
	t.Helper()
	select {
	case <-tr.ended:
	case <-time.After(patience):
		t.Fatal("the tracer does not end")
	}
	o = &Output{Stderr: tr.stderr.String()}
	for line := range bytes.Lines(tr.stdout.Bytes()) {
		var tl Timeline
		if err := json.Unmarshal(line, &tl); err != nil {
			t.Fatalf("not JSON: %v\n%s", err, line)
		}
		o.Lines = append(o.Lines, line)
		if tl.Schema == "tcptrace.addendum/1" {
			o.Addenda = append(o.Addenda, tl)
		} else {
			o.Timelines = append(o.Timelines, tl)
		}
	}
	return o, tr.cmd.ProcessState.ExitCode()
}
