package events

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// newFakeRings are n rings, and what reads them as one.
func newFakeRings(t testing.TB, n, size int) (*Rings, []*fakeRing) {
	t.Helper()
	var fakes []*fakeRing
	var rings []*Ring
	for range n {
		f := newFakeRing(t, size)
		fakes, rings = append(fakes, f), append(rings, f.Ring)
	}
	return NewRings(rings...), fakes
}

// at is a record of this time.
func at(time uint64) []byte {
	record := make([]byte, Size)
	record[eventOffsetKind] = byte(KindState)
	binary.NativeEndian.PutUint64(record, time)
	return record
}

// times reads all that there is up to until.
func times(r *Rings, until uint64) (all []uint64) {
	r.Begin(until)
	for mem := r.Next(); mem != nil; mem = r.Next() {
		all = append(all, View(mem).Time())
	}
	return all
}

func TestRingsReadByTime(t *testing.T) {
	for _, c := range []struct {
		name  string
		rings [][]uint64
		until uint64
		want  []uint64
	}{
		{"one after the other", [][]uint64{{1, 2}, {3, 4}}, 9, []uint64{1, 2, 3, 4}},
		{"in turns", [][]uint64{{1, 4, 5}, {2, 3, 6}}, 9, []uint64{1, 2, 3, 4, 5, 6}},
		{"one is empty", [][]uint64{{}, {2, 3}, {}}, 9, []uint64{2, 3}},
		{"not later than asked for", [][]uint64{{1, 4}, {2, 5}}, 4, []uint64{1, 2, 4}},
		{"told long after it was", [][]uint64{{10, 1, 12}, {9, 11}}, 20, []uint64{9, 10, 1, 11, 12}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, fakes := newFakeRings(t, len(c.rings), 4096)
			for i, ring := range c.rings {
				for _, time := range ring {
					fakes[i].reserve(at(time), 0)
				}
			}
			if got := times(r, c.until); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestRingsKeepWhatIsNotReadYet: what Next has not returned is not given back to the kernel.
func TestRingsKeepWhatIsNotReadYet(t *testing.T) {
	r, fakes := newFakeRings(t, 2, 4096)
	fakes[0].reserve(at(1), 0)
	fakes[0].reserve(at(5), 0)
	fakes[1].reserve(at(6), 0)
	if got := times(r, 3); !slices.Equal(got, []uint64{1}) {
		t.Fatalf("got %v", got)
	}
	r.Commit()
	if one := fakes[0].producer / 2; fakes[0].consumer != one || fakes[1].consumer != 0 {
		t.Fatalf("given back %d and %d bytes, want %d and none", fakes[0].consumer, fakes[1].consumer, one)
	}
	if got := times(r, 9); !slices.Equal(got, []uint64{5, 6}) {
		t.Fatalf("got %v", got)
	}
	r.Commit()
	for i, f := range fakes {
		if f.consumer != f.producer {
			t.Errorf("ring %d: given back %d of %d bytes", i, f.consumer, f.producer)
		}
	}
}

// TestRingsWaitForWhatIsBeingWritten: it may be earlier than all that is there.
// TestRingsWaiting: what is later than was asked for still fills its ring, and the fullest counts.
func TestRingsWaiting(t *testing.T) {
	r, fakes := newFakeRings(t, 2, 4096)
	const record = uint64(ringHeader + Size)
	waits := func(when string, want uint64) {
		t.Helper()
		if got := r.Waiting(); got != want {
			t.Errorf("%s: %d bytes, want %d", when, got, want)
		}
	}
	waits("empty", 0)
	for _, time := range []uint64{1, 2, 8} {
		fakes[0].reserve(at(time), 0)
	}
	fakes[1].reserve(at(3), 0)
	waits("nothing read", 3*record)
	times(r, 4)
	waits("one left", record)
	times(r, 9)
	waits("all read", 0)
}

func TestRingsWaitForWhatIsBeingWritten(t *testing.T) {
	r, fakes := newFakeRings(t, 2, 4096)
	fakes[0].reserve(at(1), 0)
	fakes[1].reserve(at(3), 0)
	busy, _ := fakes[0].reserve(at(2), ringBusy)
	if got := times(r, 9); !slices.Equal(got, []uint64{1}) {
		t.Fatalf("got %v", got)
	}
	r.Commit()
	binary.NativeEndian.PutUint32(fakes[0].data[busy:], uint32(Size))
	if got := times(r, 9); !slices.Equal(got, []uint64{2, 3}) {
		t.Fatalf("got %v", got)
	}
}

// TestRingsLoseNothing: many records, rings that fill, reading that stops in between.
func TestRingsLoseNothing(t *testing.T) {
	r, fakes := newFakeRings(t, 3, 4096)
	rng := rand.New(rand.NewPCG(3, 4))
	var now, next uint64
	for next < 20000 {
		for fakes[rng.IntN(3)].hasRoom() {
			f := fakes[rng.IntN(3)]
			if !f.hasRoom() {
				continue
			}
			now++
			f.reserve(at(now), 0)
		}
		for _, got := range times(r, now-uint64(rng.IntN(9))) {
			if next++; got != next {
				t.Fatalf("got the record of %d, want that of %d", got, next)
			}
		}
		r.Commit()
	}
}

func (r *fakeRing) hasRoom() bool {
	return r.producer+ringHeader+uint64(Size+7)&^7-r.consumer <= uint64(r.size)
}

func TestRingsDoNotAllocate(t *testing.T) {
	r, fakes := newFakeRings(t, 2, 1<<16)
	record := at(1)
	if n := testing.AllocsPerRun(1000, func() {
		fakes[1].reserve(record, 0)
		r.Begin(2)
		if View(r.Next()) == nil {
			panic("not a view")
		}
		r.Next()
		r.Commit()
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func BenchmarkRings(b *testing.B) {
	r, fakes := newFakeRings(b, 2, 1<<20)
	n := 0
	for fakes[n%2].hasRoom() {
		fakes[n%2].reserve(at(uint64(n)), 0)
		n++
	}
	b.ReportAllocs()
	var sum uint64
	for i := 0; i < b.N; i += n {
		for j, f := range fakes {
			f.position, f.end, f.consumer = 0, 0, 0
			r.heads[j] = head{}
		}
		r.Begin(uint64(n))
		for mem := r.Next(); mem != nil; mem = r.Next() {
			sum += View(mem).Time()
		}
		r.Commit()
	}
	sink = sum
}
