package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The load: connections one after the other in each of a few threads, made with
// blocking system calls and nothing of Go's network poller or scheduler between
// them, so that what is measured is the kernel and what was hooked into it.
//
// A connection is a handshake, one byte each way and a close by the client that
// the server answers with its own, in three or four segments, never an RST. The client's
// end stays in TIME_WAIT, as it does in real life; that each thread has servers'
// addresses of its own, and a sample a namespace of its own, keeps ports from
// running out.

const (
	churnPort = 7777
	// addressesPerThread, each with a port range of its own to connect from.
	addressesPerThread = 8
)

// churnResult is what the client's process reports, in JSON.
type churnResult struct {
	Connections uint64
	Nanoseconds int64
}

// unscheduled makes this process one of plain threads: their system calls are not
// announced to Go's scheduler, so nothing may have to wait for them. Its caller has set
// GODEBUG=asyncpreemptoff=1, else the runtime's signals would interrupt the calls.
// half is which half of the processors the threads keep to, 0 or 1: were they free to move,
// the scheduler would now and then put both ends on one, which makes a single connection
// after the other twice as fast, with or without a tracer.
func unscheduled(threads, half int, run func(thread int)) {
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(threads + 2)
	var cpus unix.CPUSet
	for i, n := 0, runtime.NumCPU(); i < n; i++ {
		if i*2/n == half || n == 1 {
			cpus.Set(i)
		}
	}
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			if err := unix.SchedSetaffinity(0, &cpus); err != nil {
				fatal(fmt.Errorf("keep to %d processors: %w", cpus.Count(), err))
			}
			run(i)
		})
	}
	wg.Wait()
}

// raw is a system call that the scheduler does not hear of.
func raw(nr, a, b, c uintptr) (uintptr, error) {
	for {
		r, _, errno := unix.RawSyscall(nr, a, b, c)
		switch errno {
		case 0:
			return r, nil
		case unix.EINTR:
			continue
		}
		return r, errno
	}
}

// readByte reads one byte, n is 0 at the end of the stream.
func readByte(fd uintptr, b *byte) (n uintptr, err error) {
	return raw(unix.SYS_READ, fd, uintptr(unsafe.Pointer(b)), 1)
}

func writeByte(fd uintptr, b *byte) error {
	_, err := raw(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(b)), 1)
	return err
}

func socketAddress(a [4]byte, port uint16) unix.RawSockaddrInet4 {
	sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a}
	p := (*[2]byte)(unsafe.Pointer(&sa.Port)) // network byte order
	p[0], p[1] = byte(port>>8), byte(port)
	return sa
}

// serve answers connections until the process is killed. It prints a line when it listens.
func serve(threads int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: churnPort}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 1024); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Println("listening")
	unscheduled(threads, 1, func(int) {
		var b byte
		for {
			conn, err := raw(unix.SYS_ACCEPT4, uintptr(fd), 0, 0)
			if err != nil {
				fatal(fmt.Errorf("accept: %w", err))
			}
			n, err := readByte(conn, &b)
			if err == nil && n == 1 {
				if err = writeByte(conn, &b); err == nil {
					_, err = readByte(conn, &b) // until the client has closed
				}
			}
			if err != nil {
				fatal(fmt.Errorf("serve: %w", err))
			}
			if _, err := raw(unix.SYS_CLOSE, conn, 0, 0); err != nil {
				fatal(fmt.Errorf("close: %w", err))
			}
		}
	})
	return nil
}

// connect makes connections for that long, at most limit, and prints how many.
func connect(threads int, d time.Duration, limit uint64) error {
	var total atomic.Uint64
	begin := time.Now()
	unscheduled(threads, 0, func(thread int) {
		n, most := uint64(0), limit/uint64(threads)
		for ; n < most && time.Since(begin) < d; n++ {
			sa := socketAddress([4]byte{127, 0, byte(thread + 1), byte(n%addressesPerThread) + 1}, churnPort)
			if err := connectOnce(&sa); err != nil {
				fatal(fmt.Errorf("connection %d of thread %d: %w", n, thread, err))
			}
		}
		total.Add(n)
	})
	return json.NewEncoder(os.Stdout).Encode(churnResult{total.Load(), time.Since(begin).Nanoseconds()})
}

func connectOnce(sa *unix.RawSockaddrInet4) error {
	fd, err := raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if _, err := raw(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(sa)), unsafe.Sizeof(*sa)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	var b byte
	if err := writeByte(fd, &b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if n, err := readByte(fd, &b); err != nil || n != 1 {
		return fmt.Errorf("read %d bytes: %w", n, err)
	}
	if _, err := raw(unix.SYS_CLOSE, fd, 0, 0); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
