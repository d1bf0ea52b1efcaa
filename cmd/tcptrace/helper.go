package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"tcptrace/process"
	"tcptrace/tracer"
)

// helperName is what the process that reads others' details has for os.Args[0].
const helperName = "tcptrace (reads /proc)"

// helpMain is that process's main: it answers until tcptrace goes, with no right but to look.
func helpMain() int {
	// The terminal's signals are for tcptrace, which still asks when it ends.
	signal.Ignore(os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	err := tracer.KeepRightToLook()
	if err == nil {
		err = process.Serve("/proc", os.Stdin, os.Stdout)
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(os.Stderr, "tcptrace: processes' details are no longer read: %v\n", err)
		return exitFailure
	}
	return exitOK
}

// helper is that process as seen from tcptrace.
type helper struct {
	*process.Reader
	cmd *exec.Cmd // nil where nothing can be read
}

// startHelper starts it; daemon may be nil. It must be before the rights are given up.
func startHelper(cgroups *process.Cgroups, daemon *process.Daemon) (*helper, error) {
	if !tracer.InitialPIDNamespace() {
		return &helper{Reader: process.NewReader(nil, nil, cgroups, daemon)}, nil // /proc has other numbers than the events
	}
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{helperName}, Stderr: os.Stderr}
	questions, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start the reader of /proc: %w", errors.Join(err, questions.Close()))
	}
	return &helper{process.NewReader(answers, questions, cgroups, daemon), cmd}, nil
}

// close ends it.
func (h *helper) close() error {
	h.Reader.Close()
	if h.cmd == nil {
		return nil
	}
	// It ends when nobody asks any more; one that hangs in a file of /proc is not waited for, and what it
	// did not answer is null.
	var hangs atomic.Bool
	defer time.AfterFunc(answerTime, func() {
		hangs.Store(true)
		_ = h.cmd.Process.Kill()
	}).Stop()
	if err := h.cmd.Wait(); err != nil && !hangs.Load() {
		return fmt.Errorf("the reader of /proc: %w", err)
	}
	return nil
}
