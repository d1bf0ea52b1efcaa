package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcptrace/events"
	"tcptrace/internal/lab"
	"tcptrace/tracer"
)

// panicLive is a tracer that panics while the live view is on the screen.
func panicLive() {
	p, err := newPipeline(&options{format: liveFormat}, events.NewClock(time.Now(), tracer.Now()), nil, io.Discard, os.Stderr)
	if err != nil {
		panic(err)
	}
	defer func() { _ = p.close() }()
	if err := p.startLive(tracer.Report{}, func() {}); err != nil {
		panic(err)
	}
	p.live.model.Say("about to panic")
	p.live.terminal.show(p.live.model.Lines())
	for key := range p.live.terminal.input {
		if _, resized := key.(size); !resized {
			panic("a key was pressed")
		}
	}
}

// TestPanicGivesTheTerminalBack, and says what it was.
func TestPanicGivesTheTerminalBack(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := lab.NewScreen(t, 100, 30)
	before := s.State()
	s.Command(asCommand + "=panic " + self)
	s.Await("about to panic")
	s.Type("x")
	s.Await("panic: a key was pressed")
	if after := s.State(); after != before {
		t.Errorf("the terminal is left changed:\n%s\n%s", before, after)
	}
}

// TestWriteNew never writes over a file.
func TestWriteNew(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tcptrace-7")
	for _, want := range []string{".json", "-2.json", "-3.json"} {
		path, err := writeNew(name, ".json", []byte(want))
		if err != nil || path != name+want {
			t.Fatalf("%s, %v; want %s", path, err, name+want)
		}
	}
	for _, want := range []string{".json", "-2.json", "-3.json"} {
		if got, err := os.ReadFile(name + want); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", name+want, got, err)
		}
	}
	if _, err := writeNew(filepath.Join(t.TempDir(), "no", "x"), ".json", nil); err == nil {
		t.Error("no error where there is no such directory")
	}
}

// TestWhenLive: what asks for lines gets them on a terminal too.
func TestWhenLive(t *testing.T) {
	for args, live := range map[string]bool{
		"": true, "-P 80": true, "-q --duration 5s": true, "--segments all": true, "--record f": true,
		"-t": false, "-T": false, "-w": false, "--failed": false, "--replay f": false, "-o text": false, "-j": false, "--check": false, "-- curl -s x": false,
	} {
		o, err := parseOptions(strings.Fields(args))
		if err != nil || o.orLive != live {
			t.Errorf("%q: live %t (%v), want %t", args, o.orLive, err, live)
		}
	}
	for _, args := range []string{"-o live -t", "-o live --failed", "-o live --replay f", "-o live -- curl x"} {
		if _, err := parseOptions(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), "-o live") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestFilterWords(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "all connections",
		"-P 80,8000-8100 -4":       "port 80,8000-8100, IPv4",
		"-L 22 -D 443 -a 10.0.0.1": "local port 22, remote port 443, address 10.0.0.1/32",
		"-N 4026531840 -p 1 -6":    "pid 1, netns 4026531840, IPv6",
	} {
		o, err := parseOptions(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		if got := filterWords(o); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}
