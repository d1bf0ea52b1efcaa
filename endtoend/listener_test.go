package endtoend

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// listenWith is listen with a backlog.
func (e *env) listenWith(backlog int) {
	e.t.Helper()
	e.listen()
	e.listener.must("listen", unix.Listen(e.listener.fd, backlog))
}

// counted counts the client's segments that match, as they reach the server.
func (e *env) counted(match string) func() int {
	e.t.Helper()
	return e.net.Server.Count("input", match)
}

const plainSYN = "tcp dport 8080 tcp flags & (syn|ack) == syn"

// fill fills the accept queue: the kernel lets one more wait than the backlog says.
func (e *env) fill() (all []*socket) {
	e.t.Helper()
	for i := range uint16(backlog + 1) {
		c := e.socketAt(e.net.Client, e.client, clientPort+1+i)
		c.must("connect", e.connect(c, e.server, serverPort))
		all = append(all, c)
	}
	return all
}

// backlog is more than the half-open connections that a test has: else there are SYN cookies.
const backlog = 2

// TestAcceptQueueFull: the connection that suffers, who listens, and how full the queue is.
func TestAcceptQueueFull(t *testing.T) {
	t.Run("the-SYN-is-dropped", func(t *testing.T) {
		t.Parallel()
		e := whyEnv(t, "v4")
		syns := e.counted(plainSYN)
		stop := e.trace()
		e.listenWith(backlog)
		all := e.fill()
		c := e.socketAt(e.net.Client, e.client, clientPort)
		c.must("nonblock", unix.SetNonblock(c.fd, true))
		_ = e.connect(c, e.server, serverPort)
		lab.Eventually(t, "its SYN has come", func() bool { return syns() > len(all) })
		all = append(all, e.accept())
		lab.Eventually(t, "the SYN has come again, and was answered", func() bool {
			info, err := unix.GetsockoptTCPInfo(c.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			return err == nil && info.State == tcpEstablished
		})
		for range backlog + 1 {
			all = append(all, e.accept())
		}
		for _, s := range append(all, c) {
			s.close()
		}
		out := stop()
		tl := timelineOf(t, out, "server", clientPort)
		if got := codes(t, tl); !strings.HasPrefix(got, "accept-queue-full") {
			t.Errorf("found %s", got)
		}
		equal(t, "process", tl.Process.PID, os.Getpid())
		if out.Lacks(factFullQueues) {
			equal(t, "inferred", strings.Contains(text(tl, "accept-queue-full"), "(inferred)"), true)
			return
		}
		if tl.Handshake.Overflow == nil {
			t.Fatal("no overflow is told")
		}
		equal(t, "waiting", tl.Handshake.Overflow.Waiting, backlog+1)
		equal(t, "backlog", tl.Handshake.Overflow.Backlog, backlog)
		if n := tl.Handshake.Overflow.SYNs; n < 1 {
			t.Errorf("%d SYNs found it full", n)
		}
	})
	t.Run("the-third-ACK-is-ignored", func(t *testing.T) {
		t.Parallel()
		e := whyEnv(t, "v4")
		stop := e.trace()
		e.net.Server.Drop("input", "tcp sport 40000 tcp flags & (syn|ack|rst) == ack", 1)
		acks := e.counted("tcp sport 40000 tcp flags & (syn|ack|rst) == ack")
		e.listenWith(backlog)
		c := e.dial()
		all := e.fill()
		// The SYN-ACK comes again, and the ACK for which there is no room.
		lab.Eventually(t, "the ACK has come again", func() bool { return acks() >= 1 })
		for range len(all) + 1 {
			all = append(all, e.accept())
		}
		for _, s := range append(all, c) {
			s.close()
		}
		tl := timelineOf(t, stop(), "server", clientPort)
		if got := codes(t, tl); !strings.HasPrefix(got, "accept-queue-full") {
			t.Errorf("found %s", got)
		}
		if tl.Handshake.AcceptQueue == nil {
			t.Fatal("the queue is not told")
		}
		equal(t, "waiting", tl.Handshake.AcceptQueue.Waiting, backlog+1)
		equal(t, "backlog", tl.Handshake.AcceptQueue.Backlog, backlog)
	})
}

// TestSYNQueueFull: a SYN that no half-open connection may be made for.
func TestSYNQueueFull(t *testing.T) {
	e := whyEnv(t, "v4")
	e.net.Server.Sysctl("net.ipv4.tcp_syncookies", "0")
	e.net.Server.Drop("input", "tcp dport 8080 tcp flags & (syn|ack|rst) == ack", 0)
	syns := e.counted(plainSYN)
	stop := e.trace()
	e.listenWith(1)
	var all []*socket
	for i := range uint16(3) {
		c := e.socketAt(e.net.Client, e.client, clientPort+i)
		c.must("nonblock", unix.SetNonblock(c.fd, true))
		_ = e.connect(c, e.server, serverPort)
		lab.Eventually(t, "the SYN has come", func() bool { return syns() > int(i) })
		all = append(all, c)
	}
	for _, c := range all {
		c.linger0()
		c.close()
	}
	out := stop()
	if out.Lacks(factFullQueues) {
		t.Skip("needs a hook on TCP's functions to see a SYN that a listener drops")
	}
	tl := timelineOf(t, out, "server", clientPort+2)
	if got := codes(t, tl); !strings.HasPrefix(got, "syn-queue-full") {
		t.Errorf("found %s", got)
	}
	equal(t, "process", tl.Process.PID, os.Getpid())
}

// TestBacklogOfZero: one connection may wait all the same, and the SYN queue takes one where the kernel says so.
func TestBacklogOfZero(t *testing.T) {
	e := whyEnv(t, "v4")
	stop := e.trace()
	e.listenWith(0)
	c := e.dial()
	s := e.accept()
	e.exchange(c, s)
	e.clientCloses(c, s)
	tl := timelineOf(t, stop(), "server", clientPort)
	if tl.Handshake.Kind == "syn-cookie" {
		t.Skip("this kernel takes no half-open connection with a backlog of 0")
	}
	equal(t, "findings", codes(t, tl), "")
	if o := tl.Handshake.Overflow; o != nil {
		t.Errorf("told that a queue was full: %+v", *o)
	}
}

// TestSYNCookies: sent and validated.
func TestSYNCookies(t *testing.T) {
	for _, family := range []string{"v4", "v6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			e := whyEnv(t, family)
			e.net.Server.Sysctl("net.ipv4.tcp_syncookies", "2")
			stop := e.trace()
			c, s := e.open()
			e.exchange(c, s)
			e.clientCloses(c, s)
			out := stop()
			server := timelineOf(t, out, "server", clientPort)
			equal(t, "findings", codes(t, server), "syn-cookie")
			equal(t, "kind", server.Handshake.Kind, "syn-cookie")
			equal(t, "outcome", server.Handshake.Outcome, "established")
			equal(t, "validated", strings.Contains(text(server, "syn-cookie"), "it was valid"), true)
			client := timelineOf(t, out, "client", clientPort)
			equal(t, "the client's findings", codes(t, client), "")
			equal(t, "the client's kind", client.Handshake.Kind, "three-way")
		})
	}
}
