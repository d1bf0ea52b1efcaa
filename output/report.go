package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pretty "github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Report is what a kernel can show, as tcptrace --check writes it and --meta includes it.
// docs/report.schema.json is its contract.
type Report struct {
	Schema  string `json:"schema"` // ReportSchema
	Version string `json:"version"`
	// Possible: everything required is told.
	Possible bool `json:"possible"`
	// Error says why not, and what to do.
	Error        *string      `json:"error"`
	Kernel       Kernel       `json:"kernel"`
	Attach       string       `json:"attach"`   // what was asked for: auto, fentry, kprobe, tracepoint
	BTFFile      *string      `json:"btf_file"` // what --btf gave
	Capabilities Capabilities `json:"capabilities"`
	Facts        []Fact       `json:"facts"`
}

// ReportSchema is Report.Schema.
const ReportSchema = "tcptrace.check/1"

// Kernel is the running one.
type Kernel struct {
	Release string `json:"release"`
	Machine string `json:"machine"`
	BTF     bool   `json:"btf"`
	IPv6    bool   `json:"ipv6"`
}

// Capabilities are those that tracing needs, named CAP_BPF.
type Capabilities struct {
	Held    []string `json:"held"`
	Missing []string `json:"missing"`
}

// Fact is one of what timelines are made of.
type Fact struct {
	Name     string    `json:"fact"`
	Required bool      `json:"required"`
	By       []Hook    `json:"by"`      // the hooks that tell it; none where nothing does
	Refused  []Refusal `json:"refused"` // better hooks, tried in vain
	// Absence is what the timelines lack, null where the fact is told.
	Absence *string `json:"absence"`
}

// Hook is a place in the kernel.
type Hook struct {
	Kind   string `json:"kind"`
	Symbol string `json:"symbol"`
}

// Refusal is a hook that did not attach.
type Refusal struct {
	Hook
	Why   string `json:"why"`
	Error string `json:"error"` // the kernel's own
}

// Meta is what --meta writes of a run.
type Meta struct {
	Schema  string    `json:"schema"` // MetaSchema
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Start   Timestamp `json:"start"`
	// End and Totals are null while it runs.
	End     *Timestamp `json:"end"`
	Filters Filters    `json:"filters"`
	Check   Report     `json:"check"`
	// Kept are the capabilities that it holds while it traces.
	Kept   []string `json:"capabilities_kept"`
	Totals *Totals  `json:"totals"`
}

// MetaSchema is Meta.Schema.
const MetaSchema = "tcptrace.run/1"

// Timestamp is a time as all of the JSON has it: RFC 3339, UTC, nine decimals.
type Timestamp time.Time

// MarshalJSON implements json.Marshaler.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return append(appendTime([]byte{'"'}, time.Time(t)), '"'), nil
}

// Filters are those of the command line; what is empty or null restricts nothing.
type Filters struct {
	Family      *string  `json:"family"` // ipv4 or ipv6
	Ports       []string `json:"ports"`  // a port or a range, 8000-8100
	LocalPorts  []string `json:"local_ports"`
	RemotePorts []string `json:"remote_ports"`
	Addresses   []string `json:"addresses"` // prefixes
	Netns       []uint32 `json:"netns"`     // inode numbers
	PIDs        []uint32 `json:"pids"`
	FollowForks bool     `json:"follow_forks"`
	UIDs        []uint32 `json:"uids"`
	Comms       []string `json:"comms"`
	Cgroups     []uint64 `json:"cgroup_ids"` // of cgroup v2
	Command     []string `json:"command"`    // that was started to be traced; empty for none
	Segments    string   `json:"segments"`   // control or all
}

// Totals are a run's.
type Totals struct {
	Events      uint64 `json:"events"`
	Timelines   uint64 `json:"timelines"`
	Lost        uint64 `json:"lost"`
	Missed      uint64 `json:"missed"`
	Evicted     uint64 `json:"evicted"`
	Forgotten   uint64 `json:"forgotten"`
	Unreadable  uint64 `json:"unreadable"`
	Undecodable uint64 `json:"undecodable"`
	Unfollowed  uint64 `json:"unfollowed"` // child processes, for which the kernel's table was full
}

// WriteJSON writes a Report or a Meta as one line.
func WriteJSON[T Report | Meta](w io.Writer, v *T) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// reportWidth is that of a terminal.
const reportWidth = 80

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	yes := map[bool]string{true: "yes", false: "no"}
	fmt.Fprintf(&b, "Linux %s %s, BTF: %s, IPv6: %s\n", r.Kernel.Release, r.Kernel.Machine, yes[r.Kernel.BTF], yes[r.Kernel.IPv6])
	if r.BTFFile != nil {
		fmt.Fprintf(&b, "types from %s\n", *r.BTFFile)
	}
	fmt.Fprintf(&b, "capabilities held: %s; missing: %s\n\n", list(r.Capabilities.Held), list(r.Capabilities.Missing))
	if len(r.Facts) > 0 {
		fmt.Fprintf(&b, "%s\n\n", r.table())
	}
	if r.Error != nil {
		fmt.Fprintln(&b, text.WrapSoft("Tracing is not possible: "+*r.Error, reportWidth))
	} else {
		fmt.Fprintln(&b, "Tracing is possible.")
	}
	lines := strings.SplitAfter(b.String(), "\n")
	for i, line := range lines {
		if trimmed := strings.TrimRight(line, " \n"); strings.HasSuffix(line, "\n") {
			lines[i] = trimmed + "\n"
		}
	}
	_, err := io.WriteString(w, strings.Join(lines, ""))
	return err
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func (r *Report) table() string {
	t := pretty.NewWriter()
	style := pretty.StyleDefault
	style.Options = pretty.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	const left, gap = 17, 2
	t.AppendHeader(pretty.Row{"FACT", "TOLD BY"})
	for i := range r.Facts {
		f := &r.Facts[i]
		t.AppendRow(pretty.Row{text.WrapSoft(f.Name, left), f.text(reportWidth - left - gap)})
	}
	return t.Render()
}

// text says, in lines of that width, what tells the fact, or what is lost, and why better hooks were refused; what is the
// same for several is said once.
func (f *Fact) text(width int) string {
	var says []string
	for _, h := range f.By {
		says = append(says, h.Kind+" "+h.Symbol)
	}
	if f.Absence != nil {
		says = append(says, "nothing: "+*f.Absence)
	}
	var reasons []string
	hooks := map[string][]string{}
	for _, r := range f.Refused {
		if !slices.Contains(reasons, r.Why) {
			reasons = append(reasons, r.Why)
		}
		// Programs for different signatures of one function are one hook to the user.
		if hook := r.Kind + " " + r.Symbol; !slices.Contains(hooks[r.Why], hook) {
			hooks[r.Why] = append(hooks[r.Why], hook)
		}
	}
	for _, why := range reasons {
		says = append(says, "(not by "+strings.Join(hooks[why], ", ")+": "+why+")")
	}
	for i := range says {
		says[i] = text.WrapSoft(says[i], width)
	}
	return strings.Join(says, "\n")
}
