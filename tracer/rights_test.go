package tracer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestThreadsFound: with cgo, rights are not given up by the help of another pid namespace's /proc.
func TestThreadsFound(t *testing.T) {
	if err := threadsFound("/proc"); err != nil {
		t.Error(err)
	}
	foreign := t.TempDir()
	if err := os.Symlink(strconv.Itoa(os.Getpid()+1), filepath.Join(foreign, "self")); err != nil {
		t.Fatal(err)
	}
	for proc, want := range map[string]string{foreign: "--mount-proc", t.TempDir(): "no such file"} {
		switch err := threadsFound(proc); {
		case !linksC && err != nil:
			t.Errorf("without cgo nothing is looked for: %v", err)
		case linksC && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v, want %q", err, want)
		}
	}
}
