package tracer

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tcptrace/events"
)

// minRing is the least size in bytes of one of several rings: a burst may come from one processor alone.
const minRing = 2 << 20

// rings is how many rings share RingSize: a power of two, one for each processor where there is room for as many.
func (o *Options) rings() int {
	processors, err := ebpf.PossibleCPU()
	if err != nil {
		return 1
	}
	n := 1
	for n < processors && o.RingSize/(2*n) >= minRing {
		n *= 2
	}
	return n
}

// rings are the rings' memory and their reader.
type rings struct {
	*events.Rings
	maps                []*ebpf.Map
	memory              [][]byte // mapped
	events, undecodable uint64
}

// makeRings makes a ring for each place in the map of rings, and maps it.
func makeRings(spec *ebpf.MapSpec, all *ebpf.Map) (_ *rings, err error) {
	r := &rings{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	var readers []*events.Ring
	for i := range spec.MaxEntries {
		ring, err := ebpf.NewMap(spec.InnerMap)
		if err != nil {
			return nil, fmt.Errorf("create a ring: %w", err)
		}
		r.maps = append(r.maps, ring)
		if err := all.Put(i, ring); err != nil {
			return nil, fmt.Errorf("put a ring in its place: %w", err)
		}
		reader, err := r.mapRing(ring)
		if err != nil {
			return nil, err
		}
		readers = append(readers, reader)
	}
	r.Rings = events.NewRings(readers...)
	return r, nil
}

func (r *rings) mapRing(ring *ebpf.Map) (*events.Ring, error) {
	page, size := os.Getpagesize(), int(ring.MaxEntries())
	consumer, err := unix.Mmap(ring.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map a ring's consumer page: %w", err)
	}
	r.memory = append(r.memory, consumer)
	rest, err := unix.Mmap(ring.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map a ring: %w", err)
	}
	r.memory = append(r.memory, rest)
	return events.NewRing((*uint64)(unsafe.Pointer(&consumer[0])),
		(*uint64)(unsafe.Pointer(&rest[0])), rest[page:]), nil
}

// filling: one is so full that the programs wake its reader.
func (r *rings) filling() bool { return r.Waiting() >= uint64(r.maps[0].MaxEntries()/wakeupShare) }

// Close gives the memory back: records are no longer valid.
func (r *rings) Close() error {
	var errs []error
	for _, m := range r.memory {
		errs = append(errs, unix.Munmap(m))
	}
	for _, m := range r.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
