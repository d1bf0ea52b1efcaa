package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// hookRow is a hook under a load: the measures of each time it was measured.
type hookRow struct {
	mode, load, symbol string
	measures           map[string][]float64
}

// fewRuns for each operation are those of the load's own connection, and not told of.
const fewRuns = 0.1

// writeHooks makes a table of what tracer's BenchmarkHooks printed: the median of each measure.
func writeHooks(out *strings.Builder, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var rows []*hookRow
	known := map[[3]string]*hookRow{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkHooks/") {
			continue
		}
		name := strings.Split(fields[0], "/")
		if len(name) != 3 {
			return fmt.Errorf("%s: %q is not MODE/LOAD", path, fields[0])
		}
		load, _, _ := strings.Cut(name[2], "-")
		for i := 2; i+1 < len(fields); i += 2 {
			symbol, measure, ok := strings.Cut(fields[i+1], ":")
			if !ok {
				continue
			}
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
			}
			key := [3]string{name[1], load, symbol}
			if known[key] == nil {
				known[key] = &hookRow{name[1], load, symbol, map[string][]float64{}}
				rows = append(rows, known[key])
			}
			known[key].measures[measure] = append(known[key].measures[measure], v)
		}
	}
	if len(rows) == 0 {
		return errors.New(path + " has no output of BenchmarkHooks: that needs root")
	}
	out.WriteString("### Each hook\n\n")
	out.WriteString("| attached by | load | hook | runs | told | ns | empty program | above it |\n|---|---|---|--:|--:|--:|--:|--:|\n")
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
