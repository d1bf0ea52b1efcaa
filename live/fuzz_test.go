package live

import (
	"testing"
	"time"
)

// FuzzKeys presses keys, changes the screen's size and lets time pass, in any order: nothing panics, what is shown
// fits, and a row is selected wherever there is one.
func FuzzKeys(f *testing.F) {
	keys := []Key{KeyUp, KeyDown, KeyPageUp, KeyPageDown, KeyHome, KeyEnd, KeyEnter, KeyEscape, KeyBackspace,
		"e", "/", "s", "f", "p", "w", "?", "q", "j", "k", "g", "G", " ", "8", "ü", "\x1b"}
	f.Add([]byte{100, 6, 100, 9, 101, 130, 1, 1, 6, 100, 16, 13, 100, 4, 6, 9, 255})
	f.Add([]byte{100, 100, 10, 22, 22, 0, 100, 7, 13, 5, 6, 15, 16, 12, 120, 200, 100, 100, 100, 100})
	f.Fuzz(func(t *testing.T, script []byte) {
		s := newStage(t, plainOptions(), "get-client-closes-first", "refused", "syn-dropped-until-timeout", "half-close")
		at := time.Duration(0)
		for _, b := range script[:min(len(script), 200)] {
			switch {
			case int(b) < len(keys):
				if s.model.Press(keys[b]) == Save {
					if _, _, err := s.model.Saved(); err != nil {
						t.Errorf("what is selected cannot be saved: %v", err)
					}
				}
			case b < 110:
				at += time.Duration(b-80) * 100 * time.Millisecond
				s.until(max(at, 0))
			default:
				s.model.Resize(int(b-109)*2, int(b%60))
			}
			s.fits(s.model.Lines())
			if n := len(s.model.order); n > 0 && s.model.index >= n {
				t.Fatalf("row %d of %d is selected", s.model.index, n)
			}
		}
	})
}
