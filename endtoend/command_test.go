package endtoend

import (
	"bytes"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestText: the lines for people, as they come out of a pipe.
func TestText(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path(), "-o", "text", "-c", "2")
	c, s := e.open()
	c.close()
	s.readEOF()
	s.close()
	text := tracer.Wait() // ends by itself, after two connections
	for _, line := range strings.Split(text, "\n") {
		if len(line) > 80 {
			t.Errorf("longer than 80 columns: %q", line)
		}
	}
	rest := text
	for _, want := range []string{"PID +COMM", "CLOSE -> SYN_SENT", "> SYN", "< SYN,ACK", "SYN_SENT -> ESTABLISHED",
		"ESTABLISHED -> FIN_WAIT1", "FIN_WAIT2 -> TIME_WAIT", "= closed by"} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("no %q after what came before it:\n%s", want, text)
		}
		rest = rest[at[1]:]
	}
}

// TestExplain: prose, of the one connection that was never established.
func TestExplain(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-o", "explain", "--failed", "-c", "1")
	c, s := e.open()
	c.close()
	s.readEOF()
	s.close()
	refused := e.socketAt(n.Client, e.client, 0)
	if err := e.connect(refused, e.server, serverPort+1); err != unix.ECONNREFUSED {
		t.Errorf("connect: %v", err)
	}
	text := tracer.Wait()
	for _, line := range strings.Split(text, "\n") {
		if len(line) > 80 {
			t.Errorf("longer than 80 columns: %q", line)
		}
	}
	rest := strings.Join(strings.Fields(text), " ")
	for _, want := range []string{"the client, at 192.0.2.1:", "with the server at 192.0.2.2:8081", "1/3 SYN: the client chose",
		"< RST: the server has no socket", "connect() fails with ECONNREFUSED", "Error (connect-refused): ", "Next: "} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("no %q after what came before it:\n%s", want, text)
		}
		rest = after
	}
	equal(t, "connections told", strings.Count(text, "Connection "), 1)
}

// TestHostileName: a process may call itself anything; nothing of it reaches the terminal raw.
func TestHostileName(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-o", "text", "-c", "1")
	e.listen()
	sh := exec.Command("ip", "netns", "exec", n.Client.Name, "bash", "-c",
		`printf '\033[2J\302\233evil' > /proc/self/comm; exec 3<>/dev/tcp/192.0.2.2/8080; exec 3>&-`)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := e.accept()
	s.readEOF()
	s.close()
	text := tracer.Wait()
	if !strings.Contains(text, `\x1b`) {
		t.Errorf("the name is not shown escaped:\n%q", text)
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\n' || c == 0x7f {
			t.Fatalf("control character %#x in the output: %q", c, text)
		}
	}
	if bytes.Contains([]byte(text), []byte("\u009b")) {
		t.Errorf("a C1 control character in the output: %q", text)
	}
}

// TestSegmentsAll: every segment, data and its ACKs included, as captured.
func TestSegmentsAll(t *testing.T) {
	n := lab.Cable(t)
	e := newEnv(t, n, "v4", "-N", n.Client.Path(), "-N", n.Server.Path(), "--segments", "all")
	c, s := e.open()
	c.write(100)
	s.read(100)
	s.write(30000)
	c.read(30000)
	c.shutdown()
	e.state(n.Client, tcpFinWait2)
	s.readEOF()
	s.close()
	e.rest()
	capture := e.clientCapture.Stop()
	out := e.tracer.Stop()
	for _, tl := range out.Timelines {
		if tl.Role != "client" {
			continue
		}
		var got, want [2]int
		var gotBytes, wantBytes [2]uint32
		for _, entry := range tl.Timeline {
			if entry.Type == "segment" {
				i := strings.Index("txrx", entry.Dir) / 2
				got[i]++
				gotBytes[i] += entry.Len
			}
		}
		for _, s := range capture {
			i := 0
			if s.Dst == tl.Local.AddrPort() {
				i = 1
			}
			want[i]++
			wantBytes[i] += s.Len
		}
		equal(t, "segments sent", got[0], want[0])
		equal(t, "segments received", got[1], want[1])
		equal(t, "bytes sent", gotBytes[0], wantBytes[0])
		equal(t, "bytes received", gotBytes[1], wantBytes[1])
		equal(t, "history", deref(tl.History), zeekHistory(capture, tl.Local.AddrPort()))
		return
	}
	t.Error("no timeline of the client")
}

// zeekHistory is the history of a connection without losses: each letter once for each side.
func zeekHistory(capture []lab.Segment, originator netip.AddrPort) string {
	var letters []byte
	for _, s := range capture {
		var c byte
		switch {
		case s.Flags&(syn|ack) == syn|ack:
			c = 'h'
		case s.Flags&syn != 0:
			c = 's'
		case s.Flags&fin != 0:
			c = 'f'
		case s.Len > 0:
			c = 'd'
		default:
			c = 'a'
		}
		if s.Src == originator {
			c -= 'a' - 'A'
		}
		if !bytes.Contains(letters, []byte{c}) {
			letters = append(letters, c)
		}
	}
	return string(letters)
}
