package events

import "time"

// Clock turns event times, nanoseconds of CLOCK_BOOTTIME, into wall-clock times.
// It is set once, at the start: a later step of the wall clock does not reorder
// what one run prints.
type Clock struct {
	boot time.Time // wall-clock time at which CLOCK_BOOTTIME was 0
}

// NewClock is the clock that read bootNS when the wall clock read wall.
func NewClock(wall time.Time, bootNS uint64) Clock {
	return Clock{boot: wall.Add(-time.Duration(bootNS))}
}

// Wall is the wall-clock time, UTC, of an event.
func (c Clock) Wall(bootNS uint64) time.Time {
	return c.boot.Add(time.Duration(bootNS)).UTC()
}
