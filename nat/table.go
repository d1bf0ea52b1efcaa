// Package nat knows which connections this host's conntrack translates: by what addresses and ports each end of them knows
// the connection. It asks the kernel for what there is already, and listens to what is added and removed.
package nat

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// tuple is a connection as who sends the segment names it.
type tuple struct{ source, destination netip.AddrPort }

func (t tuple) reverse() tuple { return tuple{t.destination, t.source} }

// place is where conntrack has one entry for a tuple: a network namespace, by its number in this one's, and the zones of both directions.
type place struct {
	nsid            int32
	zone, replyZone uint16
}

// entry is a translation: who opened the connection sends original, and gets reply as its answer's tuple, where that is not
// the reverse of original.
type entry struct {
	place           place
	original, reply tuple
	since, until    uint64 // until: 0 while it lasts
	inAll, inEnded  *list.Element
}

const (
	// maxEntries bounds what is remembered; the oldest make way.
	maxEntries = 1 << 16
	// keep is how long, in ns, an entry that ended is remembered: a timeline may be told a minute after its connection was
	// closed, when TIME_WAIT has ended.
	keep = uint64(2 * time.Minute)
	// slack is how much earlier than its translation a connection may seem to begin, in ns: the kernel tells of it later.
	slack = uint64(3 * time.Second)
	// unanswered is how much later than its translation a connection may seem to begin, in ns: the first SYN is translated,
	// and may be lost; Linux sends the last 63 s after it (tcp_syn_retries).
	unanswered = uint64(64 * time.Second)
	// maxHops bounds how many translations one behind the other are followed.
	maxHops = 8
)

// Table is what is translated. All times are nanoseconds of one clock, the timelines'. It is for any number of goroutines.
type Table struct {
	mu sync.Mutex
	// known by the names that the two ends have for a connection: original, as its opener sends, and
	// reply, as the other end does.
	known map[tuple][]*entry
	all   *list.List // of *entry, oldest first
	ended *list.List // of *entry, those that ended first in front
}

func newTable() *Table {
	return &Table{known: map[tuple][]*entry{}, all: list.New(), ended: list.New()}
}

// add notes a translation that is there at now.
func (t *Table) add(at place, original, reply tuple, now uint64) {
	if original == reply.reverse() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// A place has one entry for a name at a time.
	for _, name := range [...]tuple{original, reply} {
		for _, e := range t.known[name] {
			switch {
			case e.place != at || e.until != 0:
			case e.original == original && e.reply == reply:
				return // told twice, by the kernel's list and as new
			case e.original == original || e.reply == reply:
				t.end(e, now) // that it ended was not heard
			}
		}
	}
	e := &entry{place: at, original: original, reply: reply, since: now}
	e.inAll = t.all.PushBack(e)
	t.known[original] = append(t.known[original], e)
	t.known[reply] = append(t.known[reply], e)
	if t.all.Len() > maxEntries {
		t.forget(t.all.Front().Value.(*entry))
	}
	for f := t.ended.Front(); f != nil && f.Value.(*entry).until+keep < now; f = t.ended.Front() {
		t.forget(f.Value.(*entry))
	}
}

// remove notes that the translation has ended at now.
func (t *Table) remove(at place, original, reply tuple, now uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.known[original] {
		if e.place == at && e.original == original && e.reply == reply && e.until == 0 {
			t.end(e, now)
			return
		}
	}
}

// doubt notes that the ends of some may not have been heard: for connections that begin after now, none is believed.
func (t *Table) doubt(now uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for f := t.all.Front(); f != nil; f = f.Next() {
		if e := f.Value.(*entry); e.until == 0 {
			t.end(e, now)
		}
	}
}

func (t *Table) end(e *entry, now uint64) {
	e.until = now
	e.inEnded = t.ended.PushBack(e)
}

func (t *Table) forget(e *entry) {
	t.all.Remove(e.inAll)
	if e.inEnded != nil {
		t.ended.Remove(e.inEnded)
	}
	for _, name := range [...]tuple{e.original, e.reply} {
		rest := t.known[name]
		for i := range rest {
			if rest[i] == e {
				rest = append(rest[:i], rest[i+1:]...)
				break
			}
		}
		if len(rest) == 0 {
			delete(t.known, name)
		} else {
			t.known[name] = rest
		}
	}
}

// Life is when a connection was there.
type Life struct {
	// Start is when it began, or was first seen; Seen: its beginning was seen.
	Start uint64
	Seen  bool
	// End is when it ended, or how far it was watched.
	End uint64
}

// Lookup is what the other end of a connection names it: local is what that takes this end for, remote its own
// address. It is not ok where nothing is translated, or where it is not certain which translation it is: namespaces may
// have the same addresses.
func (t *Table) Lookup(local, remote netip.AddrPort, life Life) (otherLocal, otherRemote netip.AddrPort, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// One host may translate what another one, inside it, has translated.
	name := tuple{local, remote}
	for range maxHops {
		beyond, found, certain := t.translate(name, life)
		if !certain {
			return otherLocal, otherRemote, false
		}
		if !found {
			return name.source, name.destination, ok
		}
		name, ok = beyond, true
	}
	return otherLocal, otherRemote, false
}

// translate is the tuple that the connection has beyond the translation that it comes to next.
func (t *Table) translate(name tuple, life Life) (beyond tuple, found, certain bool) {
	best := map[place]*entry{}
	for _, e := range t.known[name] {
		if e.since > life.End+slack || e.until != 0 && e.until < life.Start || life.Seen && e.since+unanswered < life.Start {
			continue
		}
		// Of those that had the same addresses and ports one after the other in one place, that which began with it.
		if b := best[e.place]; b == nil || apart(e.since, life.Start) < apart(b.since, life.Start) {
			best[e.place] = e
		}
	}
	for _, e := range best {
		to := e.reply.reverse() // seen from the opener
		if e.original != name {
			to = e.original.reverse() // seen from the other end
		}
		if found && to != beyond {
			return tuple{}, false, false
		}
		beyond, found = to, true
	}
	return beyond, found, true
}

func apart(a, b uint64) uint64 { return max(a, b) - min(a, b) }
