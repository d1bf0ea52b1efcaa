package main

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"tcptrace/tracer"
)

// checkCommand: what goes together with a command that is started to be traced.
func (o *options) checkCommand(raw *rawFlags) error {
	switch {
	case len(raw.pids) > 0:
		return usagef("-p and a command exclude each other: the command's process, and its children, are what is traced")
	case o.check:
		return usagef("--check traces nothing: leave out the command")
	case o.replay != "":
		return usagef("--replay starts nothing: leave out the command")
	}
	raw.follow = false // they are followed anyhow
	return nil
}

// child is a command that is started to be traced.
type child struct {
	cmd  *exec.Cmd
	gate *os.File // closed when it was opened
	said gateWord
	// running: the gate was opened.
	running bool
	ended   atomic.Bool
	done    chan struct{} // closed when it has ended
}

// startChild starts the command behind its gate. A *refusal says that it cannot be run.
func startChild(command []string) (*child, error) {
	if os.Args[0] == gateName {
		return nil, errors.New("a gate does not start another") // where a program that embeds this forgets passGate
	}
	who, env, err := invoker(os.Getenv, os.Geteuid(), os.Environ())
	if err != nil {
		return nil, err
	}
	note, err := json.Marshal(who)
	if err != nil {
		return nil, err
	}
	opens, gate, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	words, says, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, opens.Close(), gate.Close())
	}
	c := &child{gate: gate, done: make(chan struct{}), cmd: &exec.Cmd{
		Path:  "/proc/self/exe",
		Args:  append([]string{gateName, string(note)}, command...),
		Env:   env,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{opens, says},
	}}
	err = c.cmd.Start()
	_, _ = opens.Close(), says.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the command: %w", err), gate.Close(), words.Close())
	}
	go c.wait()
	err = gob.NewDecoder(words).Decode(&c.said)
	_ = words.Close()
	switch {
	case err != nil:
		c.abandon()
		return nil, fmt.Errorf("start the command: what was to become it went: %w", err)
	case c.said.Refused != nil:
		c.abandon()
		return nil, c.said.Refused
	}
	return c, nil
}

// known tells the reader of /proc what the command will be, if that is asked for and sure.
func (c *child) known(h *helper) {
	if h != nil && c.said.Known {
		h.Known(c.cmd.Process.Pid, &c.said.Program)
	}
}

func (c *child) wait() {
	_ = c.cmd.Wait() // its status is read from ProcessState
	c.ended.Store(true)
	close(c.done)
}

// filter has the command alone traced, and its children.
func (c *child) filter(p *tracer.Processes) {
	p.PIDs, p.FollowForks = []uint32{uint32(c.cmd.Process.Pid)}, true
}

// run opens the gate. From now on the terminal's signals are the command's affair: it gets them
// itself, being of the same process group. What others send to end tcptrace is passed on to it.
func (c *child) run(ctx context.Context) error {
	if ctx.Err() != nil {
		c.abandon()
		by := signalled{syscall.SIGINT}
		errors.As(context.Cause(ctx), &by)
		return &refusal{exitSignal + int(by.signal), by.Error() + " before the command was started"}
	}
	signal.Ignore(os.Interrupt, syscall.SIGQUIT)
	passed := make(chan os.Signal, 1)
	signal.Notify(passed, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for {
			select {
			case s := <-passed:
				_ = c.cmd.Process.Signal(s)
			case <-c.done:
				return
			}
		}
	}()
	_, err := c.gate.Write([]byte{1})
	c.running = true
	if err = errors.Join(err, c.gate.Close()); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("start the command: %w", err)
	}
	return nil
}

// abandon ends it, where its gate was not opened.
func (c *child) abandon() {
	_ = c.gate.Close()
	<-c.done
}

// leave waits for a command that runs, whatever became of its tracer, and ends one that does not.
func (c *child) leave() {
	if !c.running {
		c.abandon()
	}
	<-c.done
}

// status waits until the command has ended and is its exit status, as shells have it.
func (c *child) status() int {
	<-c.done
	if s, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return exitSignal + int(s.Signal())
	}
	return c.cmd.ProcessState.ExitCode()
}

// invoker is the user who called sudo, and that user's environment; without sudo, whoever runs this.
func invoker(getenv func(string) string, euid int, environ []string) (ticket, []string, error) {
	if euid != 0 || getenv("SUDO_UID") == "" {
		return ticket{}, environ, nil
	}
	uid, err1 := strconv.ParseUint(getenv("SUDO_UID"), 10, 31)
	gid, err2 := strconv.ParseUint(getenv("SUDO_GID"), 10, 31)
	if err1 != nil || err2 != nil {
		return ticket{}, nil, fmt.Errorf("SUDO_UID=%q and SUDO_GID=%q are not the numbers of a user and a group: the command cannot be run as who called sudo",
			getenv("SUDO_UID"), getenv("SUDO_GID"))
	}
	if uid == 0 {
		return ticket{}, environ, nil
	}
	who := ticket{Change: true, UID: int(uid), GID: int(gid), Groups: []int{int(gid)}}
	name, home := getenv("SUDO_USER"), getenv("SUDO_HOME")
	// Not every user is in /etc/passwd.
	if u, err := user.LookupId(strconv.FormatUint(uid, 10)); err == nil {
		name, home = u.Username, u.HomeDir
		groups, _ := u.GroupIds()
		for _, g := range groups {
			if id, err := strconv.Atoi(g); err == nil && !slices.Contains(who.Groups, id) {
				who.Groups = append(who.Groups, id)
			}
		}
	}
	// What sudo set for root, and of itself.
	env := slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "SUDO_") || slices.Contains([]string{"HOME", "USER", "LOGNAME", "USERNAME", "MAIL"}, name)
	})
	if name != "" {
		env = append(env, "USER="+name, "LOGNAME="+name)
	}
	if home != "" {
		env = append(env, "HOME="+home)
	}
	return who, env, nil
}
