package live

import (
	"slices"
	"time"
)

// What is counted per second.
type count uint8

const (
	opens count = iota
	failures
	resets
	retransmits
	counts // how many there are
)

const (
	rateSlot  = uint64(100 * time.Millisecond)
	rateSlots = 20 // rates are over the last two seconds
	// handshakes are told of the last recentWindow, at most recentMost of them.
	recentWindow = uint64(10 * time.Second)
	recentMost   = 2048
)

// rates are sliding sums. All times are nanoseconds of CLOCK_BOOTTIME.
type rates struct {
	begun uint64
	slots [rateSlots]struct {
		number uint64 // time / rateSlot
		n      [counts]uint64
	}
	recent [recentMost]struct{ at, ns uint64 }
	next   int
	sorted []uint64
}

func (r *rates) add(at uint64, what count, n uint64) {
	number := at / rateSlot
	s := &r.slots[number%rateSlots]
	switch {
	case s.number > number:
		return // it came too late to count
	case s.number < number:
		s.number, s.n = number, [counts]uint64{}
	}
	s.n[what] += n
}

// perSecond is how many there were in a second, of late.
func (r *rates) perSecond(now uint64, what count) float64 {
	number := now / rateSlot
	sum := uint64(0)
	for i := range r.slots {
		if s := &r.slots[i]; s.number+rateSlots > number && s.number <= number {
			sum += s.n[what]
		}
	}
	span := min(rateSlots*rateSlot, max(now-min(now, r.begun), uint64(time.Second)))
	return float64(sum) / (float64(span) / 1e9)
}

// figures are the rates and the handshakes at one moment.
type figures struct {
	perSecond  [counts]float64
	p50, p99   uint64 // nanoseconds
	handshakes int
}

func (r *rates) figures(now uint64) (f figures) {
	for what := range counts {
		f.perSecond[what] = r.perSecond(now, what)
	}
	f.p50, f.p99, f.handshakes = r.percentiles(now)
	return f
}

// handshake takes note of how long one was.
func (r *rates) handshake(at, ns uint64) {
	r.recent[r.next].at, r.recent[r.next].ns = at, ns
	r.next = (r.next + 1) % recentMost
}

// percentiles of the handshakes of late; n is how many there were.
func (r *rates) percentiles(now uint64) (p50, p99 uint64, n int) {
	r.sorted = r.sorted[:0]
	for i := range r.recent {
		if h := &r.recent[i]; h.at != 0 && h.at+recentWindow > now {
			r.sorted = append(r.sorted, h.ns)
		}
	}
	n = len(r.sorted)
	if n == 0 {
		return 0, 0, 0
	}
	slices.Sort(r.sorted)
	return r.sorted[(n-1)/2], r.sorted[(n-1)*99/100], n
}
