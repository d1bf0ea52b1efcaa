package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestScreen(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		want screen
	}{
		{"nothing set", nil, screen{}},
		{"COLUMNS", map[string]string{"COLUMNS": "132"}, screen{width: 132}},
		{"COLUMNS is no number", map[string]string{"COLUMNS": "many"}, screen{}},
		{"UTF-8", map[string]string{"LANG": "de_DE.UTF-8"}, screen{}},
		{"utf8, as glibc writes it", map[string]string{"LANG": "C.utf8"}, screen{}},
		{"C", map[string]string{"LANG": "C"}, screen{ascii: true}},
		{"LC_ALL before LANG", map[string]string{"LC_ALL": "POSIX", "LANG": "C.UTF-8"}, screen{ascii: true}},
		{"LC_CTYPE before LANG", map[string]string{"LC_CTYPE": "C.UTF-8", "LANG": "C"}, screen{}},
		{"a dumb terminal says nothing of a file", map[string]string{"TERM": "dumb"}, screen{}},
	} {
		getenv := func(name string) string { return tt.env[name] }
		if got := screenOf(&bytes.Buffer{}, getenv); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestScreenIsATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	for _, tt := range []struct {
		env  map[string]string
		want screen
	}{
		{nil, screen{terminal: true, width: 80, color: true}},
		{map[string]string{"NO_COLOR": "1"}, screen{terminal: true, width: 80}},
		{map[string]string{"TERM": "dumb"}, screen{terminal: true, width: 80, ascii: true}},
	} {
		if got := screenOf(terminal, func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.env, got, tt.want)
		}
	}
}

// -O: the file is there, whole, when all is done; nothing else is left in its directory; what was there is replaced.
func TestOutputFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	replay := []string{"-q", "--replay", "../../timeline/testdata/get-client-closes-first.events"}
	run := func(args ...string) (status int, stdout, stderr string) {
		var out, complaints bytes.Buffer
		status = command(context.Background(), append(args, replay...), &out, &complaints)
		return status, out.String(), complaints.String()
	}
	if status, stdout, stderr := run("-o", "html", "-O", path); status != exitOK || stdout != "" || stderr != "" {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.HasSuffix(got, []byte("</html>\n")) {
		t.Errorf("the page is not whole: %v, %d bytes", err, len(got))
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("the directory holds %v, %v", all, err)
	}
	for name, file := range map[string]string{"a directory": dir, "in no directory": filepath.Join(dir, "no", "x")} {
		status, _, stderr := run("-O", file)
		if status != exitFailure || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, file) && !strings.Contains(stderr, filepath.Dir(file)) {
			t.Errorf("%s: status %d, %q", name, status, stderr)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("the directory holds %v, %v", all, err)
	}
}

// A page or a picture would only fill a terminal.
func TestPictureIsNotForATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var complaints bytes.Buffer
	status := command(context.Background(), []string{"-o", "svg", "--replay", "../../timeline/testdata/refused.events"}, terminal, &complaints)
	if status != exitUsage || !strings.Contains(complaints.String(), "-O FILE") {
		t.Errorf("status %d, %q", status, complaints.String())
	}
}
