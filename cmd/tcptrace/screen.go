package main

import (
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// screen is what the output is shown on.
type screen struct {
	terminal bool
	width    int // columns, 0: not known
	ascii    bool
	color    bool
}

// screenOf looks at where the output goes and at the environment: the terminal's size, else
// COLUMNS; UTF-8 where the locale says so and the terminal is not dumb; colours on a
// terminal without NO_COLOR.
func screenOf(out io.Writer, getenv func(string) string) screen {
	s := screen{}
	s.width = terminalWidth(out)
	s.terminal = s.width > 0
	if s.width == 0 {
		if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
			s.width = n
		}
	}
	dumb := getenv("TERM") == "dumb"
	s.ascii = s.terminal && dumb || !utf8Locale(getenv)
	s.color = s.terminal && !dumb && getenv("NO_COLOR") == ""
	return s
}

// terminalWidth is how many columns a terminal has, 0 where it is none. One that does not say has 80.
func terminalWidth(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case size.Col == 0:
		return 80
	}
	return int(size.Col)
}

// utf8Locale tells whether the locale's characters are UTF-8; C and POSIX are ASCII. One that is not
// set at all says nothing of what reads the output, and UTF-8 is what most do.
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}
