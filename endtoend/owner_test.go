package endtoend

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// A server is one of those of runMode on a host, with what it reported.
type server struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}

	mu        sync.Mutex
	listening int
	served    map[uint16]int // by the port of the client: the process that worked
	took      map[uint16]int // that handed it on
	errors    []string
}

// startServer starts one that listens at the address, or has the listener as its first file.
func startServer(t testing.TB, h *lab.Host, mode string, at netip.AddrPort, files ...*os.File) *server {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, served: map[uint16]int{}, took: map[uint16]int{}, ended: make(chan struct{})}
	s.cmd = exec.Command("ip", "netns", "exec", h.Name, self)
	s.cmd.Env = append(os.Environ(), modeVariable+"="+mode, listenVariable+"="+at.String())
	s.cmd.ExtraFiles = files
	s.cmd.Stderr = os.Stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			s.said(lines.Text())
		}
		_ = s.cmd.Wait()
	}()
	t.Cleanup(s.stop)
	want := 1
	if mode == "pre-fork" {
		want = 1 + workers
	} else if mode == "reuseport" {
		want = workers
	}
	lab.Eventually(t, "the server listens", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.listening >= want || len(s.errors) > 0
	})
	return s
}

func (s *server) said(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	words := strings.Fields(line)
	if line == "listening" {
		s.listening++
		return
	}
	if len(words) != 3 {
		s.errors = append(s.errors, line)
		return
	}
	port, _ := strconv.Atoi(words[1])
	pid, _ := strconv.Atoi(words[2])
	if words[0] == "took" {
		s.took[uint16(port)] = pid
	} else {
		s.served[uint16(port)] = pid
	}
}

// stop ends it, by its standard input: its children have the same.
func (s *server) stop() {
	_ = s.stdin.Close()
	<-s.ended
	for _, e := range s.errors {
		s.t.Errorf("the server said %q", e)
	}
}

// exchangeAll makes n connections one after the other from the host; each sends 8 bytes, gets so many
// back as arrive, and closes first.
func exchangeAll(t testing.TB, h *lab.Host, to netip.AddrPort, n, back int) {
	t.Helper()
	var failed error
	h.Do(func() {
		for range n {
			if failed = exchangeOne(to, back); failed != nil {
				return
			}
		}
	})
	if failed != nil {
		t.Fatalf("exchange: %v", failed)
	}
}

func exchangeOne(to netip.AddrPort, back int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	timeout := unix.Timeval{Sec: 60}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	if err := unix.Connect(fd, sockaddr(to, unix.AF_INET)); err != nil {
		return err
	}
	if _, err := unix.Write(fd, make([]byte, 8)); err != nil {
		return err
	}
	for b := make([]byte, back); len(b) > 0; {
		n, err := again(func() (int, error) { return unix.Read(fd, b) })
		if err != nil || n == 0 {
			return err
		}
		b = b[n:]
	}
	// The end of what the other side sends: then it has closed, or is about to.
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return err
	}
	_, err = again(func() (int, error) { return unix.Read(fd, make([]byte, 1)) })
	return err
}

// owners compares each timeline's process with what the processes themselves said.
func owners(t testing.TB, out *lab.Output, s *server, port uint16, n int) {
	t.Helper()
	count := map[string]int{}
	clients, servers := 0, 0
	for i := range out.Timelines {
		tl := &out.Timelines[i]
		want, other := os.Getpid(), tl.Local.Port
		switch port {
		case tl.Local.Port:
			servers++
			want, other = s.served[tl.Remote.Port], tl.Remote.Port
		case tl.Remote.Port:
			clients++
			if tl.OpenedBy == nil || tl.OpenedBy.PID != want {
				t.Errorf("opened by %+v, want %d", tl.OpenedBy, want)
			}
		default:
			continue
		}
		if tl.Process == nil {
			count["unknown"]++
			continue
		}
		count[tl.Role+" "+tl.Process.Source+" "+tl.Process.Confidence]++
		if tl.Process.PID != want {
			count["wrong"]++
			if count["wrong"] <= 5 {
				t.Errorf("the %s of port %d belongs to %+v, but process %d served it (accepted %+v, took %d): %+v",
					tl.Role, other, *tl.Process, want, tl.AcceptedBy, s.took[other], tl.Timeline)
			}
		}
		if a := tl.AcceptedBy; a != nil && tl.Role == "server" {
			acceptor := want
			if pid := s.took[other]; pid != 0 {
				acceptor = pid
			}
			equal(t, "accepted by", a.PID, acceptor)
		}
	}
	equal(t, "servers' timelines", servers, n)
	if clients > 0 {
		equal(t, "clients' timelines", clients, n)
	}
	if t.Failed() {
		for i, tl := range out.Timelines {
			if !tl.Complete || tl.Role == "unknown" {
				t.Logf("%s", out.Lines[i])
			}
		}
	}
	t.Logf("owners of %d timelines: %v; unknown %d, wrong %d", clients+servers, count, count["unknown"], count["wrong"])
}

// TestOwners: whatever a server's processes do with connections, each belongs to the one that worked on it.
func TestOwners(t *testing.T) {
	for _, c := range []struct {
		mode  string
		n     int
		reads int // by the one that hands it on
	}{
		{"plain", 20, 0},
		{"threaded", 20, 0},
		{"forked", 20, 0},
		{"handed-on", 20, 1},
		{"pre-fork", 20, 0},
		{"reuseport", 20, 0},
		{"scm-rights", 20, 0},
		{"plain", 2000, 0},
		{"pre-fork", 2000, 0},
	} {
		t.Run(c.mode+"-"+strconv.Itoa(c.n), func(t *testing.T) {
			if testing.Short() {
				c.n = min(c.n, 200) // an emulated machine is slow
			}
			n := lab.Cable(t)
			at := netip.AddrPortFrom(n.Server4, serverPort)
			tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path())
			s := startServer(t, n.Server, c.mode, at)
			exchangeAll(t, n.Client, at, c.n, 8-c.reads)
			s.stop()
			out := tracer.Stop()
			owners(t, out, s, serverPort, c.n)
			if c.mode != "handed-on" {
				return
			}
			for _, tl := range out.Timelines {
				if tl.Role != "server" {
					continue
				}
				passed := 0
				for _, e := range tl.Timeline {
					if e.Type == "owner" && e.PID == s.served[tl.Remote.Port] {
						passed++
					}
				}
				equal(t, "entries of how it passed to the worker", passed, 1)
			}
		})
	}
}

// TestOwnerOfActivatedSocket: who listens has handed the listener to another program before, as systemd does.
func TestOwnerOfActivatedSocket(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path())
	e.listen()
	dup, err := unix.FcntlInt(uintptr(e.listener.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(dup), "listener")
	s := startServer(t, n.Server, "accept", e.serverAt(), file)
	file.Close()
	e.listener.close()
	exchangeAll(t, n.Client, e.serverAt(), 5, 8)
	s.stop()
	owners(t, tracer.Stop(), s, serverPort, 5)
}
