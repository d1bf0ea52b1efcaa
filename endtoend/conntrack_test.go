package endtoend

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tcptrace/internal/lab"
)

// translate has the host translate IPv4 and IPv6 by these rules, in chains pre, out and post.
func translate(t *testing.T, h *lab.Host, rules ...string) {
	t.Helper()
	lab.Need(t, "nft")
	words := "add table inet nat; " +
		"add chain inet nat pre { type nat hook prerouting priority -100; }; " +
		"add chain inet nat out { type nat hook output priority -100; }; " +
		"add chain inet nat post { type nat hook postrouting priority 100; }"
	for _, rule := range rules {
		words += "; add rule inet nat " + rule
	}
	if out, err := exec.Command("ip", "netns", "exec", h.Name, "nft", words).CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with nftables' NAT for inet: %v\n%s", err, out)
	}
}

// named are the two names of a connection: by its opener, and by the other end, which sees the opener elsewhere.
type named struct{ opener, to, openerSeen, other netip.AddrPort }

var conntrackLine = regexp.MustCompile(`src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) .*?src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)`)

// conntracks are the TCP connections that the host translates, as its own list has them.
func conntracks(t *testing.T, h *lab.Host) (all []named) {
	t.Helper()
	var list []byte
	h.Do(func() {
		var err error
		if list, err = os.ReadFile("/proc/thread-self/net/nf_conntrack"); err != nil {
			t.Errorf("conntrack's own list: %v", err)
		}
	})
	at := func(addr, port string) netip.AddrPort {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		p, err := netip.ParseAddrPort("0.0.0.0:" + port)
		if err != nil {
			t.Fatal(err)
		}
		return netip.AddrPortFrom(a, p.Port())
	}
	for line := range strings.Lines(string(list)) {
		m := conntrackLine.FindStringSubmatch(line)
		if m == nil || !strings.Contains(line, " tcp ") {
			continue
		}
		n := named{opener: at(m[1], m[3]), to: at(m[2], m[4]), other: at(m[5], m[7]), openerSeen: at(m[6], m[8])}
		if n.opener != n.openerSeen || n.to != n.other {
			all = append(all, n)
		}
	}
	return all
}

// peerOf is the address that a connected socket's other end has for it.
func peerOf(t *testing.T, s *socket) netip.AddrPort {
	t.Helper()
	switch a, err := unix.Getpeername(s.fd); a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	default:
		t.Fatalf("getpeername: %v", err)
	}
	return netip.AddrPort{}
}

// isNamed checks what the timeline of an end, client or server, says of the other end's names.
func isNamed(t *testing.T, tl *lab.Timeline, end string, n named) {
	t.Helper()
	wantLocal, wantRemote := n.openerSeen, n.other
	if end == "server" {
		wantLocal, wantRemote = n.to, n.opener
	}
	if tl.NAT == nil {
		t.Fatalf("%s %v to %v: no translation, want %v to %v", end, tl.Local, tl.Remote, wantLocal, wantRemote)
	}
	equal(t, end+": what the other end takes this one for", tl.NAT.Local.AddrPort(), wantLocal)
	equal(t, end+": the other end's own address", tl.NAT.Remote.AddrPort(), wantRemote)
	equal(t, end+": source", tl.NAT.Source, "conntrack")
	equal(t, end+": peer", deref(tl.PeerID), "")
}

// TestTranslatedElsewhere: an end whose other end is not traced is told that end's names, as the host between has them.
func TestTranslatedElsewhere(t *testing.T) {
	const publicPort, seenPort = 9000, 50001
	// Each its own: a namespace goes a while after its test, and what two have for the same names is not told.
	opener := uint16(clientPort)
	for _, c := range []struct {
		name  string
		rules []string
		// on is who translates.
		on func(n *lab.Network, router *lab.Host) *lab.Host
	}{
		{"masquerade", []string{"post tcp dport 8080 masquerade to :50001"}, nil},
		{"destination", []string{
			"pre ip daddr 192.0.2.254 tcp dport 9000 dnat ip to 198.51.100.1:8080",
			"pre ip6 daddr 2001:db8:1::fe tcp dport 9000 dnat ip6 to [2001:db8:2::1]:8080"}, nil},
		{"both", []string{
			"pre ip daddr 192.0.2.254 tcp dport 9000 dnat ip to 198.51.100.1:8080",
			"pre ip6 daddr 2001:db8:1::fe tcp dport 9000 dnat ip6 to [2001:db8:2::1]:8080",
			"post tcp dport 8080 masquerade to :50001"}, nil},
		{"by-the-opener-itself", []string{
			"out ip daddr 192.0.2.254 tcp dport 9000 dnat ip to 198.51.100.1:8080",
			"out ip6 daddr 2001:db8:1::fe tcp dport 9000 dnat ip6 to [2001:db8:2::1]:8080"},
			func(n *lab.Network, _ *lab.Host) *lab.Host { return n.Client }},
		{"redirected-at-the-server", []string{"pre tcp dport 9000 redirect to :8080"},
			func(n *lab.Network, _ *lab.Host) *lab.Host { return n.Server }},
	} {
		for _, family := range []string{"v4", "v6"} {
			for _, traced := range []string{"client", "server"} {
				for _, before := range []bool{false, true} {
					name := fmt.Sprintf("%s/%s/%s", c.name, family, traced)
					if before && family == "v6" {
						continue
					}
					if before {
						name += "/there-before"
					}
					t.Run(name, func(t *testing.T) {
						n, router := lab.Routed(t)
						at := router
						if c.on != nil {
							at = c.on(n, router)
						}
						translate(t, at, c.rules...)
						e := &env{t: t, net: n, family: family, client: n.Client4, server: n.Server4}
						to := netip.MustParseAddr("192.0.2.254")
						if family == "v6" {
							e.client, e.server, to = n.Client6, n.Server6, netip.MustParseAddr("2001:db8:1::fe")
						}
						target := netip.AddrPortFrom(to, publicPort)
						switch c.name {
						case "masquerade":
							target = e.serverAt()
						case "redirected-at-the-server":
							target = netip.AddrPortFrom(e.server, publicPort)
						}
						e.listen()
						host := n.Client
						if traced == "server" {
							host = n.Server
						}
						var tracer *lab.Tracer
						var k, s *socket
						opener++
						open := func() {
							k = e.socketAt(n.Client, e.client, opener)
							k.must("connect", e.connect(k, target.Addr(), target.Port()))
							s = e.accept()
						}
						if before {
							open()
						}
						tracer = lab.StartTracer(t, "-N", host.Path())
						if !before {
							open()
						}
						k.write(10)
						s.read(10)
						seen := named{netip.AddrPortFrom(e.client, opener), target, peerOf(t, s), e.serverAt()}
						if list := conntracks(t, at); len(list) != 1 || list[0] != seen {
							t.Errorf("conntrack's own list %v, want %v", list, seen)
						}
						if (seen.openerSeen.Port() == seenPort) != strings.Contains(strings.Join(c.rules, ""), "masquerade") {
							t.Errorf("the server sees the client as %v", seen.openerSeen)
						}
						k.close()
						s.readEOF()
						s.close()
						e.rest()
						out := tracer.Stop()
						if len(out.Timelines) != 1 {
							t.Fatalf("%d timelines, want 1: %s", len(out.Timelines), out.Lines)
						}
						isNamed(t, &out.Timelines[0], traced, seen)
					})
				}
			}
		}
	}
}

// TestTranslatedTwice: two hosts translate, one behind the other.
func TestTranslatedTwice(t *testing.T) {
	n, router := lab.Routed(t)
	translate(t, n.Client, "out ip daddr 203.0.113.9 tcp dport 9000 dnat ip to 192.0.2.254:9001")
	translate(t, router, "pre tcp dport 9001 dnat ip to 198.51.100.1:8080", "post tcp dport 8080 masquerade to :50001")
	for end, host := range map[string]*lab.Host{"client": n.Client, "server": n.Server} {
		e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
		tracer := lab.StartTracer(t, "-N", host.Path())
		e.listen()
		virtual := netip.MustParseAddrPort("203.0.113.9:9000")
		k := e.socketAt(n.Client, e.client, 0)
		k.must("connect", e.connect(k, virtual.Addr(), virtual.Port()))
		s := e.accept()
		name, err := unix.Getsockname(k.fd)
		k.must("getsockname", err)
		opener := netip.AddrPortFrom(e.client, uint16(name.(*unix.SockaddrInet4).Port))
		seen := named{opener, virtual, peerOf(t, s), e.serverAt()}
		s.linger0()
		s.close()
		k.close()
		e.listener.close()
		out := tracer.Stop()
		if len(out.Timelines) != 1 {
			t.Fatalf("%d timelines, want 1: %s", len(out.Timelines), out.Lines)
		}
		isNamed(t, &out.Timelines[0], end, seen)
	}
}

// TestTranslatedOrNot: two networks have the same addresses and ports at the same time, and translate them
// differently: nobody can know which it is, and nobody is told.
func TestTranslatedOrNot(t *testing.T) {
	var envs []*env
	var args []string
	for _, port := range []string{"50001", "50002"} {
		n, router := lab.Routed(t)
		translate(t, router, "post tcp dport 8080 masquerade to :"+port)
		envs = append(envs, &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4})
		args = append(args, "-N", n.Client.Path())
	}
	tracer := lab.StartTracer(t, args...)
	for _, e := range envs {
		e.open()
	}
	out := tracer.Stop()
	if len(out.Timelines) != 2 {
		t.Fatalf("%d timelines, want 2", len(out.Timelines))
	}
	for i := range out.Timelines {
		if nat := out.Timelines[i].NAT; nat != nil {
			t.Errorf("a translation, %+v, that may be the other one's", nat)
		}
	}
}

// TestTranslationsUnknown: without conntrack, or the right to hear it, nothing is said of translations but that, by --check.
func TestTranslationsUnknown(t *testing.T) {
	for _, c := range []struct {
		name string
		by   []string
		why  string
	}{
		{"no conntrack", []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /proc/sys/net/netfilter && exec "$@"`, "sh"},
			"this kernel has no conntrack, or has not loaded it (nf_conntrack)"},
		// Before 5.11 the maps' memory is limited.
		{"no right", append([]string{"sh", "-c", `ulimit -l unlimited 2>&-; exec "$@"`, "sh"}, nobody(t, "bpf", "perfmon", "sys_admin")...),
			"conntrack tells only who has CAP_NET_ADMIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab.Need(t, "unshare", "mount")
			n, router := lab.Routed(t)
			translate(t, router, "post tcp dport 8080 masquerade to :50001")
			r, status := checkJSON(t, c.by)
			if status != 0 || len(r.Facts) == 0 {
				t.Fatalf("--check: status %d, %d facts", status, len(r.Facts))
			}
			fact := r.Facts[len(r.Facts)-1]
			equal(t, "fact", fact.Fact, "translations (NAT)")
			if len(fact.By) != 0 || len(fact.Refused) != 1 || fact.Refused[0].Why != c.why {
				t.Errorf("told by %v, refused %+v, want %q", fact.By, fact.Refused, c.why)
			}
			e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
			tracer := lab.StartTracerBy(t, c.by, "-N", n.Client.Path())
			k, s := e.open()
			equal(t, "the client's port as the server sees it", peerOf(t, s).Port(), 50001)
			e.clientCloses(k, s)
			out := tracer.Stop()
			if len(out.Timelines) != 1 || out.Timelines[0].NAT != nil {
				t.Errorf("%+v, want one timeline without a translation", out.Timelines)
			}
		})
	}
}

// TestTranslationsKeepNoNamespace: that conntrack is heard of a namespace does not keep it from going.
func TestTranslationsKeepNoNamespace(t *testing.T) {
	n, _ := lab.Routed(t)
	gone := n.Client.Name + "-gone"
	lab.Run(t, "ip", "netns", "add", gone)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", gone).Run() })
	lab.Run(t, "ip", "link", "add", "here0", "netns", n.Client.Name, "type", "veth", "peer", "name", "there0", "netns", gone)
	tracer := lab.StartTracer(t, "-N", n.Client.Path())
	// A namespace takes its devices with it.
	lab.Run(t, "ip", "netns", "del", gone)
	lab.Eventually(t, "the namespace is gone", func() bool {
		return exec.Command("ip", "-n", n.Client.Name, "link", "show", "here0").Run() != nil
	})
	tracer.Stop()
}
