package tracer

import (
	"testing"
	"time"
)

func TestPoller(t *testing.T) {
	p, err := newPoller(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	wait := func(d time.Duration, want bool) {
		t.Helper()
		if woken, err := p.wait(d); err != nil || woken != want {
			t.Fatalf("woken %v, %v; want %v", woken, err, want)
		}
	}
	wait(time.Millisecond, false)
	p.wake()
	wait(forever, true) // what came before the wait counts
	wait(time.Millisecond, false)
	go p.wake()
	wait(forever, true)
	p.wake()
	p.wake()
	wait(time.Hour, true)
	wait(time.Millisecond, false)
}
