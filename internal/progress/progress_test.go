package progress

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// screen tells when it shows something.
type screen struct {
	mu    sync.Mutex
	b     bytes.Buffer
	shown chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := bytes.Contains(s.b.Bytes(), []byte("Writing"))
	n, err := s.b.Write(b)
	if !before && bytes.Contains(s.b.Bytes(), []byte("Writing")) {
		close(s.shown)
	}
	return n, err
}

func TestBarAppearsWhenItTakesLong(t *testing.T) {
	s := &screen{shown: make(chan struct{})}
	b := New(s, "Writing", true)
	b.Update(1, 10)
	b.End()
	if s.b.Len() > 0 {
		t.Errorf("what was quick has a bar: %q", s.b.String())
	}
	b = New(s, "Writing", true)
	b.began = time.Now().Add(-2 * Patience)
	b.Update(3, 10)
	<-s.shown
	b.Update(10, 10)
	b.End()
	b.End() // once more does nothing
	// Each frame but the first takes the one before away, and End the last.
	drawn, taken := strings.Count(s.b.String(), "\n"), strings.Count(s.b.String(), text.CursorUp.Sprint()+text.EraseLine.Sprint())
	if drawn == 0 || taken != drawn {
		t.Errorf("%d lines were drawn, %d taken away: %q", drawn, taken, s.b.String())
	}
}
