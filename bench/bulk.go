package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The other load: one stream that is as fast as loopback is, by iperf3. The longest transfers are where a
// price for each data segment would show.

const iperf = "iperf3"

// bulkTools are measured under it: what it asks is what tcptrace takes, and what is noise.
var bulkTools = []string{baseline, "tcptrace -o json", control}

// compareBulk measures under the stream, and prints its table after that of the hooks.
func compareBulk(s *settings, installed []*tool, sink *os.File) error {
	if _, err := exec.LookPath(iperf); err != nil {
		return fmt.Errorf("the bulk stream needs %s (its Debian package has that name): %w", iperf, err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s: %s.\n\n", time.Now().Format("2 January 2006"), machine(), runtime.Version())
	out.WriteString("### Each hook\n\n")
	if err := writeHooks(&out, s.hooks, "ns"); err != nil {
		return err
	}
	s.bulk = true
	streams, err := rounds(s, slices.DeleteFunc(installed, func(t *tool) bool { return !slices.Contains(bulkTools, t.name) }), sink)
	if err != nil {
		return err
	}
	writeBulk(&out, s, streams)
	return publish(s, "hooks", out.String())
}

// iperfServer prints a line when it listens.
func iperfServer() *exec.Cmd {
	return exec.Command(iperf, "-s", "--forceflush")
}

// stream runs iperf3's client.
func stream(s *settings, r *result) error {
	args := []string{"-c", "127.0.0.1", "-J", "-t", strconv.Itoa(max(1, int(s.length.Seconds())))}
	if n := runtime.NumCPU(); n > 1 {
		args = append(args, "-A", fmt.Sprintf("0,%d", n/2)) // see unscheduled
	}
	out, err := exec.Command(iperf, args...).Output()
	var told struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
		Error string
	}
	if err := errors.Join(err, json.Unmarshal(out, &told)); err != nil || told.Error != "" {
		return fmt.Errorf("%s: %s: %w", iperf, told.Error, err)
	}
	r.BitsPerSecond = told.End.Received.BitsPerSecond
	return nil
}

func writeBulk(out *strings.Builder, s *settings, samples results) {
	fmt.Fprintf(out, "### One bulk stream (iperf3), %d rounds of %s\n\n", s.rounds, s.length)
	out.WriteString("| traced by | Gbit/s | cost | cost, least to most |\n|---|--:|--:|--:|\n")
	for _, name := range bulkTools {
		var rates, costs []float64
		for i, r := range samples[name] {
			rates = append(rates, r.BitsPerSecond/1e9)
			costs = append(costs, 1-r.BitsPerSecond/samples[baseline][i].BitsPerSecond)
		}
		if len(rates) == 0 {
			continue
		}
		fmt.Fprintf(out, "| %s | %.2f |", name, median(rates))
		if name == baseline {
			out.WriteString(" | |\n")
			continue
		}
		fmt.Fprintf(out, " %.1f %% | %.1f to %.1f %% |\n", 100*median(costs), 100*slices.Min(costs), 100*slices.Max(costs))
	}
	out.WriteString("\n")
}
