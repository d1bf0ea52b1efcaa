package tracer

import (
	"testing"

	"tcptrace/gen"
)

// TestObjectsShareTheirVariables: the programs of both objects run on one memory, so each variable must be at
// the same place in both.
func TestObjectsShareTheirVariables(t *testing.T) {
	typed, err := gen.LoadBPF()
	if err != nil {
		t.Fatal(err)
	}
	copying, err := gen.LoadCopying()
	if err != nil {
		t.Fatal(err)
	}
	if len(copying.Variables) == 0 {
		t.Fatal("no variables")
	}
	for name, v := range copying.Variables {
		other := typed.Variables[name]
		if other == nil {
			t.Errorf("only one object has the variable %s", name)
			continue
		}
		if v.SectionName != other.SectionName || v.Offset != other.Offset {
			t.Errorf("%s is at %s+%d in one object, at %s+%d in the other: has it an initial value?",
				name, v.SectionName, v.Offset, other.SectionName, other.Offset)
		}
	}
}
