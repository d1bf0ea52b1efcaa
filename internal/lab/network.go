package lab

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
)

// Network is two hosts that reach each other, or one that talks to itself.
type Network struct {
	// Client and Server are the same host on loopback.
	Client, Server *Host
	// Devices by which they reach each other.
	ClientDev, ServerDev string
	// Addresses of both, IPv4 and IPv6.
	Client4, Server4, Client6, Server6 netip.Addr
}

// Loopback is one host.
func Loopback(t testing.TB) *Network {
	t.Helper()
	h := NewHost(t)
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	return &Network{
		Client: h, Server: h, ClientDev: "lo", ServerDev: "lo",
		Client4: v4, Server4: v4, Client6: v6, Server6: v6,
	}
}

// neighbors are two hosts of one subnet, not joined yet.
func neighbors(t testing.TB) *Network {
	t.Helper()
	return &Network{
		Client: NewHost(t), Server: NewHost(t), ClientDev: "eth0", ServerDev: "eth0",
		Client4: netip.MustParseAddr("192.0.2.1"), Server4: netip.MustParseAddr("192.0.2.2"),
		Client6: netip.MustParseAddr("2001:db8::1"), Server6: netip.MustParseAddr("2001:db8::2"),
	}
}

// address gives both hosts their addresses.
func (n *Network) address() {
	n.Client.Address(n.ClientDev, n.Client4, n.Client6)
	n.Server.Address(n.ServerDev, n.Server4, n.Server6)
}

// Cable is two hosts joined by a veth pair.
func Cable(t testing.TB) *Network {
	t.Helper()
	n := neighbors(t)
	Join(t, n.Client, n.ClientDev, n.Server, n.ServerDev)
	n.address()
	return n
}

// Routed is two hosts with a third between them that forwards.
func Routed(t testing.TB) (n *Network, router *Host) {
	t.Helper()
	n = &Network{
		Client: NewHost(t), Server: NewHost(t), ClientDev: "eth0", ServerDev: "eth0",
		Client4: netip.MustParseAddr("192.0.2.1"), Server4: netip.MustParseAddr("198.51.100.1"),
		Client6: netip.MustParseAddr("2001:db8:1::1"), Server6: netip.MustParseAddr("2001:db8:2::1"),
	}
	router = NewHost(t)
	Join(t, n.Client, n.ClientDev, router, "left")
	Join(t, n.Server, n.ServerDev, router, "right")
	n.address()
	router.Address("left", netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("2001:db8:1::fe"))
	router.Address("right", netip.MustParseAddr("198.51.100.254"), netip.MustParseAddr("2001:db8:2::fe"))
	router.Sysctl("net.ipv4.ip_forward", "1")
	router.Sysctl("net.ipv6.conf.all.forwarding", "1")
	for h, via := range map[*Host][2]string{
		n.Client: {"192.0.2.254", "2001:db8:1::fe"},
		n.Server: {"198.51.100.254", "2001:db8:2::fe"},
	} {
		Run(t, "ip", "-n", h.Name, "route", "add", "default", "via", via[0])
		Run(t, "ip", "-n", h.Name, "-6", "route", "add", "default", "via", via[1])
	}
	return n, router
}

// Bridged is two hosts on the ports of a bridge in a third.
func Bridged(t testing.TB) (n *Network, bridge *Host) {
	t.Helper()
	n = neighbors(t)
	bridge = NewHost(t)
	Run(t, "ip", "-n", bridge.Name, "link", "add", "br0", "type", "bridge")
	Run(t, "ip", "-n", bridge.Name, "link", "set", "br0", "up")
	Join(t, n.Client, n.ClientDev, bridge, "port1")
	Join(t, n.Server, n.ServerDev, bridge, "port2")
	for _, port := range []string{"port1", "port2"} {
		Run(t, "ip", "-n", bridge.Name, "link", "set", port, "master", "br0")
	}
	n.address()
	return n, bridge
}

// Join puts a veth pair between two hosts.
func Join(t testing.TB, a *Host, aDev string, b *Host, bDev string) {
	t.Helper()
	Run(t, "ip", "link", "add", aDev, "netns", a.Name, "type", "veth", "peer", "name", bDev, "netns", b.Name)
	Run(t, "ip", "-n", a.Name, "link", "set", aDev, "up")
	Run(t, "ip", "-n", b.Name, "link", "set", bDev, "up")
}

// Address gives a device its addresses, in /24 and /64, usable at once.
func (h *Host) Address(dev string, v4, v6 netip.Addr) {
	h.t.Helper()
	Run(h.t, "ip", "-n", h.Name, "addr", "add", v4.String()+"/24", "dev", dev)
	Run(h.t, "ip", "-n", h.Name, "addr", "add", v6.String()+"/64", "dev", dev, "nodad")
}

// Netem has what a device sends lost, delayed or reordered, as tc-netem's words say.
func (h *Host) Netem(dev string, words ...string) {
	h.t.Helper()
	Need(h.t, "tc")
	args := append([]string{"-n", h.Name, "qdisc", "add", "dev", dev, "root", "netem"}, words...)
	out, err := exec.Command("tc", args...).CombinedOutput()
	if err != nil && strings.Contains(string(out), "qdisc kind is unknown") {
		h.t.Skip("needs tc netem: this kernel has no sch_netem")
	}
	if err != nil {
		h.t.Fatalf("tc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
