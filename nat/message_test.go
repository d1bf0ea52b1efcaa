package nat

import (
	"encoding/hex"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// captured are ctnetlink's messages behind the netlink header, as kernels sent them.
var captured = []struct {
	name, hex string
	want      message
}{
	{"new, IPv4", `02000000 34000180 14000180 08000100c0000201 08000200c00002fe 1c000280 0500010006000000 060002008098 0000 060003002328 0000
		34000280 14000180 08000100c6336401 08000200c63364fe 1c000280 0500010006000000 060002001f90 0000 06000300c351 0000
		08000c00aa2a55d5 08000300000001b8 0800070000000078 30000480 2c000180 0500010001000000 0500020000000000 0500030000000000 0600040003000000 0600050000000000`,
		message{
			original: tup("192.0.2.1:32920", "192.0.2.254:9000"), reply: tup("198.51.100.1:8080", "198.51.100.254:50001"),
			protocol: 6, status: 0x1b8,
		}},
	{"ended, IPv4", `02000000 34000180 14000180 08000100c0000201 08000200c00002fe 1c000280 0500010006000000 060002008098 0000 060003002328 0000
		34000280 14000180 08000100c6336401 08000200c63364fe 1c000280 0500010006000000 060002001f90 0000 06000300c351 0000
		08000c00aa2a55d5 08000300000003ba 0800070000000009 100004800c000180 0500010008000000`,
		message{
			original: tup("192.0.2.1:32920", "192.0.2.254:9000"), reply: tup("198.51.100.1:8080", "198.51.100.254:50001"),
			protocol: 6, status: 0x3ba,
		}},
	{"listed, IPv6", `0a000000 4c000180 2c000180 1400030020010db8000100000000000000000001 1400040020010db8000200000000000000000001
		1c000280 0500010006000000 06000200de56 0000 060003001f91 0000
		4c000280 2c000180 1400030020010db8000200000000000000000001 1400040020010db80002000000000000000000fe
		1c000280 0500010006000000 060002001f91 0000 06000300c352 0000 080003000000019e`,
		message{
			original: tup("[2001:db8:1::1]:56918", "[2001:db8:2::1]:8081"), reply: tup("[2001:db8:2::1]:8081", "[2001:db8:2::fe]:50002"),
			protocol: 6, status: 0x19e,
		}},
	{"in a zone", `02000000 060012000007 0000`, message{originalZone: 7, replyZone: 7}},
}

func bytesOf(t testing.TB, words string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(words), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	for _, c := range captured {
		t.Run(c.name, func(t *testing.T) {
			got, err := decode(bytesOf(t, c.hex))
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// FuzzDecode: whatever comes, it is decoded or refused.
func FuzzDecode(f *testing.F) {
	for _, c := range captured {
		f.Add(bytesOf(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if again, err2 := decode(b); err == nil && (err2 != nil || again != m) {
			t.Errorf("%+v, then %+v, %v", m, again, err2)
		}
	})
}

// A translation that begins, and one that ends, as they are heard.
func BenchmarkTake(b *testing.B) {
	w := &Watcher{Table: newTable()}
	told := [...]syscall.NetlinkMessage{
		{Header: syscall.NlMsghdr{Type: msgNew}, Data: bytesOf(b, captured[0].hex)},
		{Header: syscall.NlMsghdr{Type: msgDelete}, Data: bytesOf(b, captured[1].hex)},
	}
	b.ReportAllocs()
	for n := range uint64(b.N) {
		w.take(&told[0], -1, (n+1)*keep)
		w.take(&told[1], -1, (n+1)*keep)
	}
}
