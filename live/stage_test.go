package live

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"tcptrace/events"
	"tcptrace/finding"
	"tcptrace/output"
	"tcptrace/timeline"
)

// begin is when everything on the stage begins, CLOCK_BOOTTIME.
const begin = uint64(1000 * time.Second)

// stage plays recordings to an assembler, and what that tells to a model.
type stage struct {
	t        testing.TB
	assemble *timeline.Assembler
	model    *Model
	events   []*events.Event // in order of time
	now      uint64
	lost     uint64
}

func newStage(t testing.TB, o Options, recordings ...string) *stage {
	t.Helper()
	find := finding.New(finding.Options{DropReason: o.Output.DropReason})
	o.Find, o.Begin, o.CloseWait = find.Find, begin, uint64(finding.DefaultCloseWait)
	s := &stage{t: t, now: begin, model: New(o),
		assemble: timeline.New(timeline.Options{Entries: true, Linger: uint64(time.Second)})}
	for i, name := range recordings {
		s.events = append(s.events, recorded(t, name, uint32(i+1))...)
	}
	slices.SortStableFunc(s.events, func(a, b *events.Event) int { return int(int64(a.Time() - b.Time())) })
	return s
}

// recorded are the events of a recording, as if they had begun at begin, on a host of their own.
func recorded(t testing.TB, name string, host uint32) (all []*events.Event) {
	t.Helper()
	file, err := os.ReadFile("../timeline/testdata/" + name + ".events")
	if err != nil {
		t.Fatal(err)
	}
	err = events.Replay(bytes.NewReader(file), func(events.Clock) error { return nil }, func(e *events.Event) error {
		copied := *e
		all = append(all, &copied)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	first := all[0].Time()
	for _, e := range all {
		move(e, begin-first, uint64(host)<<40)
		e.Tuple().Netns += host
	}
	return all
}

// move changes an event's time and the address of its socket, which lead the record (bpf/event.h).
func move(e *events.Event, later, sock uint64) {
	header := (*[2]uint64)(unsafe.Pointer(e))
	header[0] += later
	if header[1] != 0 {
		header[1] ^= sock
	}
}

func (s *stage) tell(updates []timeline.Update) {
	find := s.model.o.Find
	for i := range updates {
		if u := &updates[i]; u.Kind == timeline.UpdateEnd {
			find(u.Timeline)
		}
		s.model.Update(&updates[i])
	}
}

func (s *stage) gather() {
	s.model.Gather(Facts{Now: s.now, Open: s.assemble.All(), Waiting: s.assemble.Waiting(), Lost: s.lost})
}

// until plays what happens up to a time since the begin, looking at it ten times a second.
func (s *stage) until(d time.Duration) *stage {
	const step = uint64(100 * time.Millisecond)
	for end := begin + uint64(d); s.now < end; {
		s.now = min(s.now+step, end)
		for len(s.events) > 0 && s.events[0].Time() <= s.now {
			s.tell(s.assemble.Add(s.events[0]))
			s.events = s.events[1:]
		}
		s.tell(s.assemble.Advance(s.now))
		s.gather()
	}
	return s
}

func (s *stage) press(keys ...Key) *stage {
	for _, k := range keys {
		if a := s.model.Press(k); a != None {
			s.t.Errorf("%q asks for action %d", k, a)
		}
	}
	return s
}

func plainOptions() Options {
	return Options{
		Output: output.Options{
			Clock:      events.NewClock(time.Date(2026, 3, 9, 3, 4, 5, 0, time.UTC), begin),
			DropReason: func(uint32) string { return "NETFILTER_DROP" },
		},
		Filter: "port 80", Attached: "tracepoints",
	}
}
