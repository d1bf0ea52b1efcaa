// Command tcptrace shows each TCP connection's handshake and teardown as it
// happens in the kernel.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"tcptrace/tracer"
)

func main() {
	// The first signal ends the tracing, in order; the second ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
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
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(stderr, "tcptrace: %s\nTry 'tcptrace --help'.\n", firstLine(err))
		return exitUsage
	}
	switch {
	case o.help:
		fmt.Fprint(stdout, usage, flagSet(&options{}, &rawFlags{}).FlagUsages(), examples)
		return exitOK
	case o.version:
		fmt.Fprintln(stdout, "tcptrace", version())
		return exitOK
	}
	var matched uint64
	if o.replay != "" {
		matched, err = replay(o, stdout, stderr)
	} else {
		matched, err = run(ctx, o, stdout, stderr)
	}
	switch {
	case err == nil && matched > 0:
		return exitMatched
	case err == nil:
		return exitOK
	}
	fmt.Fprintf(stderr, "tcptrace: %s\n", explain(err))
	if os.Getenv(debugVariable) != "" {
		fmt.Fprintf(stderr, "%+v\n%s\n", err, tracer.VerifierLog(err))
	}
	return exitFailure
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
	switch {
	case errors.Is(err, tracer.ErrPermission) && os.Geteuid() != 0:
		return tracer.ErrPermission.Error() + ": run it as root: sudo tcptrace"
	case errors.Is(err, tracer.ErrPermission):
		return tracer.ErrPermission.Error() + ", even to root: in a container, give it CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (or --privileged); else see whether lockdown is on (/sys/kernel/security/lockdown)"
	case errors.Is(err, tracer.ErrNoBTF):
		return tracer.ErrNoBTF.Error() + ": use one built with CONFIG_DEBUG_INFO_BTF=y, as those of the larger distributions are (Linux 5.10 or later)"
	case errors.Is(err, tracer.ErrNoBPF):
		return firstLine(err) + ": tcptrace needs Linux 5.10 or later with CONFIG_BPF_SYSCALL=y"
	case tracer.VerifierLog(err) != "":
		return firstLine(err) + ": please report it with what " + debugVariable + "=1 prints"
	}
	return firstLine(err)
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
