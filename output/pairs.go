package output

import (
	"maps"
	"slices"

	"tcptrace/timeline"
)

// pair is what one ladder is drawn of: an end, and the other one where that is on this host too.
type pair struct{ t, peer *timeline.Timeline }

// pairs keeps timelines until the other end's has come.
type pairs struct {
	waiting map[uint64]*timeline.Timeline
	// order holds the IDs of those that wait, the oldest first, and of some that no longer do.
	order []uint64
}

// most is how many timelines wait at most: what comes back does so within seconds.
const most = 1 << 14

// add takes a timeline, of which it keeps a copy, and returns what can be drawn now.
func (p *pairs) add(t *timeline.Timeline) []pair {
	if t.PeerID == 0 || t.PeerID == t.ID {
		return []pair{{t: t}}
	}
	if peer := p.waiting[t.PeerID]; peer != nil && peer.PeerID == t.ID {
		delete(p.waiting, t.PeerID)
		return []pair{{peer, t}}
	}
	if p.waiting == nil {
		p.waiting = make(map[uint64]*timeline.Timeline)
	}
	p.waiting[t.ID] = t.Clone()
	p.order = append(p.order, t.ID)
	if len(p.waiting) <= most {
		return nil
	}
	return p.oldest(func(*timeline.Timeline) bool { return len(p.waiting) > most })
}

// before returns, alone, those that were written before a time.
func (p *pairs) before(at uint64) []pair {
	return p.oldest(func(t *timeline.Timeline) bool { return t.WrittenAt < at })
}

// all returns those that still wait, alone.
func (p *pairs) all() []pair { return p.oldest(func(*timeline.Timeline) bool { return true }) }

// oldest takes those out that are asked for, until one is not.
func (p *pairs) oldest(due func(*timeline.Timeline) bool) (out []pair) {
	for len(p.order) > 0 {
		id := p.order[0]
		if t := p.waiting[id]; t != nil {
			if !due(t) {
				break
			}
			delete(p.waiting, id)
			out = append(out, pair{t: t})
		}
		p.order = p.order[1:]
	}
	if len(p.waiting) == 0 {
		p.order = nil
	} else if len(p.order) > 2*len(p.waiting)+most {
		p.order = slices.Sorted(maps.Keys(p.waiting)) // IDs grow
	}
	return out
}
