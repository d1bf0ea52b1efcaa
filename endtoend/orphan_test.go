package endtoend

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOrphanLimit: a socket is closed when there are too many already that no process holds.
func TestOrphanLimit(t *testing.T) {
	const limit = "/proc/sys/net/ipv4/tcp_max_orphans" // all namespaces' own
	if os.Getenv("TCPTRACE_BINARY") == "" {
		t.Skip("needs a kernel of its own (make test-kernels): it sets net.ipv4.tcp_max_orphans, which is the whole host's")
	}
	usual, err := os.ReadFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value []byte) {
		t.Helper()
		if err := os.WriteFile(limit, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	e := whyEnv(t, "v4")
	stop := e.trace()
	c, s := e.open()
	e.exchange(c, s)
	set([]byte("0"))
	c.close()
	set(usual)
	s.readError(unix.ECONNRESET)
	out := stop()
	tl := timelineOf(t, out, "client", clientPort)
	equal(t, "kind", tl.Teardown.Kind, "reset")
	equal(t, "call", deref(tl.ClosedBy.Call), "close")
	if out.Lacks(factResetReasons) {
		return // nothing else tells it from other resets
	}
	equal(t, "reason", deref(tl.Teardown.Reset.Reason), "TCP_ABORT_ON_MEMORY")
	equal(t, "inferred", tl.Teardown.Reset.Inferred, false)
}
