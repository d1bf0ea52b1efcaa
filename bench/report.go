package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Between lines of these forms in the Markdown file is what this program writes.
const (
	beginMark = "<!-- %s: begin -->"
	endMark   = "<!-- %s: end -->"
)

// report prints the tables, and puts them where s.update says.
func report(s *settings, chosen []*tool, measured []results) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s: %s.\n\n", time.Now().Format("2 January 2006"), machine(), runtime.Version())
	fmt.Fprintf(&out, "%d rounds of samples of %s.\n\n", s.rounds, s.length)
	for i, threads := range s.loads {
		fmt.Fprintf(&out, "### %s\n\n", describe(threads))
		writeChurn(&out, chosen, measured[i])
		writeChecks(&out, chosen, measured[i])
	}
	out.WriteString("The tool's CPU time and its output are per connection. Its CPU time is its process's alone: what it hooks into the kernel runs in the load's.\n\n")
	if s.micro != "" {
		out.WriteString("### For each event\n\n")
		if err := writeMicro(&out, s.micro); err != nil {
			return err
		}
	}
	return publish(s, "bench", out.String())
}

// publish prints the text, and puts it where s.update says, between the marks of that name.
func publish(s *settings, mark, text string) error {
	fmt.Print(text)
	if s.update == "" {
		return nil
	}
	return replace(s.update, mark, text)
}

func writeChurn(out *strings.Builder, chosen []*tool, samples results) {
	out.WriteString("| traced by | connections/s | cost | cost, least to most | lost events | tool's CPU | its output |\n")
	out.WriteString("|---|--:|--:|--:|--:|--:|--:|\n")
	base := samples[baseline]
	for _, t := range chosen {
		rs := samples[t.name]
		var rates, costs, cpu, bytesOut []float64
		var lost uint64
		for i, r := range rs {
			rates = append(rates, r.PerSecond)
			// Against its own round: the machine's slow moments are then in both.
			costs = append(costs, 1-r.PerSecond/base[i].PerSecond)
			perConnection := 1 / float64(r.Connections)
			cpu = append(cpu, float64(r.CPU.Nanoseconds())/1e3*perConnection)
			bytesOut = append(bytesOut, float64(r.Output)*perConnection)
			lost += r.Lost
		}
		if t.name == baseline {
			fmt.Fprintf(out, "| %s | %.0f | | | | | |\n", t.name, median(rates))
			continue
		}
		fmt.Fprintf(out, "| %s | %.0f | %.1f %% | %.1f to %.1f %% |", t.name, median(rates),
			100*median(costs), 100*slices.Min(costs), 100*slices.Max(costs))
		if t.args == nil {
			out.WriteString(" | | |\n")
			continue
		}
		fmt.Fprintf(out, " %d | %.1f µs | %.0f B |\n", lost, median(cpu), median(bytesOut))
	}
	out.WriteString("\n")
}

// describe says in words what a number of threads means.
func describe(threads int) string {
	if threads == 1 {
		return "One connection after the other"
	}
	return fmt.Sprintf("%d connections at a time, no processor idle", threads)
}

// writeChecks says whether tcptrace told of every connection.
func writeChecks(out *strings.Builder, chosen []*tool, samples results) {
	for _, t := range chosen {
		if !t.timelines {
			continue
		}
		var connections, timelines, incomplete uint64
		for _, r := range samples[t.name] {
			connections += r.Connections
			timelines += r.Timelines
			incomplete += r.Incomplete
		}
		fmt.Fprintf(out, "%s wrote %d timelines for the %d connections' %d ends, %d of them incomplete.\n\n",
			t.name, timelines, connections, 2*connections, incomplete)
	}
}

// writeMicro makes a table of go test -bench's lines: the median of each measure.
func writeMicro(out *strings.Builder, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	type row struct{ ns, allocations []float64 }
	rows := make(map[string]*row)
	var order []string
	pkg := ""
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 2 && fields[0] == "pkg:" {
			_, pkg, _ = strings.Cut(fields[1], "/")
		}
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
		name = pkg + ": " + name
		r := rows[name]
		if r == nil {
			r = &row{}
			rows[name], order = r, append(order, name)
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
			}
			switch fields[i+1] {
			case "ns/op":
				r.ns = append(r.ns, v)
			case "allocs/op":
				r.allocations = append(r.allocations, v)
			}
		}
	}
	if len(order) == 0 {
		return nil
	}
	out.WriteString("| benchmark | ns | allocations |\n|---|--:|--:|\n")
	for _, name := range order {
		fmt.Fprintf(out, "| %s | %.1f | %.0f |\n", name, median(rows[name].ns), median(rows[name].allocations))
	}
	out.WriteString("\n")
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// machine says what it ran on, without naming it.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only on a bad pointer
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	model := unix.ByteSliceToString(u.Machine[:])
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("Linux %s, %d × %s", release, runtime.NumCPU(), model)
}

// replace puts text between the marks of the file.
func replace(path, mark, text string) error {
	beginMark, endMark := fmt.Sprintf(beginMark, mark), fmt.Sprintf(endMark, mark)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !found || !ended {
		return fmt.Errorf("%s has no %s and %s", path, beginMark, endMark)
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n\n"+text+endMark+after), 0o644)
}
