package endtoend

import (
	"os"
	"strings"
	"testing"

	"tcptrace/internal/lab"
)

// TestOrphanLimit: of the sockets that no process holds there may be none. The kernel counts them with some
// delay, so some are taken nevertheless, until close() is refused one; those go by their timer.
func TestOrphanLimit(t *testing.T) {
	lab.NeedOwnKernel(t, "net.ipv4.tcp_max_orphans is that of all namespaces")
	e := whyEnv(t, "v4")
	e.net.Server.Drop("input", "tcp dport 8080 tcp flags & fin == fin", 0)
	stop := e.trace()
	e.listen()
	next := uint16(clientPort)
	closeOne := func() (port uint16) {
		port, next = next, next+1
		c := e.socketAt(e.net.Client, e.client, port)
		c.must("connect", e.connect(c, e.server, serverPort))
		e.exchange(c, e.accept())
		c.close()
		return port
	}
	orphans := []uint16{closeOne()}
	left := func() map[uint16]bool {
		ports := map[uint16]bool{}
		for _, s := range e.net.Client.Sockets(serverPort) {
			ports[s.Local.Port()] = true
		}
		return ports
	}
	limitOrphans(t, "0")
	var refused uint16
	lab.Eventually(t, "an orphan is refused at close()", func() bool {
		port := closeOne()
		if left()[port] {
			orphans = append(orphans, port)
			return false
		}
		refused = port
		return true
	})
	var expired uint16
	lab.Eventually(t, "an orphan is given up at its timer", func() bool {
		there := left()
		for _, port := range orphans {
			if !there[port] {
				expired = port
				return true
			}
		}
		return false
	})
	t.Logf("port %d was refused after %d orphans, %d was given up", refused, len(orphans), expired)
	out := stop()
	for name, port := range map[string]uint16{"at close()": refused, "at a timer": expired} {
		tl := timelineOf(t, out, "client", port)
		skipMissed(t, out, tl.Complete)
		found := codes(t, tl)
		if !strings.Contains(found, "orphan-limit") || strings.Contains(found, "reset-sent") {
			t.Errorf("%s: findings %q", name, found)
		}
		equal(t, name+": kind", tl.Teardown.Kind, "reset")
		if reset := tl.Teardown.Reset; reset == nil {
			t.Errorf("%s: no reset is told", name)
		} else {
			equal(t, name+": by", reset.By, "local")
			equal(t, name+": reason", word(reset.Reason), "TCP_ABORT_ON_MEMORY")
			equal(t, name+": inferred", reset.Inferred, out.Lacks(factResetReasons))
		}
		if c := tl.ClosedBy; c == nil || c.PID == nil || *c.PID != os.Getpid() {
			t.Errorf("%s: closed by %+v", name, c)
		}
		if !strings.HasSuffix(states(t, tl), "ESTABLISHED FIN_WAIT1 CLOSE") {
			t.Errorf("%s: states %s", name, states(t, tl))
		}
	}
}

// limitOrphans sets net.ipv4.tcp_max_orphans until the test ends.
func limitOrphans(t *testing.T, limit string) {
	t.Helper()
	const path = "/proc/sys/net/ipv4/tcp_max_orphans"
	usual, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value []byte) {
		if err := os.WriteFile(path, value, 0); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { set(usual) })
	set([]byte(limit))
}
