package main

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestInvoker: as whom a command runs, and what of sudo's environment it gets to see.
func TestInvoker(t *testing.T) {
	const unknown = "2147483646" // in no /etc/passwd
	environ := []string{"PATH=/bin", "HOME=/root", "USER=root", "LOGNAME=root", "MAIL=/var/mail/root", "SUDO_COMMAND=x", "LANG=C"}
	for _, c := range []struct {
		name string
		euid int
		sudo []string
		who  ticket
		env  []string
		err  bool
	}{
		{"no sudo", 0, nil, ticket{}, environ, false},
		{"not root", 1000, []string{"SUDO_UID=" + unknown, "SUDO_GID=7"}, ticket{}, environ, false},
		{"sudo by root", 0, []string{"SUDO_UID=0", "SUDO_GID=0"}, ticket{}, environ, false},
		{"sudo", 0, []string{"SUDO_UID=" + unknown, "SUDO_GID=7", "SUDO_USER=ann", "SUDO_HOME=/home/ann"},
			ticket{Change: true, UID: 2147483646, GID: 7, Groups: []int{7}},
			[]string{"PATH=/bin", "LANG=C", "USER=ann", "LOGNAME=ann", "HOME=/home/ann"}, false},
		{"sudo that says no name", 0, []string{"SUDO_UID=" + unknown, "SUDO_GID=7"},
			ticket{Change: true, UID: 2147483646, GID: 7, Groups: []int{7}}, []string{"PATH=/bin", "LANG=C"}, false},
		{"no number", 0, []string{"SUDO_UID=ann", "SUDO_GID=7"}, ticket{}, nil, true},
		{"no group", 0, []string{"SUDO_UID=" + unknown}, ticket{}, nil, true},
		{"-1 is no user", 0, []string{"SUDO_UID=4294967295", "SUDO_GID=7"}, ticket{}, nil, true},
	} {
		getenv := func(name string) string {
			for _, v := range c.sudo {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value
				}
			}
			return ""
		}
		who, env, err := invoker(getenv, c.euid, slices.Clone(environ))
		if !reflect.DeepEqual(who, c.who) || (err != nil) != c.err || c.env != nil && !slices.Equal(env, c.env) {
			t.Errorf("%s: %+v %q %v, want %+v %q", c.name, who, env, err, c.who, c.env)
		}
	}
}

// TestHeldWriter: nothing before release, all after, and what is too much as it comes, in order.
func TestHeldWriter(t *testing.T) {
	var out bytes.Buffer
	h := &heldWriter{to: &out}
	write := func(b []byte) {
		if n, err := h.Write(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}
	write([]byte("a"))
	if out.Len() > 0 {
		t.Errorf("%q is not held back", out.String())
	}
	big := bytes.Repeat([]byte("b"), heldMax)
	write(big)
	if out.Len() != 1+heldMax {
		t.Errorf("%d bytes written, want %d", out.Len(), 1+heldMax)
	}
	write([]byte("c"))
	if err := h.release(); err != nil {
		t.Error(err)
	}
	write([]byte("d"))
	if !bytes.Equal(out.Bytes(), slices.Concat([]byte("a"), big, []byte("cd"))) {
		t.Error("what was held back is not what was written")
	}
}

// TestCommandNotFound: said before anything is loaded, so that it takes no rights to be told.
func TestCommandNotFound(t *testing.T) {
	_, err := startChild([]string{"no-such-command-here"})
	var refused *refusal
	if !errors.As(err, &refused) || refused.Status != exitNotFound || refused.Why != "no-such-command-here: command not found" {
		t.Errorf("%v", err)
	}
}

// TestSignalBeforeTheCommand: a signal that comes before the command was started has the status that shells give it.
func TestSignalBeforeTheCommand(t *testing.T) {
	for _, by := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2} { // whichever, but not the test's own
		ctx := untilSignal(by)
		c, err := startChild([]string{"true"})
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(syscall.Getpid(), by); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		var refused *refusal
		if err := c.run(ctx); !errors.As(err, &refused) || refused.Status != 128+int(by) {
			t.Errorf("%v: %+v, %v", by, refused, err)
		}
	}
}
