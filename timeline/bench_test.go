package timeline_test

import (
	"bytes"
	"os"
	"testing"
	"unsafe"

	"tcptrace/events"
	"tcptrace/timeline"
)

// records are the events of a recording, aligned as in the ring.
func records(tb testing.TB, path string) (all []*events.Event) {
	tb.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	err = events.Replay(bytes.NewReader(file), func(events.Clock) error { return nil }, func(e *events.Event) error {
		copied := *e
		all = append(all, &copied)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// BenchmarkAssemble sends the events of a connection with both ends on this host through
// the state machine, over and over, each time as a connection of its own.
func BenchmarkAssemble(b *testing.B) {
	all := records(b, "testdata/get-client-closes-first.events")
	a := timeline.New(timeline.Options{Linger: 1e9})
	b.ReportAllocs()
	ended, n := 0, 0
	for round := uint64(0); n < b.N; round++ {
		for _, e := range all {
			shift(e, round)
			for _, u := range a.Add(e) {
				if u.Kind == timeline.UpdateEnd {
					ended++
				}
			}
			n++
		}
	}
	b.ReportMetric(float64(ended)/float64(n)*float64(len(all)), "timelines/connection")
}

// shift makes of a recorded event that of a later connection: 100 µs, other ports, another socket.
func shift(e *events.Event, round uint64) {
	const step, ports = 100_000, 60_000
	header := (*[2]uint64)(unsafe.Pointer(e)) // time_ns and sock lead the record (bpf/event.h)
	if round == 0 {
		return
	}
	header[0] += step
	if header[1] != 0 {
		header[1] ^= round<<8 ^ (round-1)<<8
	}
	t := e.Tuple()
	for _, port := range []*uint16{&t.LocalPort, &t.RemotePort} {
		if *port > 1024 {
			*port = 1025 + uint16((uint64(*port)-1025+1)%ports)
		}
	}
	// Other addresses when the ports come round, which is within the minute of TIME_WAIT.
	t.LocalAddr[13], t.RemoteAddr[13] = byte(round/ports), byte(round/ports)
}
