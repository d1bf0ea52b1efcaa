package tracer

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// poller waits for a ring, or for wake. It is an epoll that Go's own epoll watches: a thread that waits in
// a system call keeps Go's scheduler looking after it, at intervals of 20 µs at first, and that takes processor time from what is
// traced.
type poller struct {
	epoll *os.File
	conn  syscall.RawConn // epoll's
	event int
}

// newPoller waits edge-triggered: a ring with data is always readable, but only a wakeup of the
// kernel programs is news, and they wake rarely.
func newPoller(rings []*ebpf.Map) (_ *poller, err error) {
	p := &poller{event: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	// What is nonblocking is watched by Go's epoll.
	err = unix.SetNonblock(epoll, true)
	p.epoll = os.NewFile(uintptr(epoll), "epoll")
	if err != nil {
		return nil, fmt.Errorf("make epoll nonblocking: %w", err)
	}
	if p.conn, err = p.epoll.SyscallConn(); err != nil {
		return nil, fmt.Errorf("wait for epoll: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	fds := []int{p.event}
	for _, r := range rings {
		fds = append(fds, r.FD())
	}
	for _, fd := range fds {
		err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd,
			&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)})
		if err != nil {
			return nil, fmt.Errorf("watch a ring: %w", err)
		}
	}
	return p, nil
}

// forever is for wait.
const forever time.Duration = 0

// wait returns when a ring filled, when d is over (forever: never), or woken by wake. It is for one goroutine.
func (p *poller) wait(d time.Duration) (woken bool, err error) {
	var until time.Time
	if d != forever {
		until = time.Now().Add(d)
	}
	if err := p.epoll.SetReadDeadline(until); err != nil {
		return false, fmt.Errorf("wait for a ring: %w", err)
	}
	var failed error
	err = p.conn.Read(func(epoll uintptr) bool {
		var ready [4]unix.EpollEvent
		n, err := unix.EpollWait(int(epoll), ready[:], 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			failed = err
			return true
		}
		for _, r := range ready[:max(n, 0)] {
			woken = woken || int(r.Fd) == p.event
		}
		return n > 0
	})
	if err == nil {
		err = failed
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, fmt.Errorf("wait for a ring: %w", err)
	}
	return woken, nil
}

// wake ends a wait, now or the next. It may be called from any goroutine.
func (p *poller) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.event, one[:])
}

// Close gives up what it waits with; nobody may wait.
func (p *poller) Close() error {
	var errs []error
	if p.epoll != nil {
		errs = append(errs, p.epoll.Close())
	}
	if p.event >= 0 {
		errs = append(errs, unix.Close(p.event))
	}
	return errors.Join(errs...)
}
