package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// benchmarkLine is a line of a benchmark whose names are MODE/LOAD.
type benchmarkLine struct {
	mode, load string
	measures   map[string]float64 // by their unit
	units      []string           // in order
}

// benchmarkLines are those of a benchmark in the output of go test -bench; none is an error.
func benchmarkLines(path, benchmark string) (all []benchmarkLine, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark"+benchmark+"/") {
			continue
		}
		name := strings.Split(fields[0], "/")
		if len(name) != 3 {
			return nil, fmt.Errorf("%s: %q is not MODE/LOAD", path, fields[0])
		}
		l := benchmarkLine{mode: name[1], measures: map[string]float64{}}
		l.load, _, _ = strings.Cut(name[2], "-")
		for i := 2; i+1 < len(fields); i += 2 {
			unit := fields[i+1]
			if l.measures[unit], err = strconv.ParseFloat(fields[i], 64); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
			}
			l.units = append(l.units, unit)
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no output of Benchmark%s: that needs root", path, benchmark)
	}
	return all, nil
}

// hookRow is a hook under a load: the measures of each time it was measured.
type hookRow struct {
	mode, load, symbol string
	measures           map[string][]float64
}

// fewRuns for each operation are those of the load's own connection, and not told of.
const fewRuns = 0.1

// writeHooks makes a table of what tracer's BenchmarkHooks printed: the median of each measure. unit is that of
// the guest's or the host's clock.
func writeHooks(out *strings.Builder, path, unit string) error {
	lines, err := benchmarkLines(path, "Hooks")
	if err != nil {
		return err
	}
	var rows []*hookRow
	known := map[[3]string]*hookRow{}
	for _, l := range lines {
		for _, u := range l.units {
			symbol, measure, ok := strings.Cut(u, ":")
			if !ok {
				continue
			}
			key := [3]string{l.mode, l.load, symbol}
			if known[key] == nil {
				known[key] = &hookRow{l.mode, l.load, symbol, map[string][]float64{}}
				rows = append(rows, known[key])
			}
			known[key].measures[measure] = append(known[key].measures[measure], l.measures[u])
		}
	}
	fmt.Fprintf(out, "| attached by | load | hook | runs | told | %s | empty program | above it |\n|---|---|---|--:|--:|--:|--:|--:|\n", unit)
	for _, r := range rows {
		m := func(name string) float64 { return median(r.measures[name]) }
		if m("runs") < fewRuns {
			continue
		}
		var above []float64
		for i, ns := range r.measures["ns"] {
			above = append(above, ns-r.measures["empty-ns"][i])
		}
		fmt.Fprintf(out, "| %s | %s | %s | %.1f | %.0f %% | %.0f | %.0f | %.0f |\n",
			r.mode, r.load, r.symbol, m("runs"), 100*m("told"), m("ns"), m("empty-ns"), median(above))
	}
	out.WriteString("\n")
	return nil
}
