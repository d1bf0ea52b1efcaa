package events

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeRing is a ring buffer as the kernel lays it out: data mapped twice in a row, records
// written as bpf_ringbuf_reserve and _submit do.
type fakeRing struct {
	*Ring
	consumer, producer uint64
	size               int
	data               []byte
}

func newFakeRing(t testing.TB, size int) *fakeRing {
	t.Helper()
	fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	// One address range of twice the size, each half mapped onto the same memory.
	both, err := unix.Mmap(-1, 0, 2*size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(both) })
	for half := range 2 {
		at := uintptr(half * size)
		if _, err := unix.MmapPtr(fd, 0, addOffset(both, at), uintptr(size),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
			t.Fatal(err)
		}
	}
	r := &fakeRing{size: size, data: both}
	r.Ring = NewRing(&r.consumer, &r.producer, both)
	return r
}

// reserve writes a record's header and data and returns its header's place; false where there is no room.
func (r *fakeRing) reserve(data []byte, flags uint32) (at int, ok bool) {
	room := uint64(ringHeader + (len(data)+7)&^7)
	if r.producer+room-r.consumer > uint64(r.size) {
		return 0, false
	}
	at = int(r.producer & uint64(r.size-1))
	binary.LittleEndian.PutUint32(r.data[at:], uint32(len(data))|flags)
	copy(r.data[at+ringHeader:], data)
	r.producer += room
	return at, true
}

func TestRingReadsInPlaceAndInOrder(t *testing.T) {
	const size = 4096
	r := newFakeRing(t, size)
	rng := rand.New(rand.NewPCG(1, 2))
	var want [][]byte
	written, read := 0, 0
	for written < 20000 {
		data := bytes.Repeat([]byte{byte(written)}, rng.IntN(300))
		discard := rng.IntN(8) == 0
		flags := uint32(0)
		if discard {
			flags = ringDiscard
		}
		if _, ok := r.reserve(data, flags); ok {
			written++
			if !discard {
				want = append(want, data)
			}
			continue
		}
		// Full: read what is there.
		for {
			got := r.Next()
			if got == nil {
				break
			}
			if !bytes.Equal(got, want[0]) {
				t.Fatalf("record %d: got %d bytes of %v, want %d of %v", read, len(got), got[:1], len(want[0]), want[0][:1])
			}
			if cap(got) != len(got) {
				t.Fatalf("record %d: its slice reaches %d bytes beyond it", read, cap(got)-len(got))
			}
			want = want[1:]
			read++
		}
		if len(want) != 0 {
			t.Fatalf("%d records were not read", len(want))
		}
		if r.consumer == r.producer {
			t.Fatal("the space was given back before Commit")
		}
		r.Commit()
		if r.consumer != r.producer {
			t.Fatalf("after Commit consumer %d, producer %d", r.consumer, r.producer)
		}
	}
}

func TestRingStopsAtARecordStillBeingWritten(t *testing.T) {
	r := newFakeRing(t, 4096)
	r.reserve([]byte("first"), 0)
	at, _ := r.reserve([]byte("second"), ringBusy)
	r.reserve([]byte("third"), 0)

	if got := r.Next(); string(got) != "first" {
		t.Fatalf("got %q", got)
	}
	if got := r.Next(); got != nil {
		t.Fatalf("got %q, though it is still being written", got)
	}
	binary.LittleEndian.PutUint32(r.data[at:], uint32(len("second")))
	for _, want := range []string{"second", "third", ""} {
		if got := r.Next(); string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestRingRefusesALengthBeyondTheRing(t *testing.T) {
	r := newFakeRing(t, 4096)
	at, _ := r.reserve([]byte("x"), 0)
	for _, n := range []uint32{4096, 5000, 1 << 29, ringDiscard - 1} {
		binary.LittleEndian.PutUint32(r.data[at:], n)
		if got := r.Next(); got != nil {
			t.Errorf("length %d: got %d bytes", n, len(got))
		}
	}
}

func TestRingDoesNotAllocate(t *testing.T) {
	r := newFakeRing(t, 1<<16)
	record := make([]byte, Size)
	record[eventOffsetKind] = byte(KindState)
	if n := testing.AllocsPerRun(1000, func() {
		r.reserve(record, 0)
		if View(r.Next()) == nil {
			panic("not a view")
		}
		r.Commit()
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte{5, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0}, uint64(16))
	f.Add([]byte{5, 0, 0, 0x40}, uint64(4096))
	f.Fuzz(func(t *testing.T, memory []byte, producer uint64) {
		const size = 4096
		data := make([]byte, 2*size)
		copy(data, memory[:min(len(memory), size)])
		copy(data[size:], data[:size])
		var consumer uint64
		producer %= size + 1
		r := NewRing(&consumer, &producer, data)
		var total uint64
		for got := r.Next(); got != nil; got = r.Next() {
			total += uint64(len(got))
		}
		if total > producer {
			t.Errorf("read %d bytes of %d", total, producer)
		}
		r.Commit()
		if consumer > producer {
			t.Errorf("consumer %d beyond producer %d", consumer, producer)
		}
	})
}

func BenchmarkRing(b *testing.B) {
	r := newFakeRing(b, 1<<20)
	record := make([]byte, Size)
	record[eventOffsetKind] = byte(KindState)
	n := 0
	for ; ; n++ {
		if _, ok := r.reserve(record, 0); !ok {
			break
		}
	}
	end := r.producer
	b.ReportAllocs()
	var sum uint64
	for i := 0; i < b.N; i += n {
		r.position, r.end, r.consumer, r.producer = 0, 0, 0, end
		for mem := r.Next(); mem != nil; mem = r.Next() {
			e := View(mem)
			sum += e.Time() + e.Sock() + uint64(e.Tuple().LocalPort) + uint64(e.NewState()) + uint64(e.Header().Seq())
		}
		r.Commit()
	}
	sink = sum
}
