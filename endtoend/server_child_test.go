package endtoend

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// The servers whose connections' owners are compared with what they report themselves. Each is this
// binary in another process, by modeVariable; each says on its standard output which connection it
// serves ("served" port pid, or "took" for one that it hands on), and ends when its standard input does.
const (
	modeVariable   = "TCPTRACE_E2E_MODE"
	listenVariable = "TCPTRACE_E2E_LISTEN"
	workers        = 4
	// inherited is the first file descriptor that a parent hands to its child.
	inherited = 3
)

func runMode(mode string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	switch mode {
	case "plain":
		return listening(false, serveAll)
	case "threaded":
		return listening(false, func(fd int) error {
			errs := make(chan error)
			for range workers {
				go func() {
					runtime.LockOSThread()
					errs <- serveAll(fd)
				}()
			}
			return <-errs
		})
	case "forked": // accepts, and leaves the work to a child for each connection
		return listening(false, func(fd int) error { return handEach(fd, 0, "work") })
	case "handed-on": // the same after it has itself read from it
		return listening(false, func(fd int) error { return handEach(fd, 1, "work") })
	case "left-behind": // reads all there is, and leaves the connection to a child that does nothing with it
		return listening(false, func(fd int) error { return handEach(fd, 64, "idle") })
	case "pre-fork":
		return listening(false, func(fd int) error { return spawn("accept", fd, workers) })
	case "reuseport":
		return spawn("reuseport-worker", -1, workers)
	case "reuseport-worker":
		return listening(true, serveAll)
	case "scm-rights":
		return listening(false, passAll)
	case "accept": // of a listener that it was started with
		fmt.Println("listening")
		return serveAll(inherited)
	case "work":
		return serve(inherited)
	case "idle":
		if err := say("served", inherited); err != nil {
			return err
		}
		select {}
	case "receive":
		return receiveAll(inherited)
	}
	return errors.New("no mode " + mode)
}

func listening(reusePort bool, serve func(fd int) error) error {
	at, err := netip.ParseAddrPort(os.Getenv(listenVariable))
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if reusePort {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	err = errors.Join(err, unix.Bind(fd, sockaddr(at, unix.AF_INET)), unix.Listen(fd, 4096))
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return serve(fd)
}

func acceptOne(fd int) (conn int, err error) {
	return again(func() (int, error) {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		return conn, err
	})
}

func serveAll(fd int) error {
	for {
		conn, err := acceptOne(fd)
		if err != nil {
			return err
		}
		if err := serve(conn); err != nil {
			return err
		}
	}
}

// say reports a connection by the port at its other end.
func say(what string, conn int) error {
	peer, err := unix.Getpeername(conn)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s %d %d\n", what, peer.(*unix.SockaddrInet4).Port, os.Getpid())
	return err
}

// serve reads what there is, answers with as much, and waits for the end before it closes.
func serve(conn int) error {
	if err := say("served", conn); err != nil {
		return err
	}
	b := make([]byte, 64)
	for {
		n, err := again(func() (int, error) { return unix.Read(conn, b) })
		if err != nil || n == 0 {
			return unix.Close(conn)
		}
		if _, err := unix.Write(conn, b[:n]); err != nil {
			return err
		}
	}
}

// child starts this binary in another mode, with one file descriptor.
func child(mode string, fd int) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), modeVariable+"="+mode)
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	if fd >= 0 {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, inherited)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(dup), "fd"+strconv.Itoa(fd))
		defer file.Close()
		cmd.ExtraFiles = []*os.File{file}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

func spawn(mode string, fd, n int) error {
	for range n {
		if err := child(mode, fd); err != nil {
			return err
		}
	}
	select {}
}

// handEach accepts, reads so many bytes at most, and hands the connection to a child of its own.
func handEach(fd, reads int, mode string) error {
	for {
		conn, err := acceptOne(fd)
		if err != nil {
			return err
		}
		if err := say("took", conn); err != nil {
			return err
		}
		if reads > 0 {
			if _, err := again(func() (int, error) { return unix.Read(conn, make([]byte, reads)) }); err != nil {
				return err
			}
		}
		if err := errors.Join(child(mode, conn), unix.Close(conn)); err != nil {
			return err
		}
	}
}

// passAll accepts and passes each connection to a child over a Unix socket.
func passAll(fd int) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := child("receive", pair[1]); err != nil {
		return err
	}
	for {
		conn, err := acceptOne(fd)
		if err != nil {
			return err
		}
		err = errors.Join(say("took", conn), unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(conn), nil, 0), unix.Close(conn))
		if err != nil {
			return err
		}
	}
}

func receiveAll(fd int) error {
	for {
		rights := make([]byte, unix.CmsgSpace(4))
		n, err := again(func() (int, error) {
			_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
			return n, err
		})
		if err != nil {
			return err
		}
		messages, err := unix.ParseSocketControlMessage(rights[:n])
		if err != nil {
			return err
		}
		conns, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return err
		}
		if err := serve(conns[0]); err != nil {
			return err
		}
	}
}
