package human

import "testing"

func TestProcess(t *testing.T) {
	for name, want := range map[string]string{"curl": "curl (pid 4711)", "": "pid 4711"} {
		if got := Process(name, 4711); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
