package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cgroups names cgroups of version 2. It is for one goroutine.
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
	if len(c.paths) >= maxKnown {
		clear(c.paths) // most of them are gone
	}
	c.walk(func(path string) {
		if id, err := inode(filepath.Join(c.mount, path)); err == nil {
			c.paths[id] = path
		}
	})
	if _, ok := c.paths[id]; !ok {
		c.paths[id] = ""
	}
	return c.paths[id]
}

// walk calls f for the path of each cgroup, a parent before its children.
func (c *Cgroups) walk(f func(path string)) {
	_ = filepath.WalkDir(c.mount, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() { // else gone meanwhile
			f("/" + strings.TrimPrefix(strings.TrimPrefix(path, c.mount), "/"))
		}
		return nil
	})
}

// errNoCgroup2 says what is missing for filters by cgroup.
var errNoCgroup2 = errors.New("this host has no cgroups of version 2 (cgroup2 is not mounted)")

// ID is that of the cgroup at path, which may begin with the mount point or not.
func (c *Cgroups) ID(path string) (uint64, error) {
	if c.mount == "" {
		return 0, errNoCgroup2
	}
	below := filepath.Clean("/" + path)
	if c.mount != "/" && (below == c.mount || strings.HasPrefix(below, c.mount+"/")) {
		below = strings.TrimPrefix(below, c.mount)
	}
	id, err := inode(filepath.Join(c.mount, below))
	if err != nil {
		return 0, fmt.Errorf("there is no such cgroup of version 2 below %s (systemd-cgls, or the line 0:: of /proc/PID/cgroup, has their paths)", c.mount)
	}
	return id, nil
}

// Container is the ID of the cgroup of the one container whose own ID begins with prefix.
func (c *Cgroups) Container(prefix string) (uint64, error) {
	if c.mount == "" {
		return 0, errNoCgroup2
	}
	var ids, paths []string
	c.walk(func(path string) {
		// Cgroups below the container's are its own, too; the first is the outermost.
		id := containerInPath(path).ID
		if id != "" && strings.HasPrefix(id, prefix) && !slices.Contains(ids, id) {
			ids, paths = append(ids, id), append(paths, path)
		}
	})
	switch len(ids) {
	case 0:
		return 0, fmt.Errorf("no cgroup of version 2 is of a container whose ID begins so (docker ps, crictl ps or podman ps have the IDs; where containers have cgroups of version 1 alone, use -f -p with the pid of their first process)")
	case 1:
		return inode(filepath.Join(c.mount, paths[0]))
	}
	const most = 3
	slices.Sort(ids)
	return 0, fmt.Errorf("%d containers' IDs begin so, such as %s: give more of it", len(ids), strings.Join(ids[:min(most, len(ids))], ", "))
}

func inode(path string) (uint64, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, &os.PathError{Op: "stat", Path: path, Err: unix.ENOTDIR}
	}
	return s.Ino, nil
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
