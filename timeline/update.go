package timeline

// UpdateKind says what an Update tells.
type UpdateKind uint8

const (
	// UpdateEntry: something happened to a connection that is being watched.
	UpdateEntry UpdateKind = iota + 1
	// UpdateEnd: the timeline is ready to be written: it ended, its TIME_WAIT has
	// lingered long enough, it was evicted, or tracing stops.
	UpdateEnd
	// UpdateAddendum: something more happened in TIME_WAIT after the timeline was
	// written. Timeline holds only what is kept of it: its identity and the Entries.
	UpdateAddendum
)

// Update is what the state machine has to say. Timeline and what it points to
// belong to the state machine and are valid until the next call of Add or
// Advance; a writer that keeps them must copy.
type Update struct {
	Kind     UpdateKind
	Timeline *Timeline
	// Entry is the entry of an UpdateEntry, else nil.
	Entry *Entry
}
