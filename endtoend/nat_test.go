package endtoend

import (
	"net/netip"
	"os/exec"
	"testing"

	"tcptrace/internal/lab"
)

// nat has the host translate by these rules, in chains pre, out and post of a table.
func nat(t *testing.T, h *lab.Host, rules string) {
	t.Helper()
	lab.Need(t, "nft")
	err := exec.Command("ip", "netns", "exec", h.Name, "nft", "add table ip nat; "+
		"add chain ip nat pre { type nat hook prerouting priority -100; }; "+
		"add chain ip nat out { type nat hook output priority -100; }; "+
		"add chain ip nat post { type nat hook postrouting priority 100; }; "+rules).Run()
	if err != nil {
		t.Skipf("needs a kernel with nftables' NAT: %v", err)
	}
}

// TestTranslated: both ends are found though each knows the other by another address.
func TestTranslated(t *testing.T) {
	virtual := netip.MustParseAddrPort("192.0.2.254:9000")
	for _, c := range []struct{ name, rules string }{
		{"destination", "add rule ip nat pre tcp dport 9000 dnat to 198.51.100.1:8080"},
		{"both", "add rule ip nat pre tcp dport 9000 dnat to 198.51.100.1:8080; add rule ip nat post masquerade"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, router := lab.Routed(t)
			nat(t, router, c.rules)
			e := &env{t: t, net: n, family: "v4", client: n.Client4, server: n.Server4}
			tracer := lab.StartTracer(t, "-N", n.Client.Path(), "-N", n.Server.Path())
			e.listen()
			k := e.socketAt(n.Client, e.client, clientPort)
			k.must("connect", e.connect(k, virtual.Addr(), virtual.Port()))
			s := e.accept()
			k.write(10)
			s.read(10)
			k.close()
			s.readEOF()
			s.close()
			out := tracer.Stop()
			if len(out.Timelines) != 2 {
				t.Fatalf("%d timelines, want 2", len(out.Timelines))
			}
			cl, sv := &out.Timelines[0], &out.Timelines[1]
			if cl.Role == "server" {
				cl, sv = sv, cl
			}
			equal(t, "client's peer", deref(cl.PeerID), sv.ID)
			equal(t, "server's peer", deref(sv.PeerID), cl.ID)
			equal(t, "the client's remote address", cl.Remote.AddrPort(), virtual)
			if cl.NAT == nil || sv.NAT == nil {
				t.Fatalf("translations %+v and %+v", cl.NAT, sv.NAT)
			}
			equal(t, "what the client's remote end is", cl.NAT.Remote.AddrPort(), e.serverAt())
			equal(t, "what the server takes the client for", cl.NAT.Local.AddrPort(), sv.Remote.AddrPort())
			equal(t, "what the server's remote end is", sv.NAT.Remote.AddrPort(), e.clientAt())
			equal(t, "what the client takes the server for", sv.NAT.Local.AddrPort(), virtual)
			for _, tl := range []*lab.Timeline{cl, sv} {
				for _, entry := range tl.Timeline {
					if entry.Type == "segment" && entry.Dir == "rx" && entry.OneWayNS == nil {
						t.Errorf("%s: no delay from the other end: %+v", tl.Role, entry)
					}
				}
			}
		})
	}
}
