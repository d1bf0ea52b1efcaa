package events

// Rings reads several rings as one: the records of all of them in the order of their times. A record that
// is told long after what it tells of counts as being as late as the one before it in its ring. It is for one goroutine.
type Rings struct {
	rings []*Ring
	heads []head
	until uint64
}

// head is the next record of a ring.
type head struct {
	record []byte // nil where none was taken from the ring yet
	time   uint64
	empty  bool // there was none
}

// NewRings reads these rings. Their Next is not to be called by others.
func NewRings(rings ...*Ring) *Rings {
	return &Rings{rings: rings, heads: make([]head, len(rings))}
}

// Begin has Next look into all rings again, for records that are not later than until: a time
// (Event.Time) before which every record is in its ring by now, or its order is not kept.
func (r *Rings) Begin(until uint64) {
	r.until = until
	for i := range r.heads {
		r.heads[i].empty = false
	}
}

// Next is the next record, in its ring's own memory, or nil when all that Begin asked for are read, or where the
// next one may be one that is still being written. It stays valid until the next call.
func (r *Rings) Next() []byte {
	var first *head
	for i := range r.heads {
		h := &r.heads[i]
		if h.record == nil && !h.empty && !h.take(r.rings[i]) {
			return nil
		}
		if h.record != nil && (first == nil || h.time < first.time) {
			first = h
		}
	}
	if first == nil || first.time > r.until {
		return nil
	}
	record := first.record
	first.record = nil
	return record
}

// take reports false where a record is still being written.
func (h *head) take(from *Ring) bool {
	h.record = from.Next()
	if h.record == nil {
		h.empty = !from.busy()
		return h.empty
	}
	if e := View(h.record); e != nil {
		h.time = max(h.time, e.Time())
	}
	return true
}

// Commit gives the space of all records that are no longer valid back to the kernel.
func (r *Rings) Commit() {
	for _, ring := range r.rings {
		ring.Commit()
	}
}

// Waiting is how many bytes of the fullest ring were not given back to the kernel yet.
func (r *Rings) Waiting() (most uint64) {
	for _, ring := range r.rings {
		most = max(most, ring.waiting())
	}
	return most
}
