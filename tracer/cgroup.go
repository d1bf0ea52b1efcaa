package tracer

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cgroups names cgroups of version 2 by their ID. It is for one goroutine.
type Cgroups struct {
	mount  string // where cgroup2 is mounted, "" if nowhere
	paths  map[uint64]string
	walked time.Time
}

// NewCgroups finds the mount of cgroup2.
func NewCgroups() *Cgroups {
	return &Cgroups{mount: cgroup2Mount(), paths: map[uint64]string{}}
}

// Path is the cgroup's path as /proc/PID/cgroup has it, "" where it is not known:
// cgroup2 is not mounted, or the cgroup was gone before anyone asked.
func (c *Cgroups) Path(id uint64) string {
	if path, ok := c.paths[id]; ok || c.mount == "" || id == 0 {
		return path
	}
	// A cgroup's ID is its directory's inode number. Walking them all is dear: once a second at most.
	if time.Since(c.walked) < time.Second {
		return ""
	}
	c.walked = time.Now()
	_ = filepath.WalkDir(c.mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // gone meanwhile
		}
		var s unix.Stat_t
		if unix.Stat(path, &s) == nil {
			c.paths[s.Ino] = "/" + strings.TrimPrefix(strings.TrimPrefix(path, c.mount), "/")
		}
		return nil
	})
	if _, ok := c.paths[id]; !ok {
		c.paths[id] = ""
	}
	return c.paths[id]
}

func cgroup2Mount() string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// … mount point is the 5th field; the type is the first after " - ".
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4]
		}
	}
	return ""
}
