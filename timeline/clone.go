package timeline

import "slices"

// Clone is a copy to keep: an Update's timeline is only lent. The Assembler knows nothing of it.
func (t *Timeline) Clone() *Timeline {
	c := *t
	c.track = tracking{}
	c.History = slices.Clone(t.History)
	c.Entries = slices.Clone(t.Entries)
	c.Findings = slices.Clone(t.Findings)
	return &c
}
