package live

import (
	"fmt"
	"slices"
	"strings"

	"tcptrace/events"
	"tcptrace/internal/human"
	"tcptrace/output"
	"tcptrace/timeline"
)

// Lines are what the screen shows at now: as many as it has, none wider than it is. Colours are
// escape sequences, where Options.Output.Color allows them.
func (m *Model) Lines() []string {
	lines := m.headLines()
	room := max(0, m.height-len(lines)-1)
	var body []string
	switch m.page {
	case pageTable:
		body = m.tableLines(room)
		if len(m.order) == 0 {
			body = append(body, "", m.paint(styleDim, "  "+m.nothing()))
		}
	default:
		body = m.pageLines(room)
	}
	for i := range room {
		if i < len(body) {
			lines = append(lines, fit(body[i], m.width))
		} else {
			lines = append(lines, "")
		}
	}
	lines = append(lines, m.foot())
	return lines[max(0, len(lines)-m.height):]
}

// room is how many rows the table has room for, about.
func (m *Model) room() int { return max(2, m.height-7) }

// nothing is why the table is empty.
func (m *Model) nothing() string {
	switch {
	case m.filter != "" || m.failuresOnly:
		return "Nothing matches (Esc shows all)."
	}
	return "No connection yet."
}

// headLines are what stands above everything.
func (m *Model) headLines() []string {
	left := " " + m.paint(styleBold, "tcptrace") + "  " + output.Clean(m.o.Filter, max(10, m.width-30))
	right := ""
	if m.sort != SortMatter {
		right += "by " + m.sort.String() + "  "
	}
	if m.failuresOnly {
		right += m.paint(styleWarn, "failures only") + "  "
	}
	if m.filter != "" || m.typing {
		right += m.paint(styleWarn, "/"+output.Clean(m.filter, 30)) + "  "
	}
	if m.lost > 0 {
		right += m.paint(styleAlarm, short(m.lost)+" EVENTS LOST") + "  "
	}
	if m.paused {
		right += m.paint(styleSelected, " PAUSED ") + "  "
	}
	right += clock(m.now-min(m.now, m.o.Begin)) + " "
	if by := "  by " + m.o.Attached; m.o.Attached != "" && columns(left)+columns(by)+2+columns(right) <= m.width {
		left += m.paint(styleDim, by)
	}
	lines := []string{m.between(left, right)}

	latency := "-"
	if m.head.handshakes > 0 {
		latency = fmt.Sprintf("p50 %s p99 %s", human.AppendDuration(nil, m.head.p50), human.AppendDuration(nil, m.head.p99))
	}
	words := [...]string{"opens", "handshake ", "failures", "resets", "retransmits"}
	if m.width < 110 {
		words = [...]string{"opens", "", "fail", "reset", "resent"}
	}
	parts := []string{m.rate(words[0], opens, false), words[1] + latency, m.rate(words[2], failures, true),
		m.rate(words[3], resets, true), m.rate(words[4], retransmits, true)}
	gap := "  "
	if m.width >= 130 {
		gap = "    "
	}
	lines = append(lines, fit(" "+strings.Join(parts, gap), m.width))
	return append(lines, m.stateLines()...)
}

// clock is how long it has been: 0:07, 12:03, 1:02:03.
func clock(ns uint64) string {
	s := ns / 1e9
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// between has something at either edge.
func (m *Model) between(left, right string) string {
	room := m.width - columns(right)
	if room < 10 {
		return fit(left, m.width)
	}
	left = fit(left, room-1)
	return left + strings.Repeat(" ", max(0, room-columns(left))) + right
}

func (m *Model) rate(name string, what count, bad bool) string {
	v := m.head.perSecond[what]
	words := fmt.Sprintf("%s %.0f/s", name, v)
	if v > 0 && v < 9.95 {
		words = fmt.Sprintf("%s %.1f/s", name, v)
	}
	if bad && v > 0 {
		return m.paint(styleBad, words)
	}
	return words
}

// barStates are those that have a bar, in the order of a connection's life.
var barStates = []events.State{events.SynSent, events.SynRecv, events.Established, events.FinWait1, events.FinWait2,
	events.CloseWait, events.LastAck, events.TimeWait, events.Closing}

// stateLines are the live connections by state.
func (m *Model) stateLines() []string {
	perLine, lines := 4, 2
	switch {
	case m.width >= 190:
		perLine, lines = 9, 1
	case m.width >= 110:
		perLine = 5
	}
	if m.height < 12 || m.page != pageTable && m.height < 40 {
		return nil
	}
	shown := barStates
	if room := perLine * lines; room < len(shown) && m.states[events.Closing] == 0 {
		shown = shown[:room] // CLOSING is rare
	}
	most := 0
	for _, s := range barStates {
		most = max(most, m.states[s])
	}
	cell := (m.width - 1) / perLine
	all := make([]string, lines)
	for i, s := range shown {
		if i >= perLine*lines {
			break
		}
		name, n := s.String(), m.states[s]
		number := short(uint64(n))
		bar := max(1, cell-len("ESTABLISHED")-1-1-5-1)
		words := fmt.Sprintf("%-11s ", name)
		if n == 0 {
			words = m.paint(styleDim, words+strings.Repeat(" ", bar)+fmt.Sprintf(" %-5s ", "0"))
		} else {
			words += m.paint(stateStyle(s), m.bar(n, most, bar)) + fmt.Sprintf(" %-5s ", number)
		}
		all[i/perLine] += words
	}
	for i := range all {
		all[i] = fit(" "+all[i], m.width)
	}
	return all
}

// foot has the keys, or what is to be said.
func (m *Model) foot() string {
	if m.typing {
		return fit(" filter: "+output.Clean(m.filter, m.width-40)+m.paint(styleSelected, " ")+m.paint(styleDim, "  Enter keeps it, Esc clears it"), m.width)
	}
	if m.message != "" {
		return fit(" "+m.paint(styleBold, output.Clean(m.message, m.width-2)), m.width)
	}
	updown := m.either("↑↓", "up/down")
	keys := [][2]string{{updown, "select"}, {"Enter", "ladder"}, {"e", "explain"}, {"/", "filter"}, {"s", "sort"}, {"f", "failed"},
		{"p", "pause"}, {"w", "save"}, {"?", "help"}, {"q", "quit"}}
	switch m.page {
	case pageHelp:
		keys = [][2]string{{updown, "scroll"}, {"q", "back"}}
	case pageLadder:
		keys = [][2]string{{updown, "scroll"}, {"e", "explain"}, {"w", "save"}, {"q", "back"}}
	case pageExplain:
		keys = [][2]string{{updown, "scroll"}, {"Enter", "ladder"}, {"w", "save"}, {"q", "back"}}
	}
	line := m.keyLine(keys, "   ")
	for gap := "  "; columns(line) > m.width && len(gap) > 0; gap = gap[1:] {
		line = m.keyLine(keys, gap)
	}
	// The arrows need the least to be said; help and quit, which lead to the rest, go last.
	for i := 0; columns(line) > m.width && len(keys) > 1; i = max(0, len(keys)-3) {
		keys = slices.Delete(keys, i, i+1)
		line = m.keyLine(keys, " ")
	}
	return fit(line, m.width)
}

// keyLine has keys and what they do.
func (m *Model) keyLine(keys [][2]string, gap string) string {
	line := ""
	for _, k := range keys {
		line += gap + m.paint(styleBold, k[0]) + " " + m.paint(styleDim, k[1])
	}
	return " " + strings.TrimPrefix(line, gap)
}

// pageLines are the lines of a ladder, an explanation or the help that are in sight.
func (m *Model) pageLines(room int) []string {
	var all []string
	if m.page == pageHelp {
		all = m.help()
	} else {
		if t := m.find(m.subject.ID); t != nil {
			m.subject = t // it went on
		}
		all = m.tell(m.subject)
	}
	m.offset = max(0, min(m.offset, len(all)-room))
	return all[m.offset:min(len(all), m.offset+room)]
}

// tell draws or explains a connection.
func (m *Model) tell(t *timeline.Timeline) []string {
	if m.page == pageLadder {
		o := m.o.Output
		o.Width = m.width
		l := output.NewLadder(t, m.find(t.PeerID), &o)
		return append([]string{l.Title(), ""}, l.Lines(&o)...)
	}
	words, err := m.write("explain", t)
	if err != nil {
		return []string{output.Clean(err.Error(), 0)}
	}
	return strings.Split(strings.TrimRight(string(words), "\n"), "\n")
}

// help says what is to be seen and which keys there are.
func (m *Model) help() []string {
	var all []string
	for _, paragraph := range helpText {
		if key, words, ok := strings.Cut(paragraph, "\t"); ok {
			for i, line := range strings.Split(output.Wrap(words, max(20, min(m.width, 100)-18)), "\n") {
				if i > 0 {
					key = ""
				}
				all = append(all, fmt.Sprintf("  %-14s ", key)+line)
			}
			continue
		}
		for _, line := range strings.Split(output.Wrap(paragraph, min(m.width, 100)-2), "\n") {
			all = append(all, " "+line)
		}
	}
	return all
}

// helpText: a line with a tab is a key and what it does.
var helpText = []string{
	"Each row is one end of a TCP connection; where both ends are on this host there are two rows. Those that failed come first, then those stuck in a state that should be over soon, then those that send segments again, then the busiest. What has ended stays for a few seconds, what failed for half a minute.",
	"",
	"up, down\tselect a connection; the selection stays on it as rows move. Home selects whatever is first",
	"Enter\tthe connection's ladder: each segment, and the states at both sides",
	"e\tthe connection explained in prose, step by step",
	"w\twrite its timeline to a file in the current directory, as JSON",
	"/\tshow only rows in which each of the words is found: a state, a role, a process or its pid, an address, a port, a finding",
	"f\tshow only what failed, is stuck or sends again",
	"s\tthe next order: what matters, traffic, time in state, newest, process, remote address",
	"p\tpause: keep the screen as it is; p again goes on. The tracing goes on all the time",
	"Esc\tback; in the table: show all again",
	"q\tback; in the table: quit",
	"Ctrl-Z\tsuspend; fg comes back",
	"",
	"opens, failures, resets and retransmits are those of the last two seconds, per second; an open is a SYN sent or received by an end. handshake is the median and the 99th percentile of the last ten seconds: at a client from SYN to SYN-ACK, at a server from SYN to the third ACK.",
	"FOR is the time in the state. RTT, TX, RX and RETR (segments sent again) are the kernel's own counters, looked at once a second while there are not too many connections; - is not known. LOST are events that found the ring full: see --ring-size.",
}
