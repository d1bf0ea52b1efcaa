package output

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"tcptrace/events"
	"tcptrace/timeline"
)

// ladderStories are the stories and, for what takes two timelines or another socket, some more.
func ladderStories() map[string]pair {
	all := map[string]pair{}
	for _, s := range stories() {
		s.t.WrittenAt = s.now + uint64(time.Second)
		all[s.name] = pair{t: &s.t}
	}
	const us, ms = time.Microsecond, time.Millisecond

	// Both ends of one connection, the other a little later in all it gets, a little earlier in all it sends.
	s := tell("paired", "192.0.2.1:40000", "192.0.2.2:8080").by(25191, "curl", events.SourceConnect).opened(300*us).after(2*ms).
		toBy(events.FinWait1).after(10*us).
		tx(finACK, timeline.StepFIN, 78, 1257, 501).after(200*us).
		rx(finACK, timeline.StepFIN, 1257, 79, 128).also().after(3*us).
		to(events.FinWait2).after(4*us).
		tx(ack, timeline.StepFINACK, 79, 1258, 501).after(3*us).
		to(events.TimeWait).after(60*time.Second).
		to(events.Close).carried(77, 1256).teardown(timeline.TeardownThreeSegment, timeline.SideLocal, 220*us, 200*us).end()
	s.t.Teardown.TimeWaitNS = timeline.Some(uint64(60 * time.Second))
	all["paired"] = pair{t: &s.t, peer: mirrored(s, 90*us)}

	// The first SYN is lost on its way, and the FINs cross.
	s = tell("lost-syn", "192.0.2.1:40001", "192.0.2.2:8080").by(25192, "curl", events.SourceConnect)
	s.t.Role = timeline.RoleClient
	s.handshake(timeline.HandshakeThreeWay, timeline.OutcomeEstablished, 1000*ms).
		toBy(events.SynSent).after(51*us).
		tx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).after(1024*ms).
		tx(syn, timeline.StepSYN, 0, 0, 64240).offering(1460, 7).again()
	s.last().Options.TSVal += 1024
	s.after(300*us).
		rx(synACK, timeline.StepSYNACK, 0, 1, 65160).offering(1400, 9).after(8*us).
		to(events.Established).after(12*us).
		tx(ack, timeline.StepACK, 1, 1, 502).after(ms).
		toBy(events.FinWait1).after(us).
		tx(finACK, timeline.StepFIN, 1, 1, 502).after(20*us).
		rx(finACK, timeline.StepFIN, 1, 1, 502).after(us).
		to(events.Closing).
		tx(ack, timeline.StepFINACK, 2, 2, 502).after(150*us).
		rx(ack, timeline.StepFINACK, 2, 2, 502).
		to(events.TimeWait).
		carried(0, 0).teardown(timeline.TeardownSimultaneous, timeline.SideBoth, 171*us, 20*us)
	s.t.WrittenAt = s.now + uint64(time.Second)
	peer := mirrored(s, 90*us)
	all["lost-syn"] = pair{t: &s.t, peer: peer}

	// All segments were asked for; some of the data stands for itself.
	s = tell("all-segments", "192.0.2.1:40002", "192.0.2.2:8080").by(25193, "iperf3", events.SourceConnect).opened(300 * us).after(ms)
	for i := range uint32(40) {
		s.tx(ack|events.PSH, timeline.StepNone, 1+i*1448, 1, 502)
		s.last().Len = 1448
		if i == 20 {
			s.again()
		}
		s.after(10 * us)
	}
	s.toBy(events.Close).after(us).tx(rstACK, timeline.StepRST, 57_921, 1, 0).
		carried(57_920, 0).teardown(timeline.TeardownReset, timeline.SideLocal, us, 0).end()
	all["all-segments"] = pair{t: &s.t}
	return all
}

// mirrored is the other end of a story's connection: what was sent arrives after a delay, what arrives was sent so long
// before. A SYN that was sent again did not arrive at first.
func mirrored(s *story, delay time.Duration) *timeline.Timeline {
	t := s.t.Clone()
	t.ID, t.PeerID = s.t.ID+1, s.t.ID
	s.t.PeerID = t.ID
	t.Local, t.Remote, t.Role = s.t.Remote, s.t.Local, timeline.RoleServer
	t.Process = timeline.Process{PID: 25133, Comm: comm("python3"), Source: events.SourceIO}
	t.Traffic.TxBytes, t.Traffic.RxBytes = t.Traffic.RxBytes, t.Traffic.TxBytes
	t.Teardown.TimeWaitNS = timeline.Maybe[uint64]{}
	if t.Teardown.Initiator == timeline.SideLocal {
		t.Teardown.Initiator = timeline.SideRemote
	}
	t.Entries = nil
	state := events.Listen
	change := func(at uint64, to events.State) {
		t.Entries = append(t.Entries, timeline.Entry{Time: at, Type: timeline.EntryState, From: state, To: to})
		state = to
	}
	both := t.Teardown.Kind == timeline.TeardownSimultaneous
	for i, e := range s.t.Entries {
		if e.Type != timeline.EntrySegment {
			continue
		}
		if next := i + 1; e.Step == timeline.StepSYN && next < len(s.t.Entries) && s.t.Entries[next].Retransmit {
			continue
		}
		e.Dir = 3 - e.Dir
		e.Retransmit = false
		if e.Dir == timeline.Rx {
			e.Time += uint64(delay)
		} else {
			e.Time -= uint64(delay)
		}
		if e.Dir == timeline.Tx && e.Step == timeline.StepFIN {
			change(e.Time-1000, map[bool]events.State{false: events.LastAck, true: events.FinWait1}[both])
		}
		t.Entries = append(t.Entries, e)
		after := e.Time + 2000
		switch {
		case e.Dir == timeline.Tx:
		case e.Step == timeline.StepSYN:
			change(after, events.SynRecv)
		case e.Step == timeline.StepACK:
			change(after, events.Established)
		case e.Step == timeline.StepFIN && both:
			change(after, events.Closing)
		case e.Step == timeline.StepFIN:
			change(after, events.CloseWait)
		case e.Step == timeline.StepFINACK && both:
			change(after, events.TimeWait)
		case e.Step == timeline.StepFINACK:
			change(after, events.Close)
		}
	}
	sortEntries(t)
	t.Start, t.State = t.Entries[0].Time, state
	last := t.Entries[len(t.Entries)-1].Time
	t.WrittenAt, t.End = last+1e9, timeline.Some(last)
	return t
}

func sortEntries(t *timeline.Timeline) {
	for i := range t.Entries {
		for j := i; j > 0 && t.Entries[j].Time < t.Entries[j-1].Time; j-- {
			t.Entries[j], t.Entries[j-1] = t.Entries[j-1], t.Entries[j]
		}
	}
}

func TestGoldenLadder(t *testing.T) {
	for name, p := range ladderStories() {
		t.Run(name, func(t *testing.T) {
			o := storyOptions()
			l := NewLadder(p.t, p.peer, &o)
			var all []string
			for _, way := range []Options{{Width: 80}, {Width: 132, Absolute: true}, {Width: 64, ASCII: true}} {
				o.Width, o.Absolute, o.ASCII = way.Width, way.Absolute, way.ASCII
				lines := l.Lines(&o)
				for _, line := range lines {
					harmless(t, line)
					if n := text.StringWidthWithoutEscSequences(line); n > way.Width {
						t.Errorf("%d columns of %d: %s", n, way.Width, line)
					}
				}
				all = append(append(all, lines...), "")
			}
			golden(t, name+".ladder", []byte(strings.Join(all, "\n")))
		})
	}
}

// In colour a ladder says the same, and every colour is ended on its line.
func TestLadderColor(t *testing.T) {
	for name, p := range ladderStories() {
		o := storyOptions()
		l := NewLadder(p.t, p.peer, &o)
		plain := l.Lines(&o)
		o.Color = true
		coloured := l.Lines(&o)
		if len(plain) != len(coloured) {
			t.Fatalf("%s: %d lines, in colour %d", name, len(plain), len(coloured))
		}
		seen := false
		for i, line := range coloured {
			if strings.TrimRight(text.StripEscape(line), " ") != plain[i] {
				t.Errorf("%s: %q, in colour %q", name, plain[i], line)
			}
			if n := strings.Count(line, "\x1b["); n > 0 {
				seen = true
				if strings.Count(line, text.Reset.EscapeSeq())*2 != n {
					t.Errorf("%s: colours are not ended: %q", name, line)
				}
			}
		}
		if !seen {
			t.Errorf("%s has no colours", name)
		}
	}
}

func TestGoldenTables(t *testing.T) {
	all := stories()
	for i, s := range all {
		s.t.ID = uint64(100 + i) // theirs are all the same
	}
	o := storyOptions()
	golden(t, "all.csv", written(t, "csv", o, all...))
	got := written(t, "table", o, all...)
	golden(t, "all.table", got)
	fits(t, got)
	o.Width, o.ASCII = wideTable, true
	got = written(t, "table", o, all...)
	golden(t, "all.table-wide", got)
	for line := range strings.Lines(string(got)) {
		harmless(t, strings.TrimSuffix(line, "\n"))
		if n := text.StringWidthWithoutEscSequences(line); n > wideTable {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// CSV is read back as what it was, a record for each timeline and a cell for each field, none of them a formula.
func TestCSVIsReadBack(t *testing.T) {
	s := tell("formula", "10.0.0.1:1", "10.0.0.2:2").by(7, "=cmd|' /C x'!A0", events.SourceIO).toBy(events.SynSent).end()
	records, err := csv.NewReader(bytes.NewReader(written(t, "csv", storyOptions(), append(stories(), s)...))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(stories()) + 2; len(records) != n {
		t.Fatalf("%d records, want %d", len(records), n)
	}
	column := func(name string) int { return slices.Index(records[0], name) }
	of := func(name string) int {
		return 1 + slices.IndexFunc(stories(), func(s *story) bool { return s.name == name })
	}
	for i, want := range map[int]map[string]string{
		of("client-get"): {"process.comm": "curl", "local.port": "40512", "teardown.kind": "four-way", "teardown.reset.by": ""},
		of("refused"):    {"handshake.outcome": "refused", "handshake.errno": "ECONNREFUSED", "teardown.reset.by": "remote"},
		of("still-open"): {"findings": "close-wait-leak", "process.pid": "", "handshake.local_options.mss": ""},
		len(records) - 1: {"process.comm": "'=cmd|' /C x'!A0"},
	} {
		for name, value := range want {
			if c := column(name); c < 0 || records[i][c] != value {
				t.Errorf("record %d: %s is not %q: %q", i, name, value, records[i])
			}
		}
	}
}

// TestCSVHasNoFormula: whatever a spreadsheet takes for the beginning of one.
func TestCSVHasNoFormula(t *testing.T) {
	for _, begin := range []string{"=", "+", "-", "@", "\t=", "\r="} {
		s := tell("formula", "10.0.0.1:1", "10.0.0.2:2").by(7, begin+"1", events.SourceIO).toBy(events.SynSent).end()
		records, err := csv.NewReader(bytes.NewReader(written(t, "csv", storyOptions(), s))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		cell := records[1][slices.Index(records[0], "process.comm")]
		if strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			t.Errorf("%q begins a cell: %q", begin, cell)
		}
	}
}

// statement is what Mermaid's grammar of sequence diagrams has a line be, as far as it is used here.
var statement = regexp.MustCompile(`^    (accTitle: .+|participant [LR] as .+|[LR](->>|--\)|-x)[LR]: .+|Note (left of L|right of R|over L,R): .+)$`)

func TestGoldenMermaid(t *testing.T) {
	for name, p := range ladderStories() {
		o := storyOptions()
		got := NewLadder(p.t, p.peer, &o).Mermaid("")
		golden(t, name+".mermaid", []byte(got))
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if lines[0] != "sequenceDiagram" {
			t.Errorf("%s begins with %q", name, lines[0])
		}
		for _, line := range lines[1:] {
			words := strings.ReplaceAll(line, "<br/>", "")
			if !statement.MatchString(line) || strings.ContainsAny(words, "<&`%") || strings.Contains(escapes.ReplaceAllString(words, ""), "#") {
				t.Errorf("%s: %q is no statement", name, line)
			}
		}
	}
}

var escapes = regexp.MustCompile(`#([a-z]+|[0-9]+);`)

func TestMermaidEscapes(t *testing.T) {
	const raw = "a;b#c<script>&%%\n`end`"
	const want = `a#59;b#35;c#lt;script#gt;#amp;#37;#37;#92;x0a#96;end#96;`
	if got := mermaidText(raw); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The picture is XML, nothing in it is cut off, and hostile names do no harm in it.
func TestSVG(t *testing.T) {
	for name, p := range ladderStories() {
		o := storyOptions()
		var out bytes.Buffer
		o.Out = &out
		w, err := New("svg", o)
		if err != nil {
			t.Fatal(err)
		}
		for _, tl := range []*timeline.Timeline{p.t, p.peer} {
			if tl == nil {
				continue
			}
			if p.peer == nil {
				tl.PeerID = 0
			}
			if err := w.Write(&timeline.Update{Kind: timeline.UpdateEnd, Timeline: tl}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if name == "paired" || name == "hostile-comm" {
			golden(t, name+".svg", out.Bytes())
		}
		texts, arrows := 0, 0
		for d := xml.NewDecoder(&out); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			e, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			switch e.Name.Local {
			case "text":
				texts++
			case "path":
				for _, a := range e.Attr {
					if a.Name.Local == "class" && (strings.HasPrefix(a.Value, "l-head")) {
						arrows++
					}
				}
			case "svg", "title", "style", "tspan":
			default:
				t.Errorf("%s: element %s", name, e.Name.Local)
			}
		}
		arrived := 0
		for _, r := range NewLadder(p.t, p.peer, &o).Rows {
			if r.Segment != nil && r.Kind != RowDepart && r.Fate == FateArrived {
				arrived++
			}
		}
		if texts == 0 || arrows != arrived {
			t.Errorf("%s: %d arrows have a head, %d arrived; %d texts", name, arrows, arrived, texts)
		}
	}
}
