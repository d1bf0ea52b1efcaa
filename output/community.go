package output

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// appendCommunityID appends the flow's Community ID, version 1, seed 0
// (https://github.com/corelight/community-id-spec), or nothing where an address
// or a port is not known. An IPv4-mapped address counts as IPv4, so that both
// ends of a connection have the same.
func appendCommunityID(b []byte, local, remote netip.AddrPort) []byte {
	low, high := local.Addr().Unmap(), remote.Addr().Unmap()
	lowPort, highPort := local.Port(), remote.Port()
	if !low.IsValid() || !high.IsValid() || lowPort == 0 || highPort == 0 {
		return b
	}
	if c := low.Compare(high); c > 0 || c == 0 && lowPort > highPort {
		low, high, lowPort, highPort = high, low, highPort, lowPort
	}
	const tcp = 6
	var hashed [2 + 16 + 16 + 2 + 4]byte
	h := hashed[:2] // the seed, 0
	h = appendRaw(h, low)
	h = appendRaw(h, high)
	h = append(h, tcp, 0)
	h = binary.BigEndian.AppendUint16(h, lowPort)
	h = binary.BigEndian.AppendUint16(h, highPort)
	sum := sha1.Sum(h)
	return base64.StdEncoding.AppendEncode(append(b, "1:"...), sum[:])
}

// appendRaw appends the address's bytes, in network byte order.
func appendRaw(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		a4 := a.As4()
		return append(b, a4[:]...)
	}
	a16 := a.As16()
	return append(b, a16[:]...)
}
