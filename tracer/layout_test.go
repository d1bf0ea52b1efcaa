package tracer

import (
	"testing"

	"tcptrace/gen"
)

// TestBothObjectsHaveOneMemory: their variables lie at the same places, or a filter that is set in one is
// something else in the other.
func TestBothObjectsHaveOneMemory(t *testing.T) {
	first, err := gen.LoadBPF()
	if err != nil {
		t.Fatal(err)
	}
	second, err := gen.LoadCopying()
	if err != nil {
		t.Fatal(err)
	}
	shared := 0
	for name, a := range first.Variables {
		b := second.Variables[name]
		if b == nil {
			continue
		}
		shared++
		if a.SectionName != b.SectionName || a.Offset != b.Offset || len(a.Value) != len(b.Value) {
			t.Errorf("%s: %s+%#x, %d bytes, and %s+%#x, %d bytes", name,
				a.SectionName, a.Offset, len(a.Value), b.SectionName, b.Offset, len(b.Value))
		}
	}
	if shared == 0 {
		t.Error("they share no variable")
	}
}
