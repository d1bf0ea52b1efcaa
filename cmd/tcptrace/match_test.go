package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
)

// replayed runs tcptrace on a recording.
func replayed(recording string, args ...string) (status int, stdout, stderr string) {
	var out, complaints bytes.Buffer
	args = append([]string{"--replay", "../../timeline/testdata/" + recording + ".events"}, args...)
	status = command(context.Background(), args, &out, &complaints)
	return status, out.String(), complaints.String()
}

// TestSelection: how many of a recording's timelines each filter shows.
func TestSelection(t *testing.T) {
	for _, c := range []struct {
		recording, args string
		want            int
	}{
		{"refused", "--failed", 2},
		{"get-client-closes-first", "--failed", 0},
		{"linger-0", "--failed", 0},
		{"syn-dropped-until-timeout", "--failed", 2}, // the server's side was still half-open at the end
		{"linger-0", "--reset", 2},
		{"refused", "--reset", 0},
		{"fin-lost", "--reset", 0},
		{"fin-lost", "--retransmits", 2},
		{"get-client-closes-first", "--retransmits", 0},
		{"refused", "--failed --reset --retransmits", 2},
		{"linger-0", "--failed --reset --retransmits", 2},
		{"get-client-closes-first", "--state TIME_WAIT", 1},
		{"get-client-closes-first", "--state time_wait,TCP_CLOSE", 2},
		{"get-client-closes-first", "--state CLOSE_WAIT", 0},
		{"synack-dropped-once", "--min-handshake 1s", 2},
		{"synack-dropped-once", "--min-handshake 2s", 0},
		{"third-ack-lost", "--min-handshake 500ms", 1},
		{"third-ack-lost", "--min-handshake 500ms --state TIME_WAIT", 0},
		{"third-ack-lost", "--min-handshake 500ms --reset", 0},
	} {
		status, stdout, stderr := replayed(c.recording, strings.Fields("-j "+c.args)...)
		if got := strings.Count(stdout, "\n"); status != exitOK || got != c.want {
			t.Errorf("%s %s: status %d, %d shown, want %d", c.recording, c.args, status, got, c.want)
		}
		if want := fmt.Sprintf("(%d shown)", c.want); !strings.Contains(stderr, want) {
			t.Errorf("%s %s: stderr %q lacks %s", c.recording, c.args, stderr, want)
		}
	}
}

// TestSelectionInText: a connection's lines come when it is known to match, the same as without a filter
// (its process may be known by then), but one connection after the other.
func TestSelectionInText(t *testing.T) {
	_, all, _ := replayed("third-ack-lost")
	status, some, _ := replayed("third-ack-lost", "--min-handshake", "500ms")
	if status != exitOK {
		t.Errorf("status %d", status)
	}
	lines := strings.Split(strings.TrimSuffix(some, "\n"), "\n")
	if len(lines) < 10 {
		t.Fatalf("%d lines: %s", len(lines), some)
	}
	for _, line := range lines {
		if !strings.Contains(all, line[min(len(line), len("29815   endtoend.~ ")):]) {
			t.Errorf("%q is not told without the filter", line)
		}
		if strings.Contains(line, "40000 192.0.2.2") {
			t.Errorf("%q is the client's", line)
		}
	}
	if status, none, _ := replayed("third-ack-lost", "--failed"); status != exitOK || strings.Count(none, "\n") != 1 {
		t.Errorf("status %d, %q, want the heading alone", status, none)
	}
}

// TestCountIsOfWhatIsShown: -c counts connections that were written.
func TestCountIsOfWhatIsShown(t *testing.T) {
	_, stdout, _ := replayed("port-reused", "-j", "--reset", "-c", "2")
	if got := strings.Count(stdout, "\n"); got < 2 || got > 6 {
		t.Errorf("%d shown", got)
	}
	if _, stdout, _ = replayed("port-reused", "-j", "--failed", "-c", "1"); stdout != "" {
		t.Errorf("shown: %s", stdout)
	}
}

// TestFailIf: status 3 where a timeline matches, whether it is shown or not.
func TestFailIf(t *testing.T) {
	for _, c := range []struct {
		recording, expression string
		want                  int
	}{
		{"get-client-closes-first", "failed|reset|retransmits|handshake>50ms", exitOK},
		{"refused", "failed|reset|retransmits|handshake>50ms", exitMatched},
		{"refused", "reset", exitOK},
		{"linger-0", " reset | failed ", exitMatched},
		{"fin-lost", "retransmits", exitMatched},
		{"third-ack-lost", "handshake>50ms", exitMatched},
		{"third-ack-lost", "handshake>5s", exitOK},
		{"get-client-closes-first", "state=TIME_WAIT", exitMatched},
		{"last-ack-lost", "finding=late-fin", exitMatched},
		{"last-ack-lost", "finding=connect-refused", exitOK},
	} {
		status, stdout, stderr := replayed(c.recording, "-j", "--state", "LISTEN", "--fail-if", c.expression)
		if status != c.want || stdout != "" {
			t.Errorf("%s --fail-if %q: status %d, want %d; %s", c.recording, c.expression, status, c.want, stdout)
		}
		if got := strings.Contains(stderr, "matched --fail-if"); got != (c.want == exitMatched) {
			t.Errorf("%s --fail-if %q: stderr %q", c.recording, c.expression, stderr)
		}
	}
}

// TestFailureIsNoMatch: what could not be traced fails, whatever --fail-if says.
func TestFailureIsNoMatch(t *testing.T) {
	if status, _, _ := replayed("nonexistent", "--fail-if", "failed"); status != exitFailure {
		t.Errorf("status %d", status)
	}
}
