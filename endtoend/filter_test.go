package endtoend

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// TestFilters: a connection of an unbound client to port 8080, told by a tracer for each filter.
// What is to be told is told whole, from connect() on, when the local port was still 0.
func TestFilters(t *testing.T) {
	const both, client, server, none = "client server", "client", "server", ""
	cases := []struct{ name, args, want string }{
		{"port", "-P 8080", both},
		{"port-range", "-P 1-100,8000-8100", both},
		{"other-port", "-P 8081", none},
		{"client's-port-either-side", "-P 50000-50010", both},
		{"local-port-of-client", "-L 50000-50010", client},
		{"local-port-of-server", "-L 8080", server},
		{"other-local-port", "-L 60000", none},
		{"remote-port-of-client", "-D 50000-50010", server},
		{"remote-port-of-server", "-D 8080", client},
		{"local-and-remote", "-L 50000-50010 -D 8080", client},
		{"address", "-a 192.0.2.1", both},
		{"prefix", "-a 198.51.100.0/24 -a 192.0.2.0/30", both},
		{"mapped-address", "-a ::ffff:192.0.2.2", both},
		{"other-address", "-a 192.0.2.3", none},
		{"family", "-4", both},
		{"other-family", "-6", none},
		{"own-pid", fmt.Sprintf("-p %d", os.Getpid()), both},
		{"other-pid", "-p 1", none},
		{"pid-and-port", fmt.Sprintf("-p 1,%d -D 8080", os.Getpid()), client},
	}
	n := lab.Cable(t)
	n.Client.Sysctl("net.ipv4.ip_local_port_range", "50000 50010")
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracers := map[string]*lab.Tracer{}
	ready := func(name string) {
		if !t.Run(name, func(t *testing.T) { tracers[name].Ready(t) }) {
			delete(tracers, name)
		}
	}
	for i, c := range cases {
		args := append([]string{"-N", n.Client.Path(), "-N", n.Server.Path(), "--ring-size", "1M"}, strings.Fields(c.args)...)
		tracers[c.name] = lab.LaunchTracer(t, args...)
		if i > 0 { // two at a time: a slow machine would keep all waiting
			ready(cases[i-1].name)
		}
	}
	ready(cases[len(cases)-1].name)
	e.listen()
	cl := e.socketAt(n.Client, e.client, 0)
	cl.must("connect", e.connect(cl, e.server, serverPort))
	s := e.accept()
	cl.close()
	s.readEOF()
	s.close()
	e.rest()
	for _, c := range cases {
		if tracers[c.name] == nil {
			continue
		}
		t.Run(c.name+"/told", func(t *testing.T) {
			var got []string
			for _, tl := range tracers[c.name].Stop().Timelines {
				got = append(got, tl.Role)
				way := passiveOpen + passiveClose
				if tl.Role == "client" {
					way = activeOpen + activeClose
				}
				equal(t, tl.Role+"'s states", states(t, &tl), way)
				equal(t, tl.Role+" is complete", tl.Complete, true)
			}
			for _, role := range []string{client, server} {
				equal(t, "tells the "+role, strings.Contains(strings.Join(got, " "), role), strings.Contains(c.want, role))
			}
			equal(t, "timelines", len(got), len(strings.Fields(c.want)))
		})
	}
}

// TestNamespaceFilter: by inode number and by path, one side each.
func TestNamespaceFilter(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v6", client: n.Client6, server: n.Server6}
	byInode := lab.StartTracer(t, "-N", fmt.Sprint(n.Client.Inode()))
	byPath := lab.StartTracer(t, "-N", n.Server.Path())
	c, s := e.open()
	c.close()
	s.readEOF()
	s.close()
	e.rest()
	for _, x := range []struct {
		out  *lab.Output
		role string
		in   *lab.Host
	}{{byInode.Stop(), "client", n.Client}, {byPath.Stop(), "server", n.Server}} {
		if len(x.out.Timelines) != 1 {
			t.Fatalf("%d timelines, want the %s's alone", len(x.out.Timelines), x.role)
		}
		equal(t, "role", x.out.Timelines[0].Role, x.role)
		equal(t, "netns", x.out.Timelines[0].Netns, x.in.Inode())
	}
}

// TestPIDFilterFollowsTheOwner: the other end's segments are handled in softirq under any
// task's name; a listener and a connection that were there before count too.
func TestPIDFilterFollowsTheOwner(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	e.listen() // this process's, before the tracer
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("ip", "netns", "exec", n.Client.Name, self)
	child.Env = append(os.Environ(), childVariable+"="+netip.AddrPortFrom(e.server, serverPort).String())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	mine := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path(), "-p", fmt.Sprint(os.Getpid()))
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	s := e.accept()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "connected\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	childs := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path(), "-p", fmt.Sprint(child.Process.Pid))
	s.close() // the child reads the end, and exits
	_ = child.Wait()
	e.rest()

	told := mine.Stop()
	if told.Lacks(factSnapshot) {
		t.Skip("needs bpf_sock_from_file, for the sockets that were there before")
	}
	got := told.Timelines
	if len(got) != 1 {
		t.Fatalf("by this process: %d timelines, want 1", len(got))
	}
	equal(t, "role", got[0].Role, "server")
	equal(t, "states", states(t, &got[0]), passiveOpen+activeClose)
	equal(t, "complete", got[0].Complete, true)

	got = childs.Stop().Timelines
	if len(got) != 1 {
		t.Fatalf("by the child: %d timelines, want 1", len(got))
	}
	equal(t, "local port is the client's", got[0].Remote.Port, serverPort)
	equal(t, "states", states(t, &got[0]), "ESTABLISHED"+passiveClose)
	equal(t, "complete", got[0].Complete, false)
	equal(t, "pid", got[0].Process.PID, child.Process.Pid)
}

// TestFilterForgetsOtherConnects: what was remembered of a socket that went to a port which nobody asked for, until its own
// port would show, is not told of the next socket in the same memory.
func TestFilterForgetsOtherConnects(t *testing.T) {
	n := lab.Cable(t)
	e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
	tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-P", strconv.Itoa(serverPort))
	const rounds = 20
	for range rounds {
		for _, port := range []uint16{serverPort + 1, serverPort} {
			c := e.socketAt(n.Client, e.client, 0)
			if err := e.connect(c, e.server, port); err != unix.ECONNREFUSED {
				t.Fatalf("connect: %v", err)
			}
			c.close()
		}
	}
	out := tracer.Stop()
	equal(t, "timelines", len(out.Timelines), rounds)
	for _, tl := range out.Timelines {
		opened := 0
		for _, entry := range tl.Timeline {
			if entry.Type == "state" && entry.To == "SYN_SENT" {
				opened++
			}
		}
		equal(t, "times that it was opened", opened, 1)
	}
}
