package nat

import (
	"net/netip"
	"testing"
	"time"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func tup(source, destination string) tuple { return tuple{ap(source), ap(destination)} }

// sec is a time of the tests' clock.
func sec(n uint64) uint64 { return n * uint64(time.Second) }

var (
	opener   = ap("10.0.0.2:40000")
	virtual  = ap("192.0.2.254:80")
	seen     = ap("198.51.100.254:50001")
	server   = ap("198.51.100.1:8080")
	original = tuple{opener, virtual}
	reply    = tuple{server, seen}
)

// TestLookup: what is told of the connection from opener, which lives from 100 s to 110 s.
func TestLookup(t *testing.T) {
	here, there := place{nsid: -1}, place{nsid: 3}
	second := tup("10.9.0.1:70", "10.9.0.2:71")
	for _, c := range []struct {
		name    string
		fill    func(t *Table)
		already bool // the connection was there before it was seen
		ok      bool
		local   netip.AddrPort // where not seen
		remote  netip.AddrPort // where not server
	}{
		{name: "nothing", fill: func(*Table) {}},
		{name: "a translation", ok: true, fill: func(t *Table) { t.add(here, original, reply, sec(100)) }},
		{name: "told twice", ok: true, fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.add(here, original, reply, sec(101))
			t.remove(here, original, reply, sec(102))
		}},
		{name: "none", fill: func(t *Table) { t.add(here, original, original.reverse(), sec(100)) }},
		{name: "ended during it", ok: true, fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.remove(here, original, reply, sec(105))
		}},
		{name: "ended before it", fill: func(t *Table) {
			t.add(here, original, reply, sec(98))
			t.remove(here, original, reply, sec(99))
		}},
		{name: "began before its SYN came", ok: true, fill: func(t *Table) { t.add(here, original, reply, sec(37)) }},
		{name: "began long before it", fill: func(t *Table) { t.add(here, original, reply, sec(35)) }},
		{name: "began before both were seen", ok: true, already: true, fill: func(t *Table) { t.add(here, original, reply, sec(35)) }},
		{name: "began after it", fill: func(t *Table) { t.add(here, original, reply, sec(120)) }},
		{name: "of another connection in the end", ok: true, fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.remove(here, original, reply, sec(112))
			t.add(here, original, second, sec(112))
		}},
		{name: "of another connection before", ok: true, fill: func(t *Table) {
			t.add(here, original, second, sec(98))
			t.add(here, original, reply, sec(100))
		}},
		{name: "of another opener before, to the same", ok: true, already: true, fill: func(t *Table) {
			t.add(here, tup("10.0.0.3:40000", "192.0.2.254:80"), reply, sec(98))
			t.add(here, original, reply, sec(99))
		}},
		{name: "the same in two places", ok: true, fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.add(there, original, reply, sec(100))
		}},
		{name: "different in two places", fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.add(there, original, second, sec(100))
		}},
		{name: "different in two places, one after the other", fill: func(t *Table) {
			t.add(here, original, reply, sec(98))
			t.add(there, original, second, sec(99))
		}},
		{name: "different in two zones", fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.add(place{-1, 7, 7}, original, second, sec(100))
		}},
		{name: "one behind the other", ok: true, local: ap("203.0.113.1:9"), remote: ap("203.0.113.2:7"), fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.add(there, reply.reverse(), tup("203.0.113.2:7", "203.0.113.1:9"), sec(100))
		}},
		{name: "in a circle", fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.add(there, reply.reverse(), original.reverse(), sec(100))
		}},
		{name: "its end may not have been heard", fill: func(t *Table) {
			t.add(here, original, reply, sec(98))
			t.doubt(sec(99))
		}},
		{name: "doubts since", ok: true, fill: func(t *Table) {
			t.add(here, original, reply, sec(100))
			t.doubt(sec(101))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := newTable()
			c.fill(table)
			life := Life{Start: sec(100), Seen: !c.already, End: sec(110)}
			local, remote, ok := table.Lookup(opener, virtual, life)
			if ok != c.ok {
				t.Fatalf("ok %v: %v to %v", ok, local, remote)
			}
			if !ok {
				return
			}
			wantLocal, wantRemote := seen, server
			if c.local.IsValid() {
				wantLocal, wantRemote = c.local, c.remote
			}
			if local != wantLocal || remote != wantRemote {
				t.Errorf("%v to %v, want %v to %v", local, remote, wantLocal, wantRemote)
			}
			// The other end's names are the same, the other way round.
			local, remote, ok = table.Lookup(wantRemote, wantLocal, life)
			if !ok || local != virtual || remote != opener {
				t.Errorf("from the other end: %v to %v, %v", local, remote, ok)
			}
		})
	}
}

// TestBounds: what is remembered is bounded, and what is forgotten leaves nothing behind.
func TestBounds(t *testing.T) {
	table := newTable()
	entry := func(n int) (original, reply tuple) {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1)
		return tuple{at, virtual}, tuple{server, at}
	}
	for n := range maxEntries + 100 {
		o, r := entry(n)
		table.add(place{}, o, r, sec(1))
	}
	if n, all := len(table.known), table.all.Len(); n != 2*maxEntries || all != maxEntries {
		t.Errorf("%d names of %d, want of %d", n, all, maxEntries)
	}
	for n := range maxEntries + 100 {
		o, r := entry(n)
		table.remove(place{}, o, r, sec(2))
	}
	table.add(place{}, original, reply, sec(2)+keep+1)
	if n, all, ended := len(table.known), table.all.Len(), table.ended.Len(); n != 2 || all != 1 || ended != 0 {
		t.Errorf("%d names of %d, %d ended, want one alone", n, all, ended)
	}
}
