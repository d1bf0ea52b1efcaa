package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestBarAppearsWhenItTakesLong(t *testing.T) {
	var out bytes.Buffer
	b := New(&out, "Writing", true)
	b.Update(1, 10)
	b.End()
	if out.Len() > 0 {
		t.Errorf("what was quick has a bar: %q", out.String())
	}
	b = New(&out, "Writing", true)
	b.began = time.Now().Add(-2 * Patience)
	for i := range 10 {
		b.Update(i+1, 10)
	}
	b.End()
	b.End()
	if !strings.Contains(out.String(), "Writing") {
		t.Errorf("no bar: %q", out.String())
	}
}
