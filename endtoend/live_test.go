package endtoend

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// liveEnv is a network whose connections are shown on a screen.
func liveEnv(t *testing.T, width, height int) (*env, *lab.Screen, string) {
	lab.Need(t)
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	s := lab.NewScreen(t, width, height)
	command := lab.Binary(t) + " -N " + n.Client.Path() + " -N " + n.Server.Path()
	if attach := os.Getenv("TCPTRACE_ATTACH"); attach != "" {
		command += " --attach " + attach
	}
	return e, s, command
}

// TestLive goes through what the live view shows and which keys it has.
func TestLive(t *testing.T) {
	e, s, command := liveEnv(t, 120, 40)
	before := s.State()
	s.Command(command + " --close-wait 300ms")
	s.Await("tcptrace  netns", "No connection yet", "q quit")

	c, server := e.open()
	s.AwaitThat("both ends are open", func(text string) bool {
		return strings.Count(text, "  ESTABLISHED") >= 1 && strings.Contains(text, "OPEN 2")
	})
	// What it carried is known while it is open.
	c.write(3210)
	server.read(3210)
	s.Resize(200, 40)
	s.AwaitThat("both counters are shown", func(text string) bool { return strings.Count(text, "3210B") == 2 })
	s.Resize(120, 40)

	refused := e.socketAt(e.net.Client, e.client, 0)
	if err := e.connect(refused, e.server, serverPort+1); err != unix.ECONNREFUSED {
		t.Errorf("connect: %v", err)
	}
	s.Await("FAILED 2", "connect-refused", "refused-here")
	c.close()
	server.readEOF() // and does not close
	text := s.Await("STUCK", "CLOSE_WAIT", "close-wait-leak")
	if at := strings.Index(text, "FAILED"); at < 0 || at > strings.Index(text, "STUCK") {
		t.Errorf("what failed does not come first:\n%s", text)
	}
	if !s.Colours() {
		t.Error("no colours")
	}

	// The filter works while it is typed, and Esc takes it away.
	s.Type("/close_wait")
	s.AwaitThat("only the stuck one is left", func(text string) bool {
		return strings.Contains(text, "> CLOSE_WAIT") && !strings.Contains(text, "connect-refused")
	})
	s.Press("Enter")
	s.Await("Enter ladder")

	// The ladder, the explanation, and the file.
	s.Press("Enter")
	s.Await("1/3 SYN", "3/3 ACK", "CLOSE_WAIT", "both ends", "q back")
	s.Type("w")
	saved(t, s, s.Await("saved as tcptrace-"), "tcptrace-")
	s.Type("w")
	saved(t, s, s.Await("-2.json"), "-2.json")
	s.Type("e")
	s.Await("the client chose the initial sequence number")
	s.Press("Escape")
	s.Await("/close_wait", "STUCK 1")
	s.Press("Escape")
	s.Await("connect-refused")

	s.Type("f")
	s.Await("failures only")
	s.Type("f")
	s.Type("s")
	s.Await("by traffic")
	for range 5 {
		s.Type("s")
	}
	s.Await("FAILED")
	s.Type("?")
	s.Await("Ctrl-Z", "suspend")
	s.Type("q")
	s.Await("q quit")

	// Down selects the next row, and its connection stays selected.
	s.Press("Down")
	s.AwaitThat("the second row is selected", func(text string) bool { return selectedRow(text) == 1 })
	s.Press("Home")
	s.AwaitThat("the first row is selected", func(text string) bool { return selectedRow(text) == 0 })

	// Paused, it shows nothing new; the tracing goes on.
	s.Type("p")
	s.Await("PAUSED")
	server.close()
	s.Type("p")
	s.AwaitThat("it goes on", func(text string) bool { return !strings.Contains(text, "STUCK") })

	for _, size := range [][2]int{{80, 24}, {250, 60}, {40, 10}, {80, 24}} {
		s.Resize(size[0], size[1])
		s.AwaitThat("it fits", func(text string) bool {
			lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
			return strings.HasPrefix(lines[0], " tcptrace") && len(lines) == size[1] && strings.Contains(lines[len(lines)-1], "e explain")
		})
	}
	s.Type("q")
	s.Await(" 0 lost", "events,")
	if after := s.State(); after != before {
		t.Errorf("the terminal is left changed:\n%s\n%s", before, after)
	}
}

// selectedRow is the place of the marked row among those of the table, -1 where none is.
func selectedRow(screen string) int {
	rows := 0
	for line := range strings.Lines(screen) {
		switch {
		case strings.HasPrefix(line, "> "):
			return rows
		case strings.HasPrefix(line, "  ") && rows+len(strings.Fields(line)) > 0 && !strings.Contains(line, "FINDING"):
			rows++
		}
	}
	return -1
}

// saved reads the file that the screen names.
func saved(t *testing.T, s *lab.Screen, screen, has string) {
	t.Helper()
	_, rest, _ := strings.Cut(screen, "saved as ")
	name, _, _ := strings.Cut(rest, "\n")
	name = strings.TrimSpace(name)
	content, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		t.Error(err)
		return
	}
	var tl lab.Timeline
	if err := json.Unmarshal(content, &tl); err != nil || len(tl.Timeline) == 0 || !strings.Contains(name, has) {
		t.Errorf("%s: %v: %s", name, err, content)
	}
}

// TestLiveGivesTheTerminalBack, however it ends.
func TestLiveGivesTheTerminalBack(t *testing.T) {
	for _, end := range []struct {
		name string
		by   func(s *lab.Screen, pid int)
	}{
		{"Ctrl-C", func(s *lab.Screen, _ int) { s.Press("C-c") }},
		{"SIGTERM", func(_ *lab.Screen, pid int) { _ = unix.Kill(pid, unix.SIGTERM) }},
		{"SIGHUP", func(_ *lab.Screen, pid int) { _ = unix.Kill(pid, unix.SIGHUP) }},
		{"after --duration", nil},
	} {
		t.Run(end.name, func(t *testing.T) {
			_, s, command := liveEnv(t, 80, 24)
			before := s.State()
			pidFile := filepath.Join(s.Dir, "ready")
			command += " --ready-file " + pidFile
			if end.by == nil {
				command += " --duration 2s"
			}
			s.Command(command)
			s.Await("q quit")
			if end.by != nil {
				end.by(s, pidIn(t, pidFile))
			}
			s.Await(" 0 lost")
			if after := s.State(); after != before {
				t.Errorf("the terminal is left changed:\n%s\n%s", before, after)
			}
		})
	}
}

// TestLiveSuspends: Ctrl-Z stops it with the terminal given back; fg goes on, whatever stopped it.
func TestLiveSuspends(t *testing.T) {
	e, s, command := liveEnv(t, 80, 24)
	before := s.State()
	pidFile := filepath.Join(s.Dir, "ready")
	s.Command(command + " --ready-file " + pidFile)
	s.Await("q quit")
	for range 2 {
		s.Press("C-z")
		s.Await("Stopped")
		if after := s.State(); after != before {
			t.Errorf("the terminal is left changed:\n%s\n%s", before, after)
		}
		s.Command("fg")
		s.Await("q quit", "No connection yet")
	}
	c, server := e.open() // it traces still
	s.Await("OPEN 2")
	c.close()
	server.readEOF()
	server.close()
	s.Type("q")
	s.Await("0 lost")
	s.AwaitPrompt()

	// Nobody can prepare for SIGSTOP; a shell that edits lines has the terminal its own way then.
	s.Command("PS1= exec bash --norc --noprofile -i")
	s.Command("PS1='ready> '; clear")
	s.AwaitPrompt()
	s.Command("clear; " + command + " --ready-file " + pidFile)
	s.Await("q quit", "tcptrace  netns")
	pid := pidIn(t, pidFile)
	_ = unix.Kill(pid, unix.SIGSTOP)
	lab.Eventually(t, "it is stopped", func() bool {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		return err == nil && strings.Contains(string(status), "State:\tT")
	})
	s.Command("clear; fg")
	s.Await("q quit", "tcptrace  netns")
	s.Type("?") // it is listened to again
	s.Await("q back")
	s.Type("qq")
	s.Await("0 lost")
	s.AwaitPrompt()
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestLiveSavesInOthersDirectories: root writes there, though the tracer has given up most of its rights.
func TestLiveSavesInOthersDirectories(t *testing.T) {
	e, s, command := liveEnv(t, 80, 24)
	const nobody = 65534
	if err := os.Chown(s.Dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	s.Command(command)
	s.Await("q quit")
	c, server := e.open()
	s.Await("OPEN 2")
	s.Type("w")
	saved(t, s, s.Await("saved as"), "tcptrace-")
	c.close()
	server.readEOF()
	server.close()
	s.Type("q")
	s.Await(" 0 lost")
}

// TestLiveWithout: no colours where NO_COLOR asks for none, ASCII where the locale has no more, and lines on a
// terminal that cannot move its cursor, or none.
func TestLiveWithout(t *testing.T) {
	_, s, command := liveEnv(t, 80, 24)
	s.Command("NO_COLOR=1 LC_ALL=C " + command)
	text := s.Await("q quit", "tcptrace  netns")
	if s.Colours() {
		t.Error("colours, despite NO_COLOR")
	}
	for _, r := range text {
		if r > 0x7f {
			t.Fatalf("%q is no ASCII:\n%s", r, text)
		}
	}
	s.Type("q")
	s.Await(" 0 lost")
	s.AwaitPrompt()

	s.Command("clear; TERM=dumb " + command)
	s.Await("PID     COMM", "Ctrl-C ends it")
	s.Press("C-c")
	s.Await("0 lost")
	s.AwaitPrompt()
	s.Command("clear; " + command + " --duration 1s | cat")
	s.Await("PID     COMM", "0 lost")
	s.AwaitPrompt()
	s.Command("clear; " + command + " --duration 1s </dev/null")
	s.Await("PID     COMM", "0 lost")

	out, err := exec.Command(lab.Binary(t), "-o", "live").CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), "-o live needs a terminal") {
		t.Errorf("-o live without a terminal: %v\n%s", err, out)
	}
}
