package lab

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// prompt is the shell's.
const prompt = "ready>"

// Screen is a shell on a terminal of its own (tmux), for programs that want one.
type Screen struct {
	t      testing.TB
	socket string
	Dir    string // the shell's current directory
}

// NewScreen starts a shell, in an empty directory, on a terminal of so many columns and rows.
func NewScreen(t testing.TB, width, height int) *Screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("needs the command tmux, which is not installed")
	}
	s := &Screen{t: t, socket: filepath.Join(t.TempDir(), "tmux"), Dir: t.TempDir()}
	s.tmux("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "-c", s.Dir,
		"env", "-u", "NO_COLOR", "LC_ALL=C.UTF-8", "PS1="+prompt+" ", "sh", "-i")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen at the end:\n%s", s.Text())
		}
		s.tmux("kill-server")
	})
	s.AwaitPrompt()
	return s
}

func (s *Screen) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", s.socket}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Errorf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Type types text, as it is.
func (s *Screen) Type(text string) {
	s.t.Helper()
	s.tmux("send-keys", "-l", text)
}

// Press presses keys by tmux's names: Enter, Down, C-c.
func (s *Screen) Press(keys ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys"}, keys...)...)
}

// Command types a command line.
func (s *Screen) Command(line string) {
	s.t.Helper()
	s.Type(line)
	s.Press("Enter")
}

// Text is what is to be seen.
func (s *Screen) Text() string {
	s.t.Helper()
	return s.tmux("capture-pane", "-p")
}

// foreground sets another colour than the terminal's own (ECMA-48, SGR).
var foreground = regexp.MustCompile("\x1b\\[([0-9]+;)*[39][0-7]m")

// Colours reports whether there are any.
func (s *Screen) Colours() bool {
	s.t.Helper()
	return foreground.MatchString(s.tmux("capture-pane", "-p", "-e"))
}

// Await waits until all of these are to be seen, and returns the screen.
func (s *Screen) Await(texts ...string) (screen string) {
	s.t.Helper()
	s.AwaitThat("there is "+strings.Join(texts, ", "), func(text string) bool {
		for _, want := range texts {
			if !strings.Contains(text, want) {
				return false
			}
		}
		screen = text
		return true
	})
	return screen
}

// AwaitPrompt waits until the shell waits for a command.
func (s *Screen) AwaitPrompt() {
	s.t.Helper()
	s.AwaitThat("the shell waits for a command", func(screen string) bool {
		screen = strings.TrimRight(screen, " \n")
		return screen[strings.LastIndexByte(screen, '\n')+1:] == prompt
	})
}

// AwaitThat waits until the screen is so.
func (s *Screen) AwaitThat(what string, so func(screen string) bool) {
	s.t.Helper()
	Eventually(s.t, what, func() bool { return so(s.Text()) })
}

// Resize makes the terminal larger or smaller.
func (s *Screen) Resize(width, height int) {
	s.t.Helper()
	s.tmux("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
}

// State is what a program may leave changed: the settings of the terminal, whether its other screen is
// shown, and the cursor. It waits for the shell's prompt first.
func (s *Screen) State() string {
	s.t.Helper()
	s.AwaitPrompt()
	s.Command("clear; stty -g | cksum; echo that was all")
	settings := strings.TrimSpace(strings.Split(s.Await("\nthat was all"), "\n")[0])
	s.AwaitPrompt()
	return settings + s.tmux("display-message", "-p",
		" alternate #{alternate_on} cursor #{cursor_flag} keypad #{keypad_flag} #{keypad_cursor_flag} mouse #{mouse_any_flag}")
}
