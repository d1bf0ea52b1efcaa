package events

import (
	"sync/atomic"
	"unsafe"
)

// Ring reads one BPF ring buffer where the kernel writes it: its records are not
// copied. It is for one goroutine. It is shaped like the RawReader that
// cilium/ebpf has merged but not released, so that this can make way for that.
//
// The layout is the kernel's (kernel/bpf/ringbuf.c): a consumer page that we
// write, a producer page and the data, which is mapped twice in a row so that a
// record never wraps.
type Ring struct {
	consumer, producer *uint64
	data               []byte // size bytes, and the same again
	mask               uint64
	position           uint64 // read up to here
	done               uint64 // up to here records are no longer used; *consumer follows at Commit
	end                uint64 // *producer, when it was last looked at
}

// Record header: 32 bits of length and two flags, 32 bits of page offset.
const (
	ringHeader  = 8
	ringBusy    = 1 << 31 // BPF_RINGBUF_BUSY_BIT: still being written
	ringDiscard = 1 << 30 // BPF_RINGBUF_DISCARD_BIT: thrown away by its writer
)

// NewRing reads the ring whose pages are mapped at consumer, producer and data.
// They must stay mapped while the Ring or one of its records is used. data is the double
// mapping: twice the ring's size, which is a power of two.
func NewRing(consumer, producer *uint64, data []byte) *Ring {
	begin := atomic.LoadUint64(consumer)
	return &Ring{
		consumer: consumer,
		producer: producer,
		data:     data,
		mask:     uint64(len(data)/2 - 1),
		position: begin,
		done:     begin,
		end:      begin,
	}
}

// Next is the next record, in the ring's own memory, or nil where there is none
// yet. It stays valid until the next call.
func (r *Ring) Next() []byte {
	for {
		r.done = r.position
		// Were it looked at for each record, its memory would go to and fro between the processors.
		if r.position == r.end {
			if r.end = atomic.LoadUint64(r.producer); r.position == r.end {
				return nil
			}
		}
		at := r.position & r.mask
		// The kernel clears the busy bit with a full barrier after the data is written.
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
		if head&ringBusy != 0 {
			return nil
		}
		n := uint64(head &^ ringDiscard)
		size := ringHeader + (n+7)&^7
		if size > uint64(len(r.data)/2) || r.position+size > r.end {
			return nil // not a ring that the kernel wrote
		}
		r.position += size
		if head&ringDiscard == 0 {
			return r.data[at+ringHeader : at+ringHeader+n : at+ringHeader+n]
		}
	}
}

// busy reports, where Next was nil, whether a record is still being written.
func (r *Ring) busy() bool { return r.position != r.end }

// waiting is how many bytes cannot be given back to the kernel yet: they were not read, or their record is the last that was.
func (r *Ring) waiting() uint64 { return atomic.LoadUint64(r.producer) - r.done }

// Commit gives the space of all records that are no longer valid back to the kernel.
func (r *Ring) Commit() { atomic.StoreUint64(r.consumer, r.done) }
