package tracer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/gen"
)

// The iterators that a snapshot is made by.
const (
	filesIterator   = "task_file"
	socketsIterator = "tcp"
)

// Snapshot makes events of the sockets that were there before Open, and hands them, with all else that
// happens meanwhile, to h. It walks the files of every process, which name the owners, then
// the sockets of every network namespace: those that no process holds. A namespace that this process has
// no right to enter is left out.
func (t *Tracer) Snapshot(h Handler) error { return t.drainDuring(t.walkAll, h) }

// drainDuring hands to h what a walk makes, while it is made: there may be more than the ring holds. The walk calls pause now
// and then, which waits while the reader is behind.
func (t *Tracer) drainDuring(walk func(pause func()) error, h Handler) (err error) {
	walked := make(chan error, 1)
	paces := make(chan struct{}, 1)
	given := make(chan struct{}) // closed where nobody reads any more
	go func() {
		walked <- walk(func() {
			select {
			case paces <- struct{}{}:
			case <-given:
			}
			t.reader.wake()
		})
		t.reader.wake()
	}()
	for {
		select {
		case err := <-walked:
			time.Sleep(t.margin())
			return errors.Join(err, t.drain(h, t.margin()))
		default:
		}
		_, err := t.reader.wait(pollInterval)
		if err == nil {
			err = t.drain(h, t.margin())
		}
		if err != nil {
			close(given)
			return errors.Join(err, <-walked)
		}
		select {
		case <-paces:
		default:
		}
	}
}

func (t *Tracer) walkAll(pause func()) error {
	if err := t.findSocketOperations(pause); err != nil {
		return err
	}
	if err := t.walkFiles(false, pause); err != nil {
		return err
	}
	return t.walkSockets(pause)
}

// findSocketOperations shows the program that walks the files a socket, where it has no other
// means to know one.
func (t *Tracer) findSocketOperations(pause func()) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	defer unix.Close(fd)
	if !t.copiesFiles {
		return nil
	}
	if err := t.collection.Variables[gen.BPFVarKnownSocketFd].Set(int32(fd)); err != nil {
		return fmt.Errorf("set known_socket_fd: %w", err)
	}
	return t.walkFiles(true, pause)
}

// Sample makes events of the counters, as they are now, of the traced connections that processes hold.
// It is for a Handler, when the rings have room.
func (t *Tracer) Sample() error { return t.sample(func() {}) }

func (t *Tracer) sample(pause func()) error { return t.walkFiles(true, pause) }

// walkFiles makes events of the sockets that processes hold; final makes them of those alone
// that are traced already.
func (t *Tracer) walkFiles(final bool, pause func()) error {
	files := t.walks[filesIterator]
	if files == nil {
		return nil
	}
	if err := t.collection.Variables[gen.BPFVarFinalSnapshot].Set(final); err != nil {
		return fmt.Errorf("set final_snapshot: %w", err)
	}
	if err := t.walk(files, pause); err != nil {
		return fmt.Errorf("walk the processes' files: %w", err)
	}
	return nil
}

// walkSockets makes events of the sockets of every network namespace that nobody told of yet.
func (t *Tracer) walkSockets(pause func()) error {
	sockets := t.walks[socketsIterator]
	if sockets == nil {
		return nil
	}
	if err := inEach(t.netns, func() error { return t.walk(sockets, pause) }); err != nil {
		return fmt.Errorf("walk the sockets: %w", err)
	}
	return nil
}

// EachNamespace calls f in every network namespace that this process may enter, one after the other, its own first, on
// a thread that is there meanwhile.
func EachNamespace(f func() error) error { return inEach(nil, f) }

func inEach(only []uint32, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in a namespace that is not its own
		done <- eachNamespace(only, f)
	}()
	return <-done
}

// walkShare of a ring is filled by a walk at most before it pauses.
const walkShare = 8

// walk runs an iterator's program for all that it goes through, which writes a byte for each step. One read goes no
// further than there is room for bytes, and not always that far.
func (t *Tracer) walk(over *link.Iter, pause func()) error {
	r, err := over.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	steps := make([]byte, max(1, int(t.rings.maps[0].MaxEntries())/walkShare/events.Size))
	for {
		switch _, err := r.Read(steps); {
		case err == nil:
			pause()
		case errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, unix.EAGAIN):
			return err
		}
	}
}

// eachNamespace calls f in every network namespace, or in those of these inode numbers, as far
// as it may be entered. The calling thread does not come back to its own.
func eachNamespace(only []uint32, f func() error) error {
	own, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	if wanted(only, own) {
		if err := f(); err != nil {
			return err
		}
	}
	seen := []os.FileInfo{own}
	for _, path := range namespaceFiles() {
		info, err := os.Stat(path)
		if err != nil || !wanted(only, info) || slices.ContainsFunc(seen, func(s os.FileInfo) bool { return os.SameFile(s, info) }) {
			continue // its process has ended, or it was looked at
		}
		seen = append(seen, info)
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		_ = unix.Close(fd)
		if err != nil {
			continue // not permitted
		}
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func wanted(only []uint32, info os.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return len(only) == 0 || ok && slices.Contains(only, uint32(s.Ino))
}

// namespaceFiles are the files by which network namespaces can be entered: those of processes, and
// what `ip netns` and container engines mount. A namespace may be there more than once.
func namespaceFiles() []string {
	files, _ := filepath.Glob("/proc/[0-9]*/ns/net") // the pattern is well formed
	mounts, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return files
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		// 36 35 0:4 net:[4026532008] /run/netns/red rw … - nsfs nsfs rw (proc(5))
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[3], "net:[") {
			files = append(files, unescapeMount(fields[4]))
		}
	}
	return files
}

// unescapeMount undoes what the kernel makes of white space in a path: \040 and the like.
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
