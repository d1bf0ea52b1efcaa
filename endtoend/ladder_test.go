package endtoend

import (
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestLadder: both ends of a connection on this host in one ladder, IPv4 as it is and mapped into IPv6 sockets; what
// one end sent the other one got, each in its state.
func TestLadder(t *testing.T) {
	for _, family := range []string{"v4", "mapped"} {
		t.Run(family, func(t *testing.T) {
			n := lab.Cable(t)
			e := &env{t: t, net: n, family: family, client: n.Client4, server: n.Server4}
			tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path(), "-o", "ladder", "-c", "2")
			c, s := e.open()
			c.close()
			s.readEOF()
			s.close()
			told := tracer.Wait()
			rest := told
			for _, want := range []string{
				`Connections \d+ and \d+, both ends, `, `192\.0\.2\.1:\d+ +192\.0\.2\.2:8080\n`, `client +.*server\n`,
				`CLOSE │ +│ LISTEN\n`, `SYN_SENT ├─ 1/3 SYN .*─▶│ SYN_RECV\n`, `ESTABLISHED │◀.* 2/3 SYN,ACK .*─┤\n`,
				`3/3 ACK .*─▶│ ESTABLISHED\n`, `FIN_WAIT1 ├─ 1/[34] FIN,ACK .*─▶│ CLOSE_WAIT\n`, `FIN_WAIT2 │◀`, `TIME_WAIT ├─ .*─▶│ CLOSE\n`,
				`TIME_WAIT goes on`, `: closed by local, `, `: closed by remote, `,
			} {
				at := regexp.MustCompile(want).FindStringIndex(rest)
				if at == nil {
					t.Fatalf("no %q after what came before it:\n%s", want, told)
				}
				rest = rest[at[1]:]
			}
			arrows := len(regexp.MustCompile(`─▶│|│◀─`).FindAllString(told, -1))
			delays := len(regexp.MustCompile(`─ \d[\d.]* ms ─`).FindAllString(told, -1))
			if arrows < 6 || delays != arrows || strings.Contains(told, "lost") {
				t.Errorf("%d segments arrived, %d with the time that it took:\n%s", arrows, delays, told)
			}
		})
	}
}

// TestLadderOfRefused: the other end's RST, and what it means below the ladder.
func TestLadderOfRefused(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-o", "ladder", "-c", "1")
	refused := e.socketAt(n.Client, e.client, 0)
	if err := e.connect(refused, e.server, serverPort+1); err != unix.ECONNREFUSED {
		t.Errorf("connect: %v", err)
	}
	told := tracer.Wait()
	if !regexp.MustCompile(`(?s)SYN_SENT ├─ 1/3 SYN .*CLOSE │◀─.* RST,ACK .*refused .*error: .*ECONNREFUSED`).MatchString(strings.ReplaceAll(told, "Refused", "refused")) {
		t.Errorf("%s", told)
	}
}
