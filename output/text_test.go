package output

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/timeline"
)

func TestTextHeaderComesAtOnce(t *testing.T) {
	var out bytes.Buffer
	if _, err := New("text", Options{Out: &out}); err != nil {
		t.Fatal(err)
	}
	const want = "PID     COMM       LPORT RADDR           RPORT EVENT                          MS\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestTextNothingKnown(t *testing.T) {
	for _, wide := range []bool{false, true} {
		var out bytes.Buffer
		w, err := New("text", Options{Out: &out, Wide: wide})
		if err != nil {
			t.Fatal(err)
		}
		tl := timeline.Timeline{ID: 1, Entries: []timeline.Entry{
			{Type: timeline.EntryState}, {Type: timeline.EntrySegment}, {Type: timeline.EntryDrop}, {Type: timeline.EntryGap}, {},
		}}
		for i := range tl.Entries {
			if err := w.Write(&timeline.Update{Kind: timeline.UpdateEntry, Timeline: &tl, Entry: &tl.Entries[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: &tl}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(out.String(), "\n")
		for _, column := range strings.Fields(rest)[:5] {
			if column != "-" {
				t.Errorf("unknown is shown as %q, not as -:\n%s", column, rest)
			}
		}
	}
}

// TestTextResetReasonWithoutName: a replay has numbers only, and the text says of what.
func TestTextResetReasonWithoutName(t *testing.T) {
	var out bytes.Buffer
	w, err := New("text", Options{Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	tl := timeline.Timeline{Teardown: timeline.Teardown{Kind: timeline.TeardownReset, ResetBy: timeline.SideLocal, ResetReason: 77}}
	if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: &tl}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "reset reason 77") {
		t.Errorf("%q", out.String())
	}
}

func TestTextEnding(t *testing.T) {
	handshake := func(o timeline.HandshakeOutcome, errno syscall.Errno) timeline.Handshake {
		return timeline.Handshake{Outcome: o, Errno: uint16(errno)}
	}
	established := handshake(timeline.OutcomeEstablished, 0)
	tests := []struct {
		want string
		t    timeline.Timeline
	}{
		{"still open, ESTABLISHED", timeline.Timeline{State: events.Established, Handshake: established}},
		{"still open, SYN_SENT", timeline.Timeline{State: events.SynSent, Handshake: handshake(timeline.OutcomeInProgress, 0)}},
		{"refused (RST, ECONNREFUSED)", timeline.Timeline{State: events.Close,
			Handshake: handshake(timeline.OutcomeRefused, syscall.ECONNREFUSED), Teardown: timeline.Teardown{ResetBy: timeline.SideRemote}}},
		{"refused (RST)", timeline.Timeline{State: events.Close,
			Handshake: handshake(timeline.OutcomeRefused, 0), Teardown: timeline.Teardown{ResetBy: timeline.SideLocal}}},
		{"refused (ECONNREFUSED)", timeline.Timeline{State: events.Close, Handshake: handshake(timeline.OutcomeRefused, syscall.ECONNREFUSED)}},
		{"no answer to 1 SYN (ETIMEDOUT)", timeline.Timeline{State: events.Close, Role: timeline.RoleClient,
			Handshake: handshake(timeline.OutcomeTimedOut, syscall.ETIMEDOUT)}},
		{"no ACK to 6 SYN-ACKs", timeline.Timeline{State: events.Close, Role: timeline.RoleServer,
			Entries:   []timeline.Entry{{Dir: timeline.Tx, Step: timeline.StepSYNACK}},
			Handshake: timeline.Handshake{Outcome: timeline.OutcomeTimedOut, SYNACKRetransmits: 5}}},
		{"unreachable (EHOSTUNREACH)", timeline.Timeline{State: events.Close, Handshake: handshake(timeline.OutcomeUnreachable, syscall.EHOSTUNREACH)}},
		{"unreachable (ERRNO_4000)", timeline.Timeline{State: events.Close, Handshake: handshake(timeline.OutcomeUnreachable, 4000)}},
		{"given up in handshake", timeline.Timeline{State: events.Close, Handshake: handshake(timeline.OutcomeAborted, 0)}},
		{"reset by remote in handshake", timeline.Timeline{State: events.Close,
			Handshake: handshake(timeline.OutcomeReset, 0), Teardown: timeline.Teardown{ResetBy: timeline.SideRemote}}},
		{"closed by local, four-way", timeline.Timeline{State: events.TimeWait, Handshake: established,
			Teardown: timeline.Teardown{Kind: timeline.TeardownFourWay, Initiator: timeline.SideLocal}}},
		{"closed by remote, three-segment", timeline.Timeline{State: events.Close, Handshake: established,
			Teardown: timeline.Teardown{Kind: timeline.TeardownThreeSegment, Initiator: timeline.SideRemote}}},
		{"closed by both at once", timeline.Timeline{State: events.TimeWait, Handshake: established,
			Teardown: timeline.Teardown{Kind: timeline.TeardownSimultaneous, Initiator: timeline.SideBoth}}},
		{"reset by local", timeline.Timeline{State: events.Close, Handshake: established,
			Teardown: timeline.Teardown{Kind: timeline.TeardownReset, ResetBy: timeline.SideLocal}}},
		{"timed out", timeline.Timeline{State: events.Close, Handshake: established, Teardown: timeline.Teardown{Kind: timeline.TeardownTimedOut}}},
		{"end not seen", timeline.Timeline{State: events.Established, End: timeline.Some(uint64(1)), Handshake: established}},
	}
	for _, tt := range tests {
		if got := string(appendEnding(nil, &tt.t)); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if len(closingMark)+len(tt.want) > eventWidth {
			t.Errorf("%q is too long for its column", tt.want)
		}
	}
}

func TestDurationAndBytes(t *testing.T) {
	for ns, want := range map[uint64]string{
		0: "0.000 ms", 52_999: "0.052 ms", 1_080_000: "1.08 ms", 12_149_000: "12.1 ms", 999_999_999: "999 ms",
		1e9: "1.00 s", 59_999_999_999: "59.9 s", 60e9: "1m00s", 125e9: "2m05s", 3600e9: "1h00m", 90_000e9: "25h00m",
	} {
		if got := string(human.AppendDuration(nil, ns)); got != want {
			t.Errorf("%d ns: %q, want %q", ns, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "0 B", 99_999: "99999 B", 100_000: "100 kB", 999_999: "999 kB", 1_000_000: "1.00 MB", 12_345_678_901: "12.3 GB",
		1<<64 - 1: "18.4 EB",
	} {
		if got := string(human.AppendBytes(nil, n)); got != want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
}

// Whatever a process is called: one harmless line, columns where they belong.
func FuzzTextComm(f *testing.F) {
	f.Add([]byte("curl"), uint32(1))
	f.Add([]byte("\x1b]0;\x07\n\u202e"), uint32(1<<32-1))
	f.Add([]byte("生命生命生"), uint32(0))
	f.Fuzz(func(t *testing.T, name []byte, pid uint32) {
		s := tell("fuzz", "10.0.0.1:1", "10.0.0.2:2").by(pid, string(name), events.SourceIO).toBy(events.SynSent).end()
		got := string(written(t, "text", storyOptions(), s))
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if len(lines) < 3 {
			t.Fatalf("lines are missing: %q", got)
		}
		for _, line := range lines {
			harmless(t, line)
		}
		before, _, found := strings.Cut(lines[1], "1     10.0.0.2")
		if at := text.StringWidthWithoutEscSequences(before); !found || pid <= 9_999_999 && at != pidWidth+1+commWidth+1 {
			t.Errorf("columns are displaced: %q", lines[1])
		}
	})
}

// TestTextSeenUntilTheEnd: of a connection to which nothing happens, how long it was watched.
func TestTextSeenUntilTheEnd(t *testing.T) {
	const start, watched = 7e9, 3e9
	for want, tl := range map[string]timeline.Timeline{
		"seen for 3.00 s": {State: events.Established, Handshake: timeline.Handshake{Outcome: timeline.OutcomeUnobserved}},
		"life 3.00 s": {State: events.Established, Handshake: timeline.Handshake{Outcome: timeline.OutcomeEstablished},
			Entries: []timeline.Entry{{Type: timeline.EntryState, To: events.Established, Time: start + 1e6}}},
		"life 1.00 ms": {State: events.TimeWait, Handshake: timeline.Handshake{Outcome: timeline.OutcomeEstablished},
			Entries: []timeline.Entry{{Type: timeline.EntryState, To: events.TimeWait, Time: start + 1e6}}},
		"life 2.00 s": {State: events.Close, Handshake: timeline.Handshake{Outcome: timeline.OutcomeEstablished},
			End: timeline.Maybe[uint64]{Value: start + 2e9, Known: true}},
	} {
		tl.ID, tl.Start, tl.WrittenAt = 1, start, start+watched
		var out bytes.Buffer
		w, err := New("text", Options{Out: &out})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: &tl}), w.Close()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
