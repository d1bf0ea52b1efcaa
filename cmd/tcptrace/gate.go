package main

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"tcptrace/process"
)

// A command that is to be traced is started behind a gate: tcptrace itself, as another process, that
// becomes the user, finds the command, waits until the hooks are ready, and then becomes the command. It is started
// before tcptrace gives up its rights, which would otherwise be lost to the command as well.

// gateName is what the gate has for os.Args[0]; a ticket and the command follow.
const gateName = "tcptrace (waiting)"

// The gate's files after standard error: it waits until the first is closed with a byte in it, and
// writes to the second a gateWord.
const (
	gateOpens = 3 + iota
	gateSays
)

// gateWord is what the gate says when it is ready, or why it never will be.
type gateWord struct {
	Refused *refusal
	// Program is what the command will be, where that is Known.
	Program process.Program
	Known   bool
}

// ticket says as whom the command is run.
type ticket struct {
	// Change: become this user; else stay who one is.
	Change   bool
	UID, GID int
	Groups   []int
}

// Shells' exit statuses for a command that cannot be run, and the base for one that a signal ended.
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128
)

// refusal is why a command cannot be run.
type refusal struct {
	Status int
	Why    string
}

func (r *refusal) Error() string { return r.Why }

// passGate is the gate's main. It returns only where the command is not run.
func passGate(args []string) int {
	opens, says := os.NewFile(gateOpens, "gate"), os.NewFile(gateSays, "refusal")
	path, refused := prepareCommand(args)
	word := gateWord{Refused: refused}
	if refused == nil {
		word.Program, word.Known = process.ProgramOf(path, args[1:])
	}
	err := errors.Join(gob.NewEncoder(says).Encode(&word), says.Close())
	if refused != nil {
		return refused.Status
	}
	if err != nil {
		return exitFailure
	}
	if n, _ := opens.Read(make([]byte, 1)); n == 0 {
		return exitFailure // the tracer gave up
	}
	unix.CloseOnExec(gateOpens)
	err = syscall.Exec(path, args[1:], os.Environ())
	refused = cannotRun(args[1], err)
	fmt.Fprintf(os.Stderr, "tcptrace: %s\n", refused.Why)
	return refused.Status
}

// prepareCommand becomes the user and finds the command as that user does.
func prepareCommand(args []string) (path string, r *refusal) {
	var t ticket
	if len(args) < 2 || json.Unmarshal([]byte(args[0]), &t) != nil {
		return "", &refusal{exitFailure, "started as " + gateName + ", but not by tcptrace"}
	}
	if t.Change {
		// In this order: the user may not change groups.
		err := errors.Join(syscall.Setgroups(t.Groups), syscall.Setgid(t.GID), syscall.Setuid(t.UID))
		if err != nil {
			return "", &refusal{exitCannotRun, fmt.Sprintf("become user %d: %v", t.UID, err)}
		}
	}
	path, err := exec.LookPath(args[1])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", cannotRun(args[1], err)
	}
	return path, nil
}

// cannotRun gives the error the status that shells give it.
func cannotRun(command string, err error) *refusal {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return &refusal{exitNotFound, command + ": command not found"}
	case errors.Is(err, fs.ErrNotExist):
		return &refusal{exitNotFound, command + ": no such file, or its interpreter is missing"}
	}
	var inner *exec.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &refusal{exitCannotRun, fmt.Sprintf("%s: cannot be run: %v", command, err)}
}
