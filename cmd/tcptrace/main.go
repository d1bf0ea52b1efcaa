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

	"github.com/cilium/ebpf"

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
	if o.replay != "" {
		err = replay(o, stdout, stderr)
	} else {
		err = run(ctx, o, stdout, stderr)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "tcptrace: %s\n", firstLine(err))
	if h := hint(err); h != "" {
		fmt.Fprintf(stderr, "tcptrace: %s\n", h)
	}
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) && os.Getenv("TCPTRACE_VERIFIER_LOG") != "" {
		fmt.Fprintf(stderr, "%+v\n", verifier)
	}
	return exitFailure
}

// firstLine keeps one line of an error: joined errors have several.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// hint is what the user can do about an error, "" where nothing is known.
func hint(err error) string {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, tracer.ErrPermission) && os.Geteuid() != 0:
		return "run it as root: sudo tcptrace"
	case errors.Is(err, tracer.ErrPermission):
		return "the kernel refuses BPF even to root: in a container, give it CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (or --privileged); else see whether lockdown is on (/sys/kernel/security/lockdown)"
	case errors.Is(err, tracer.ErrNoBTF):
		return "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of the larger distributions have been since about 2020 (Linux 5.10 or later)"
	case errors.As(err, &verifier):
		return "the kernel's verifier refused a program; set TCPTRACE_VERIFIER_LOG=1 for its whole log"
	case errors.Is(err, tracer.ErrNoBPF):
		return "tcptrace needs Linux 5.10 or later with CONFIG_BPF_SYSCALL=y"
	}
	return ""
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
