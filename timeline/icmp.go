package timeline

import "net/netip"

// ICMPError is what an ICMP message said of a segment that was sent.
type ICMPError struct {
	// From is the host or router that says so.
	From netip.Addr
	// Type and Code are of ICMPv6 where From is an IPv6 address.
	Type, Code uint8
}

// Names of types and codes: RFC 792, RFC 1122 and RFC 1812; RFC 4443 for ICMPv6.
var (
	unreachable4 = []string{"net-unreachable", "host-unreachable", "protocol-unreachable", "port-unreachable",
		"fragmentation-needed", "source-route-failed", "net-unknown", "host-unknown", "host-isolated",
		"net-prohibited", "host-prohibited", "net-unreachable-for-tos", "host-unreachable-for-tos",
		"admin-prohibited", "precedence-violation", "precedence-cutoff"}
	unreachable6 = []string{"no-route", "admin-prohibited", "beyond-scope", "address-unreachable",
		"port-unreachable", "policy-failed", "reject-route", "source-route-error"}
	types4 = map[uint8]string{3: "unreachable", 4: "source-quench", 5: "redirect", 11: "time-exceeded", 12: "parameter-problem"}
	types6 = map[uint8]string{1: "unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem"}
)

// Name is what the message says, "host-unreachable"; "" for what has no name.
func (m ICMPError) Name() string {
	unreachable, codes, types := uint8(3), unreachable4, types4
	if m.From.Is6() {
		unreachable, codes, types = 1, unreachable6, types6
	}
	if m.Type == unreachable && int(m.Code) < len(codes) {
		return codes[m.Code]
	}
	return types[m.Type]
}
