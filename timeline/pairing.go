package timeline

import (
	"bytes"
	"net/netip"

	"tcptrace/events"
)

// Where both ends of a connection are on this host, each has a timeline; here they find each other.

// Translation is how the other end names this connection, where addresses or ports were changed on the way. That of
// TranslationConntrack is for whoever makes use of timelines to add.
type Translation struct {
	// Local is what the other end takes this one for, Remote its own address.
	Local, Remote netip.AddrPort
	// Source is how that is known.
	Source TranslationSource
}

// TranslationSource is how a Translation is known.
type TranslationSource uint8

const (
	// TranslationPeer: the other end, on this host, has the same SYN.
	TranslationPeer TranslationSource = iota
	// TranslationConntrack: this host's conntrack has the two names.
	TranslationConntrack
)

// String is the source's word in the JSON.
func (s TranslationSource) String() string {
	return name([]string{"peer", "conntrack"}, s)
}

// pair links the two ends by the SYN that both saw. One that this host may only have forwarded is at neither end, and waits
// to be confirmed.
func (a *Assembler) pair(t *Timeline, syn *Entry) {
	if t.track.unconfirmed {
		return
	}
	if t.PeerID == 0 {
		// Its sequence number is random, and no translation changes it.
		key := events.Tuple{Netns: syn.Seq}
		if other := a.meeting[key]; other == nil {
			a.await(t, key)
		} else if other.sawSYN(t, syn) {
			t.link(other)
		}
	}
	t.timeOneWay(syn)
}

// sawSYN reports whether t is at the other end of the one that sent or received the SYN.
func (t *Timeline) sawSYN(other *Timeline, syn *Entry) bool {
	if t == other || t.PeerID != 0 && !t.peerFailed() {
		return false
	}
	is := func(a, b *events.Tuple) bool {
		r := b.Reverse()
		r.Netns = a.Netns
		return *a == r
	}
	mine, theirs := &t.track, &other.track
	if is(&mine.tuple, &theirs.tuple) || mine.hasAlias && is(&mine.alias, &theirs.tuple) ||
		theirs.hasAlias && is(&mine.tuple, &theirs.alias) {
		return true
	}
	// By other addresses: only the very same SYN has its clock's reading too.
	if !syn.Options.Present.Has(events.OptionTimestamps) {
		return false
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		apart := max(e.Time, syn.Time) - min(e.Time, syn.Time)
		if e.Step == StepSYN && e.Dir != syn.Dir && e.Seq == syn.Seq && apart < firstRetry &&
			e.Options.Present.Has(events.OptionTimestamps) && e.Options.TSVal == syn.Options.TSVal {
			return true
		}
	}
	return false
}

// peerFailed: t goes on sending its SYN, and the end that had it is over: the next is another one.
func (t *Timeline) peerFailed() bool {
	peer := t.livingPeer()
	return t.State == events.SynSent && (peer == nil || peer.End.Known)
}

// meetByTuple is for a connection whose SYN was not seen: the tuple must do, one end's of the two.
func (a *Assembler) meetByTuple(t *Timeline, tuple *events.Tuple) {
	key := *tuple
	if r := key.Reverse(); bytes.Compare(r.LocalAddr[:], key.LocalAddr[:]) < 0 ||
		r.LocalAddr == key.LocalAddr && r.LocalPort < key.LocalPort {
		key = r
	}
	key.Netns = 0
	if other := a.meeting[key]; other == nil {
		a.await(t, key)
	} else if other != t && other.PeerID == 0 {
		t.link(other)
	}
}

// await has t wait for its other end, there alone.
func (a *Assembler) await(t *Timeline, key events.Tuple) {
	if t.track.waits && a.meeting[t.track.meetKey] == t {
		delete(a.meeting, t.track.meetKey)
	}
	t.track.waits, t.track.meetKey = true, key
	a.meeting[key] = t
}

func (t *Timeline) link(other *Timeline) {
	t.PeerID, other.PeerID = other.ID, t.ID
	t.track.peer, other.track.peer = other, t
	t.track.peerElsewhere = t.Netns != other.Netns
	other.track.peerElsewhere = t.track.peerElsewhere
	t.compareOffers()
	other.compareOffers()
	t.compareNames(other)
}

// unlink: nothing will be told of t, so nobody shall name it.
func (t *Timeline) unlink() {
	if peer := t.livingPeer(); peer != nil {
		peer.PeerID, peer.track.peer, peer.Translated = 0, nil, Maybe[Translation]{}
	}
	t.PeerID, t.track.peer, t.Translated = 0, nil, Maybe[Translation]{}
}

// compareNames notes what each end of a connection is to the other.
func (t *Timeline) compareNames(other *Timeline) {
	t.Translated, other.Translated = Maybe[Translation]{}, Maybe[Translation]{}
	if t.Local != other.Remote || t.Remote != other.Local {
		t.Translated = Some(Translation{Local: other.Remote, Remote: other.Local})
		other.Translated = Some(Translation{Local: t.Remote, Remote: t.Local})
	}
}

// livingPeer is the other end's timeline, as long as that is not written.
func (t *Timeline) livingPeer() *Timeline {
	if p := t.track.peer; p != nil && p.ID == t.PeerID {
		return p
	}
	return nil
}

// compareOffers notes what the other end really sent in the SYN or SYN-ACK that came here.
func (t *Timeline) compareOffers() {
	peer := t.livingPeer()
	if peer == nil || t.Handshake.RemoteSent.Known {
		return
	}
	got, sent := &t.track.remote, &peer.track.local
	if got.synAt != 0 && sent.synAt != 0 && got.isn == sent.isn {
		t.Handshake.RemoteSent = Some(sent.offered)
	}
}

// sentLately bounds how far back the sending of a segment is looked for.
const sentLately = 16

// timeOneWay measures how long a received segment was under way from the other end: both were
// stamped by one clock. Where the same was sent more than once, nobody knows which of them came.
func (t *Timeline) timeOneWay(got *Entry) {
	peer := t.livingPeer()
	if peer == nil || got.Dir != Rx {
		return
	}
	var sent *Entry
	for i := len(peer.Entries) - 1; i >= max(0, len(peer.Entries)-sentLately); i-- {
		e := &peer.Entries[i]
		if e.Type != EntrySegment || e.Dir != Tx || e.Time > got.Time || e.Seq != got.Seq || e.Ack != got.Ack ||
			e.Flags != got.Flags || e.Len != got.Len || e.Options.TSVal != got.Options.TSVal || e.Options.TSEcr != got.Options.TSEcr {
			continue
		}
		if sent != nil {
			return
		}
		sent = e
	}
	if sent != nil {
		got.OneWayNS = Some(got.Time - sent.Time)
	}
}
