package timeline_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"tcptrace/timeline"
)

// TestNothingIsLeft: when all connections have ended and their times are over, nothing leads to any of them, whichever event of
// theirs was missed.
func TestNothingIsLeft(t *testing.T) {
	recordings, _ := filepath.Glob("testdata/*.events")
	for _, path := range recordings {
		all := records(t, path)
		for missed := -1; missed < len(all); missed++ {
			for _, whole := range []bool{true, false} {
				a := timeline.New(timeline.Options{Linger: sec, WholeTimeWait: whole})
				for i, e := range all {
					if i != missed {
						a.Add(e)
					}
				}
				now := all[len(all)-1].Time()
				if missed >= 0 {
					a.Finish(now) // else what is open stays
				}
				for range 10 {
					now += 60 * sec
					a.Advance(now)
				}
				if a.Live() > 0 {
					continue // it was still open at the recording's end
				}
				state := reflect.ValueOf(a).Elem()
				for i := range state.NumField() {
					name, field := state.Type().Field(i).Name, state.Field(i)
					left := 0
					switch {
					case field.Kind() == reflect.Map:
						left = field.Len()
					case field.Kind() == reflect.Struct && field.FieldByName("items").IsValid():
						left = field.FieldByName("items").Len() - int(field.FieldByName("head").Int())
					case name == "entries":
						left = int(field.Int())
					}
					if left != 0 {
						t.Errorf("%s without event %d: %d left in %s", filepath.Base(path), missed, left, name)
					}
				}
			}
		}
	}
}
