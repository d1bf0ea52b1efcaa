package live

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/timeline"
)

// screen is what is shown, without colours.
func (s *stage) screen() string { return text.StripEscape(strings.Join(s.model.Lines(), "\n")) }

// selectedLine is the line that is marked.
func (s *stage) selectedLine() string {
	for _, line := range strings.Split(s.screen(), "\n") {
		if strings.HasPrefix(line, ">") {
			return line
		}
	}
	return ""
}

func TestSelectionStaysOnItsConnection(t *testing.T) {
	s := newStage(t, plainOptions(), everything...)
	s.model.Resize(200, 50)
	s.until(300 * time.Millisecond).press(KeyEnd)
	id := s.model.order[s.model.index].id
	moved := false
	for at := 400 * time.Millisecond; at < 3*time.Second; at += 100 * time.Millisecond {
		before := s.model.index
		s.until(at)
		if got := s.model.order[s.model.index].id; got != id {
			t.Fatalf("at %s connection %d is selected, not %d", at, got, id)
		}
		moved = moved || s.model.index != before
		if n := strings.Count(s.screen(), "\n>"); n != 1 {
			t.Fatalf("%d rows are marked:\n%s", n, s.screen())
		}
	}
	if !moved {
		t.Error("its row never moved: the test shows nothing")
	}
}

// TestSelectionGoesOn: when the selected connection has left the screen another is selected, and
// Home selects whatever is first again.
func TestSelectionGoesOn(t *testing.T) {
	s := newStage(t, plainOptions(), everything...)
	s.until(2500*time.Millisecond).press(KeyEnd, KeyUp)
	s.until(20 * time.Second)
	if s.selectedLine() == "" || s.model.index >= len(s.model.order) {
		t.Errorf("nothing is selected:\n%s", s.screen())
	}
	s.press(KeyHome)
	if s.model.index != 0 || s.model.selected != 0 {
		t.Errorf("Home selects row %d", s.model.index)
	}
	s.until(10 * time.Minute) // all have gone
	s.press(KeyDown, KeyUp, KeyEnter, "e", "p", "p")
	if !strings.Contains(s.screen(), "No connection yet") {
		t.Errorf("there should be nothing left:\n%s", s.screen())
	}
	s.press("w")
	if !strings.Contains(s.screen(), "nothing is selected") {
		t.Errorf("nothing can be saved, and that is not said:\n%s", s.screen())
	}
}

// TestEndedLinger: what ended stays for its time, and what failed longer.
func TestEndedLinger(t *testing.T) {
	s := newStage(t, plainOptions(), "get-client-closes-first", "refused")
	count := func() (n [classes]int) { return s.model.sections }
	s.until(1500 * time.Millisecond)
	if n := count(); n[closed] != 2 || n[failed] != 2 {
		t.Errorf("%d closed and %d failed, want both ends of one each", n[closed], n[failed])
	}
	s.until(15 * time.Second)
	if n := count(); n[closed] != 0 || n[failed] != 2 {
		t.Errorf("after 15 s %d closed and %d failed, want 0 and 2", n[closed], n[failed])
	}
	s.until(40 * time.Second)
	if n := len(s.model.order); n != 0 {
		t.Errorf("after 40 s %d are left", n)
	}
	if s.model.states[events.TimeWait] != 1 {
		t.Errorf("%d in TIME_WAIT, want the one whose timeline was told", s.model.states[events.TimeWait])
	}
}

func TestFilterAsYouType(t *testing.T) {
	s := newStage(t, plainOptions(), everything...)
	s.until(2500 * time.Millisecond)
	all := len(s.model.order)
	s.press("/", "8", "0", "8", "0", " ", "T", "i", "m", "e", "_")
	if n := len(s.model.order); n == 0 || n >= all {
		t.Errorf("%d of %d rows are left", n, all)
	}
	for _, r := range s.model.order {
		if r.t.State != events.TimeWait || r.t.Local.Port() != 8080 && r.t.Remote.Port() != 8080 {
			t.Errorf("%s %s %s does not match", r.t.State, r.t.Local, r.t.Remote)
		}
	}
	s.press("q", "q") // characters, as long as one types
	if n := len(s.model.order); n != 0 {
		t.Errorf("%d rows match qq", n)
	}
	s.press(KeyBackspace, KeyBackspace, KeyEnter)
	if n := len(s.model.order); n == 0 || s.model.typing {
		t.Errorf("%d rows after correcting the filter", n)
	}
	s.press(KeyEscape)
	if n := len(s.model.order); n != all {
		t.Errorf("Esc leaves %d of %d rows", n, all)
	}
}

func TestFilterOfNames(t *testing.T) {
	var m matcher
	one := timeline.Timeline{Process: timeline.Process{Source: events.SourceIO}}
	copy(one.Process.Comm[:], "Ärger-Ö")
	for filter, want := range map[string]bool{"Ärger": true, "ÄRGER": true, "rGER-Ö": true, "Ü": false} {
		if m.set(filter); m.matches(&one) != want {
			t.Errorf("%s: %v", filter, !want)
		}
	}
}

// TestFilterFindings: what is open is found by its findings as the screen shows them, too.
func TestFilterFindings(t *testing.T) {
	s := newStage(t, plainOptions(), everything...)
	s.until(1500 * time.Millisecond)
	for _, k := range "/ SYN-Retransmitted" {
		s.press(Key(k))
	}
	open := 0
	for _, r := range s.model.order {
		if !r.own {
			open++
		}
		if !slices.ContainsFunc(s.model.copyOf(r).Findings, func(f timeline.Finding) bool { return f.Code == "syn-retransmitted" }) {
			t.Errorf("%s %s has no such finding", r.t.State, r.t.Remote)
		}
	}
	if open == 0 {
		t.Errorf("none of what is open, of %d rows", len(s.model.order))
	}
	s.press(KeyEnter).until(1600 * time.Millisecond)
	if len(s.model.order) < open {
		t.Errorf("%d rows, a moment later", len(s.model.order))
	}
}

func TestPauseHoldsTheScreen(t *testing.T) {
	s := newStage(t, plainOptions(), everything...)
	s.until(600 * time.Millisecond).press("p")
	held := s.screen()
	s.until(30 * time.Second)
	if got := s.screen(); got != held {
		t.Errorf("the screen changed while paused:\n%s\n\n%s", held, got)
	}
	s.press(KeyDown, KeyEnter) // what is held can be looked at, though it is gone
	if s.model.page != pageLadder || !strings.Contains(s.screen(), "Connection") {
		t.Errorf("no ladder of what is held:\n%s", s.screen())
	}
	s.press("q", "p")
	if s.until(31 * time.Second); s.screen() == held {
		t.Error("it does not go on")
	}
}

func TestSorts(t *testing.T) {
	s := newStage(t, plainOptions(), everything...)
	s.until(2500 * time.Millisecond)
	for range sorts {
		if !slices.IsSortedFunc(s.model.order, s.model.sort.order) {
			t.Errorf("by %s: not in order", s.model.sort)
		}
		s.press("s")
	}
	if s.model.sort != SortMatter {
		t.Errorf("after all the first order should be back, not %s", s.model.sort)
	}
}

// TestPages: which page a row of keys leads to.
func TestPages(t *testing.T) {
	for _, c := range []struct {
		keys []Key
		want page
	}{
		{[]Key{KeyEnter}, pageLadder},
		{[]Key{KeyEnter, KeyEnter}, pageTable},
		{[]Key{KeyEnter, "e"}, pageExplain},
		{[]Key{"e", KeyEnter}, pageLadder},
		{[]Key{"e", KeyEscape}, pageTable},
		{[]Key{"?"}, pageHelp},
		{[]Key{"?", "?"}, pageTable},
		{[]Key{"h", "q"}, pageTable},
		{[]Key{KeyEnter, "?"}, pageHelp},
		{[]Key{KeyEnter, "?", "?"}, pageTable},
	} {
		s := newStage(t, plainOptions(), "get-client-closes-first")
		s.until(200 * time.Millisecond)
		s.press(c.keys...)
		if s.model.page != c.want {
			t.Errorf("%v lead to page %d, want %d", c.keys, s.model.page, c.want)
		}
	}
}

func TestSaved(t *testing.T) {
	s := newStage(t, plainOptions(), "get-client-closes-first")
	s.until(200 * time.Millisecond)
	if a := s.model.Press("w"); a != Save {
		t.Fatalf("w asks for %d", a)
	}
	name, content, err := s.model.Saved()
	if err != nil {
		t.Fatal(err)
	}
	var saved struct {
		Schema, ID string
		Timeline   []struct{ Type string }
	}
	if err := json.Unmarshal(content, &saved); err != nil {
		t.Fatal(err)
	}
	if saved.Schema != "tcptrace.timeline/1" || name != "tcptrace-"+saved.ID || len(saved.Timeline) == 0 {
		t.Errorf("%s: %+v", name, saved)
	}
}

func TestRates(t *testing.T) {
	r := rates{begun: begin}
	for i := range uint64(100) {
		r.add(begin+i*100e6, opens, 5)
	}
	now := begin + 9_900e6
	if got := r.perSecond(now, opens); got != 50 {
		t.Errorf("%g opens/s, want 50", got)
	}
	if got := r.perSecond(now, resets); got != 0 {
		t.Errorf("%g resets/s, want 0", got)
	}
	if got := r.perSecond(now+2e9, opens); got != 0 {
		t.Errorf("two seconds later %g opens/s, want 0", got)
	}
	r.add(begin, opens, 1000) // too late to count
	if got := r.perSecond(now, opens); got != 50 {
		t.Errorf("%g opens/s, want 50", got)
	}
	for i := range uint64(100) {
		r.handshake(now, i+1)
	}
	if p50, p99, n := r.percentiles(now); p50 != 50 || p99 != 99 || n != 100 {
		t.Errorf("p50 %d p99 %d of %d, want 50, 99, 100", p50, p99, n)
	}
	if _, _, n := r.percentiles(now + 11e9); n != 0 {
		t.Errorf("%d handshakes after 11 s", n)
	}
}

// TestHead: what was recorded is counted.
func TestHead(t *testing.T) {
	s := newStage(t, plainOptions(), "get-client-closes-first", "refused", "linger-0")
	s.lost = 3
	s.until(500 * time.Millisecond)
	got := s.screen()
	for _, want := range []string{"port 80", "by tracepoints", "opens 5.0/s", "fail 2.0/s", "reset 2.0/s", "3 EVENTS LOST", "0:00"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestFlood: of very many that fail at once only some are kept, and it is said how many there were.
func TestFlood(t *testing.T) {
	m := New(plainOptions())
	for i := range uint64(10_000) {
		u := timeline.Update{Kind: timeline.UpdateEnd, Timeline: &timeline.Timeline{ID: i + 1, WrittenAt: begin + i*1000,
			State: events.Close, Handshake: timeline.Handshake{Outcome: timeline.OutcomeRefused}}}
		m.Update(&u)
	}
	m.Gather(Facts{Now: begin + 20e6, Open: func(func(*timeline.Timeline) bool) {}})
	if n := len(m.failed.rows); n != failedMost {
		t.Errorf("%d are kept, want %d", n, failedMost)
	}
	got := strings.Join(m.Lines(), "\n")
	if want := fmt.Sprintf("FAILED %d and %d more", failedMost, 10_000-failedMost); !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
}

// TestManyKindsOfFailures: they leave room for what is stuck and open, and f shows all; one that is selected stays.
func TestManyKindsOfFailures(t *testing.T) {
	m := New(plainOptions())
	fail := func(id uint64, port uint16) {
		m.Update(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: &timeline.Timeline{ID: id, WrittenAt: begin, State: events.Close,
			Role: timeline.RoleClient, Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), port),
			Handshake: timeline.Handshake{Outcome: timeline.OutcomeRefused}}})
	}
	const kinds = 100
	for i := range uint64(kinds) {
		fail(i+2, uint16(i+1))
	}
	one := &timeline.Timeline{ID: 1, Start: begin, State: events.Established}
	gather := func() {
		m.Gather(Facts{Now: begin + 1e9, Open: func(yield func(*timeline.Timeline) bool) { yield(one) }})
	}
	gather()
	last := m.order[len(m.order)-2]
	if m.hidden == 0 || len(m.order)+m.hidden != kinds+1 || last.class != failed {
		t.Errorf("%d rows, %d hidden, of %d", len(m.order), m.hidden, kinds+1)
	}
	m.Press(KeyEnd)
	m.Press(KeyUp) // the last of the failures
	for i := range uint64(kinds) {
		if port := uint16(i + 1); port != last.t.Remote.Port() {
			fail(1000+i, port) // now there are more of all others
		}
	}
	gather()
	if got := m.order[m.index]; got.id != last.id {
		t.Errorf("%d is selected, not %d any more", got.id, last.id)
	}
	m.Press("f")
	if len(m.order) != kinds || m.hidden != 0 {
		t.Errorf("f shows %d of %d", len(m.order), kinds)
	}
}

// TestAlikeOfManyProcesses: a command that is started again and again is one row, which names no single process; another
// command's, or to another port, is another.
func TestAlikeOfManyProcesses(t *testing.T) {
	m := New(plainOptions())
	for i, c := range []struct {
		comm string
		pid  uint32
		port uint16
	}{{"curl", 101, 81}, {"curl", 102, 81}, {"curl", 103, 81}, {"curl", 104, 82}, {"curl", 104, 82}, {"shop", 105, 81}} {
		p := timeline.Process{PID: c.pid, Source: events.SourceConnect}
		copy(p.Comm[:], c.comm)
		m.Update(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: &timeline.Timeline{ID: uint64(i + 1), WrittenAt: begin, State: events.Close,
			Role: timeline.RoleClient, Process: p, Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), c.port),
			Handshake: timeline.Handshake{Outcome: timeline.OutcomeRefused}}})
	}
	gather := func() (rows []string) {
		m.Gather(Facts{Now: begin + 1e9, Open: func(func(*timeline.Timeline) bool) {}})
		for _, line := range m.Lines() {
			if strings.Contains(line, "refused") {
				f := strings.Fields(strings.Trim(text.StripEscape(line), "> "))
				rows = append(rows, f[2]+" "+f[3]+" "+strings.Join(f[5:], " "))
			}
		}
		return rows
	}
	want := []string{"curl 192.0.2.2:81 3x refused", "curl/104 192.0.2.2:82 2x refused", "shop/105 192.0.2.2:81 refused"}
	if got := gather(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	m.selected = 2 // the one of the middle; the row stands for all of them all the same
	if got := gather(); !slices.Equal(got, want) || m.order[m.index].id != 2 {
		t.Errorf("with another selected: %q, want %q", got, want)
	}
	m.sort = SortNew // each by itself
	if got := gather(); len(got) != 6 || got[5] != "curl/101 192.0.2.2:81 refused" {
		t.Errorf("not folded: %q", got)
	}
}

func TestShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 9999: "9999", 10_000: "10.0k", 123_456: "123k", 999_600: "1.00M",
		50_000: "50.0k", 1 << 40: "1.10T", 1<<64 - 1: "18.4E"} {
		if got := short(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestHostileNames: what a process calls itself moves no cursor.
func TestHostileNames(t *testing.T) {
	o := plainOptions()
	m := New(o)
	m.Resize(200, 24)
	for _, name := range []string{"\x1b[2J\nx", "\u202eabc\u200b", "\u009b2J", "\xff\xfe", "生命生命生", ""} {
		one := &timeline.Timeline{ID: 1, Start: begin, State: events.Established,
			Process: timeline.Process{PID: 7, Source: events.SourceIO}}
		copy(one.Process.Comm[:], name)
		m.Gather(Facts{Now: begin + 1, Open: func(yield func(*timeline.Timeline) bool) { yield(one) }})
		for _, keys := range [][]Key{nil, {KeyEnter}, {"e"}, {"q"}} {
			for _, k := range keys {
				m.Press(k)
			}
			for _, line := range m.Lines() {
				if strings.ContainsAny(text.StripEscape(line), "\x1b\n\u009b\u202e\u200b") || strings.Contains(line, "\x1b[2J") ||
					!utf8.ValidString(line) || text.StringWidthWithoutEscSequences(line) > 200 {
					t.Errorf("%q: %q", name, line)
				}
			}
		}
	}
}
