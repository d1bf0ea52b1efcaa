package endtoend

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestDeferAccept: a listener with TCP_DEFER_ACCEPT, as web servers have it, makes no socket before data comes, and sends no SYN-ACK
// meanwhile. The client may take its time: the connection is one, and complete.
func TestDeferAccept(t *testing.T) {
	t.Parallel()
	e := newEnv(t, lab.Cable(t), "v4")
	e.listen()
	e.listener.option(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30)
	c := e.dial()
	pass(4 * time.Second)
	c.write(10)
	s := e.accept()
	s.read(10)
	e.clientCloses(c, s)
	r := e.finish()
	if len(r.server.timelines) != 1 {
		t.Fatalf("%d timelines of the server, want one", len(r.server.timelines))
	}
	tl := r.server.timelines[0]
	if !tl.Complete || tl.Handshake.Outcome != "established" || tl.Handshake.Kind != "three-way" {
		t.Errorf("complete %v, handshake %+v", tl.Complete, tl.Handshake)
	}
	if got, want := states(t, &tl), "LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE"; got != want {
		t.Errorf("states %s, want %s", got, want)
	}
}
