package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// untraced is the way of attaching that is none.
const untraced = "untraced"

// reportCounts prints the tables of what .ci/count-hooks printed.
func reportCounts(s *settings) error {
	text, err := os.ReadFile(s.counts)
	if err != nil {
		return err
	}
	var release string
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "release: "); ok {
			release = strings.TrimSpace(v)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s, Linux %s, emulated, which counts instructions: %s.\n\n", time.Now().Format("2 January 2006"), release, runtime.Version())
	out.WriteString("### Each operation, in instructions\n\n")
	if err := writePaths(&out, s.counts); err != nil {
		return err
	}
	out.WriteString("### Each hook, in instructions\n\n")
	if err := writeHooks(&out, s.counts, "instructions"); err != nil {
		return err
	}
	return publish(s, "counts", out.String())
}

// writePaths makes a table of what tracer's BenchmarkPath printed: a row for each way of attaching.
func writePaths(out *strings.Builder, path string) error {
	lines, err := benchmarkLines(path, "Path")
	if err != nil {
		return err
	}
	var modes, loads []string
	takes := map[[2]string][]float64{}
	for _, l := range lines {
		if !slices.Contains(modes, l.mode) {
			modes = append(modes, l.mode)
		}
		if !slices.Contains(loads, l.load) {
			loads = append(loads, l.load)
		}
		takes[[2]string{l.mode, l.load}] = append(takes[[2]string{l.mode, l.load}], l.measures["ns/op"])
	}
	fmt.Fprintf(out, "| attached by | %s |\n|---|%s\n", strings.Join(loads, " | "), strings.Repeat("--:|", len(loads)))
	slices.SortStableFunc(modes, func(a, b string) int { return cmp.Compare(order(a), order(b)) })
	for _, mode := range modes {
		fmt.Fprintf(out, "| %s |", mode)
		for _, load := range loads {
			n, base := median(takes[[2]string{mode, load}]), median(takes[[2]string{untraced, load}])
			if mode == untraced {
				fmt.Fprintf(out, " %.0f |", n)
			} else {
				fmt.Fprintf(out, " %+.0f (%.1f %%) |", n-base, 100*(n/base-1))
			}
		}
		out.WriteString("\n")
	}
	out.WriteString("\n")
	return nil
}

// order has what the others are compared with first.
func order(mode string) int {
	if mode == untraced {
		return 0
	}
	return 1
}
