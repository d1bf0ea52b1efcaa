// Command tcptrace shows each TCP connection's handshake and teardown as it
// happens in the kernel.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"tcptrace/output"
	"tcptrace/tracer"
)

func main() {
	switch os.Args[0] { // tcptrace as another process
	case gateName:
		os.Exit(passGate(os.Args[1:]))
	case helperName:
		os.Exit(helpMain())
	}
	ending := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ending = append(ending, syscall.SIGHUP)
	}
	os.Exit(command(untilSignal(ending...), os.Args[1:], os.Stdout, os.Stderr))
}

// signalled is the cause of the end of a context that untilSignal made.
type signalled struct{ signal syscall.Signal }

func (s signalled) Error() string { return s.signal.String() }

// untilSignal is done with the first of these signals, which ends the tracing, in order; the second ends the process.
func untilSignal(ending ...os.Signal) context.Context {
	ctx, end := context.WithCancelCause(context.Background())
	came := make(chan os.Signal, 1)
	signal.Notify(came, ending...)
	go func() {
		s, _ := (<-came).(syscall.Signal) // as all are
		signal.Stop(came)
		end(signalled{s})
	}()
	return ctx
}

// Exit statuses.
const (
	exitOK = iota
	exitFailure
	exitUsage
	exitMatched // a connection matched --fail-if
)

// command runs tcptrace and returns its exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if asksForCompletion(args) {
		if err := answerCompletion(ctx, args, stdout, stderr); err != nil {
			return exitFailure // it has said why
		}
		return exitOK
	}
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(stderr, "tcptrace: %s\nTry 'tcptrace --help'.\n", firstLine(err))
		return exitUsage
	}
	o.screen = screenOf(stdout, os.Getenv)
	if asked := o.printed(); asked != nil {
		if err := asked(stdout); err != nil {
			fmt.Fprintf(stderr, "tcptrace: %s\n", firstLine(err))
			return exitFailure
		}
		return exitOK
	}
	if o.outputFile != "" {
		o.screen = screenOf(nil, os.Getenv)
	}
	if possible := isTerminal(os.Stdin, stdout, os.Getenv); o.orLive && possible {
		o.format = liveFormat
	} else if o.format == liveFormat && !possible {
		fmt.Fprintln(stderr, "tcptrace: -o live needs a terminal that can move its cursor, as stdin and stdout: -o text does not")
		return exitUsage
	}
	if o.screen.terminal && output.ForFile(o.format) && !o.check {
		fmt.Fprintf(stderr, "tcptrace: -o %s is not for a terminal: give a file, -O FILE\nTry 'tcptrace --help'.\n", o.format)
		return exitUsage
	}
	var matched uint64
	var status int // of the command that was traced
	switch {
	case o.check:
		var possible bool
		if possible, err = check(o, stdout); err == nil && !possible {
			return exitFailure // the report says why
		}
	case o.replay != "":
		matched, err = replay(o, stdout, stderr)
	default:
		matched, status, err = run(ctx, o, stdout, stderr)
	}
	var refused *refusal
	switch {
	case err == nil && status == exitOK && matched > 0:
		return exitMatched
	case err == nil:
		return status
	case errors.As(err, &refused):
		fmt.Fprintf(stderr, "tcptrace: %s\n", refused.Why)
		return refused.Status
	}
	fmt.Fprintf(stderr, "tcptrace: %s\n", explain(err))
	if os.Getenv(debugVariable) != "" {
		fmt.Fprintf(stderr, "%+v\n%s\n", err, tracer.VerifierLog(err))
	}
	return exitFailure
}

// printed writes what is asked for of the program itself, instead of tracing; nil: nothing is.
func (o *options) printed() func(io.Writer) error {
	switch {
	case o.help:
		return func(w io.Writer) error {
			_, err := fmt.Fprint(w, usage, flagSet(&options{}, &rawFlags{}).FlagUsages(), examples)
			return err
		}
	case o.version:
		return func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "tcptrace", version())
			return err
		}
	case o.man:
		return writeMan
	case o.completion != "":
		return func(w io.Writer) error { return writeCompletion(w, o.completion) }
	}
	return nil
}

// debugVariable, set in the environment, has errors printed whole, the verifier's log included.
const debugVariable = "TCPTRACE_DEBUG"

// firstLine keeps one line of an error: joined errors have several.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// explain puts the cause of an error and what the user can do about it into one line.
func explain(err error) string {
	_, missing := tracer.Capabilities()
	return explainWith(err, missing)
}

// explainWith: missing are the capabilities that this process lacks.
func explainWith(err error, missing []string) string {
	var attach *tracer.AttachError
	var file *fs.PathError
	switch {
	case errors.As(err, &file) && strings.HasPrefix(file.Path, "/proc/self/") && errors.Is(file, fs.ErrNotExist):
		return firstLine(err) + ": there is no /proc here: mount it first (mount -t proc proc /proc)"
	case errors.Is(err, tracer.ErrPermission) && len(missing) > 0:
		return fmt.Sprintf("%s: %s missing: use sudo, or give the program the rights once: sudo setcap cap_bpf,cap_perfmon+ep %s",
			tracer.ErrPermission, enumerate(missing)+map[bool]string{true: " is", false: " are"}[len(missing) == 1], executable())
	case tracer.VerifierLog(err) != "" && !tracer.LockedDown(err):
		return firstLine(err) + ": please report it with what " + debugVariable + "=1 prints"
	case errors.As(err, &attach):
		return firstLine(attach)
	case errors.Is(err, tracer.ErrPermission):
		return tracer.ErrPermission.Error() + ", though it holds CAP_BPF and CAP_PERFMON: in a container or user namespace, they must be those of the host (--privileged); else see whether lockdown is on (/sys/kernel/security/lockdown)"
	case errors.Is(err, tracer.ErrMemlock):
		return tracer.ErrMemlock.Error() + ": run `ulimit -l unlimited` first, as root (LimitMEMLOCK=infinity in a systemd unit), or give it CAP_SYS_RESOURCE"
	case errors.Is(err, tracer.ErrNoBTF):
		return tracer.ErrNoBTF.Error() + ": use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of the larger distributions are (Linux 5.10 or later), or give this one's vmlinux with --btf FILE; in a container, mount /sys"
	case errors.Is(err, tracer.ErrNoBPF):
		return firstLine(err) + ": tcptrace needs Linux 5.10 or later with CONFIG_BPF_SYSCALL=y"
	}
	return firstLine(err)
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return "tcptrace"
	}
	return path
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown version)"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	return v
}
