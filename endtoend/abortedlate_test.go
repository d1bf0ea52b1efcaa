package endtoend

import (
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestAbortAfterShutdown: both sides have sent a FIN, and the server closes with data unread before its own is acknowledged. The RST
// that it sends then ends the connection; there is no TIME_WAIT, though the socket was in CLOSING.
func TestAbortAfterShutdown(t *testing.T) {
	for _, c := range []struct {
		state, lost string // lost is what the client drops of what comes in
		first       bool   // whether the server's FIN is the first
		way         string
	}{
		{"LAST_ACK", "tcp flags & fin == fin", false, "LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE"},
		{"CLOSING", "tcp flags & fin == fin", true, "LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 CLOSING CLOSE"},
	} {
		t.Run(c.state, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, lab.Cable(t), "v4")
			client, server := e.open()
			e.net.Client.Drop("input", c.lost, 0)
			client.write(100)
			if c.first {
				server.shutdown()
			}
			client.shutdown()
			if c.first {
				e.state(e.net.Server, tcpClosing)
			} else {
				e.state(e.net.Server, tcpCloseWait)
				server.shutdown()
				e.state(e.net.Server, tcpLastAck)
			}
			server.close()
			client.readError(unix.ECONNRESET)
			client.close()
			e.rest()
			r := e.finish()
			if len(r.server.timelines) != 1 {
				t.Fatalf("%d timelines of the server, want one", len(r.server.timelines))
			}
			tl := r.server.timelines[0]
			if got := states(t, &tl); got != c.way {
				t.Errorf("states %s, want %s", got, c.way)
			}
			d := tl.Teardown
			if d.Kind != "reset" || d.Reset == nil || d.Reset.By != "local" {
				t.Fatalf("teardown %+v, want a reset by local", d)
			}
			if r := d.Reset.Reason; r == nil || *r != "TCP_ABORT_ON_CLOSE" {
				t.Errorf("reset %+v, want it for TCP_ABORT_ON_CLOSE", d.Reset)
			}
		})
	}
}
