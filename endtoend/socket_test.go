package endtoend

import (
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// socket is a TCP socket by its bare file descriptor: connect, shutdown, linger and close
// are the test's, not a runtime's. Calls that block, block.
type socket struct {
	t  testing.TB
	fd int
}

func sockaddr(ap netip.AddrPort, domain int) unix.Sockaddr {
	if domain == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()} // IPv4 becomes IPv4-mapped
}

// newSocket makes a socket on the host, in one of the families v4, v6, mapped.
func newSocket(t testing.TB, h *lab.Host, family string) (s *socket, domain int) {
	t.Helper()
	domain = unix.AF_INET6
	if family == "v4" {
		domain = unix.AF_INET
	}
	s = &socket{t: t, fd: -1}
	h.Do(func() {
		var err error
		if s.fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
			t.Errorf("socket: %v", err)
		}
	})
	s.option(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	// A call that never returns would hang the test: let it fail.
	timeout := unix.Timeval{Sec: 60}
	s.must("SO_RCVTIMEO", unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	t.Cleanup(s.close)
	return s, domain
}

func (s *socket) must(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

func (s *socket) option(level, name, value int) {
	s.t.Helper()
	s.must("setsockopt", unix.SetsockoptInt(s.fd, level, name, value))
}

func (s *socket) linger0() {
	s.t.Helper()
	s.must("SO_LINGER", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
}

// nodelay sends each write at once.
func (s *socket) nodelay() { s.option(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// again calls f until it was not interrupted: with a timeout set, the kernel does not restart it.
func again(f func() (int, error)) (n int, err error) {
	for {
		if n, err = f(); err != unix.EINTR {
			return n, err
		}
	}
}

// readSome reads at most len(b) bytes.
func (s *socket) readSome(b []byte) (int, error) {
	return again(func() (int, error) { return unix.Read(s.fd, b) })
}

func (s *socket) write(n int) {
	s.t.Helper()
	for b := make([]byte, n); len(b) > 0; {
		m, err := unix.Write(s.fd, b)
		if err != nil {
			s.t.Fatalf("write: %v", err)
		}
		b = b[m:]
	}
}

// read reads exactly n bytes.
func (s *socket) read(n int) {
	s.t.Helper()
	for b := make([]byte, n); len(b) > 0; {
		m, err := s.readSome(b)
		if err != nil || m == 0 {
			s.t.Fatalf("read: %d bytes missing: %v", len(b), err)
		}
		b = b[m:]
	}
}

// readEOF expects the end of the stream.
func (s *socket) readEOF() {
	s.t.Helper()
	if n, err := s.readSome(make([]byte, 1)); n != 0 || err != nil {
		s.t.Fatalf("read: %d bytes, %v; want the end", n, err)
	}
}

// readError expects an error.
func (s *socket) readError(want error) {
	s.t.Helper()
	if _, err := s.readSome(make([]byte, 1)); err != want {
		s.t.Fatalf("read: %v, want %v", err, want)
	}
}

func (s *socket) shutdown() {
	s.t.Helper()
	s.must("shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
}

// disconnect is connect() to AF_UNSPEC: the connection is gone, the socket can have another.
func (s *socket) disconnect() {
	s.t.Helper()
	unspecified := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	if errno != 0 {
		s.t.Errorf("disconnect: %v", errno)
	}
}

// close lets no child of the tests be the last to close: one that is being forked holds all that
// the tests hold until it executes its program.
func (s *socket) close() {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}
