package output

import (
	"net/netip"
	"testing"
)

func TestCommunityID(t *testing.T) {
	tests := []struct{ local, remote, want string }{
		// Zeek's documentation, and the specification's baseline.
		{"141.142.228.5:59856", "192.150.187.43:80", "1:yvyB8h+3dnggTZW0UEITWCst97w="},
		{"128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"[2001:470:e5bf:dead:4957:2174:e82c:4887]:63943", "[2607:f8b0:400c:c03::1a]:25", "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="},
		// Mapped counts as IPv4.
		{"[::ffff:141.142.228.5]:59856", "[::ffff:192.150.187.43]:80", "1:yvyB8h+3dnggTZW0UEITWCst97w="},
	}
	for _, tt := range tests {
		local, remote := netip.MustParseAddrPort(tt.local), netip.MustParseAddrPort(tt.remote)
		if got := string(appendCommunityID(nil, local, remote)); got != tt.want {
			t.Errorf("%s → %s: %s, want %s", local, remote, got, tt.want)
		}
		if got := string(appendCommunityID(nil, remote, local)); got != tt.want {
			t.Errorf("%s ← %s: %s, want %s", local, remote, got, tt.want)
		}
	}
}

func TestCommunityIDSameAddress(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:40000")
	if one, other := string(appendCommunityID(nil, a, b)), string(appendCommunityID(nil, b, a)); one != other {
		t.Errorf("the two ends have %s and %s", one, other)
	}
}

func TestCommunityIDUnknown(t *testing.T) {
	known := netip.MustParseAddrPort("127.0.0.1:80")
	for _, unknown := range []netip.AddrPort{{}, netip.MustParseAddrPort("127.0.0.1:0")} {
		if got := appendCommunityID(nil, unknown, known); len(got) != 0 {
			t.Errorf("%v: %s", unknown, got)
		}
	}
}
