package tracer

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A probe that is made through tracefs is no file descriptor: a tracer that was killed leaves it there, switched off,
// with room for its sleepers. The next one removes it, and knows it by its group.

const probePrefix = "tcptrace_"

// probeGroup is what the group of a tracer's probes begins with.
func probeGroup(pid int) string { return fmt.Sprint(probePrefix, pid) }

// removeLeftProbes removes the probes of tracers that are no more. The kernel refuses it of one that is in use.
func removeLeftProbes() {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		f, err := os.OpenFile(dir+"/kprobe_events", os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			continue
		}
		text, _ := os.ReadFile(f.Name())
		for _, probe := range leftProbes(string(text), runs) {
			fmt.Fprintf(f, "-:%s\n", probe)
		}
		f.Close()
		return
	}
}

// leftProbes are the groups and names of those whose tracer does not run, of the lines of kprobe_events.
func leftProbes(text string, runs func(pid int) bool) (left []string) {
	for line := range strings.Lines(text) {
		definition, _, _ := strings.Cut(line, " ")
		_, probe, _ := strings.Cut(definition, ":")
		var pid int
		if n, _ := fmt.Sscanf(probe, probePrefix+"%d_", &pid); n == 1 && !runs(pid) {
			left = append(left, probe)
		}
	}
	return left
}

func runs(pid int) bool { return unix.Kill(pid, 0) != unix.ESRCH }
