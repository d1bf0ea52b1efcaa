package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// compare measures every tool in turn, as many rounds as were asked for, and prints
// the tables.
func compare(s *settings) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make network namespaces and trace: sudo make bench")
	}
	var err error
	if s.tcptrace, err = filepath.Abs(s.tcptrace); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "tcptrace-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	sink, err := newSink()
	if err != nil {
		return err
	}
	defer sink.Close()

	var chosen []*tool
	for i := range tools {
		t := &tools[i]
		switch {
		case t.args != nil && !s.only.MatchString(t.name):
		case !t.installed(s):
			fmt.Fprintf(os.Stderr, "bench: %s: not installed, left out\n", t.name)
		default:
			chosen = append(chosen, t)
		}
	}
	if s.hooks != "" {
		return compareBulk(s, chosen, sink)
	}
	measured := make([]results, 0, len(s.loads))
	for _, s.threads = range s.loads {
		r, err := rounds(s, chosen, sink)
		if err != nil {
			return err
		}
		measured = append(measured, r)
	}
	return report(s, chosen, measured)
}

// results are the samples of each tool, by its name, in the order of the rounds.
type results map[string][]result

// rounds measures under one load.
func rounds(s *settings, chosen []*tool, sink *os.File) (results, error) {
	all := make(results)
	for round := range s.rounds {
		// Each round begins with another tool: none is always the one after the same other.
		for i := range chosen {
			t := chosen[(i+round)%len(chosen)]
			r, err := takeSample(s, t, sink)
			if err != nil { // a busy machine may spoil one
				fmt.Fprintf(os.Stderr, "bench: again: %v\n", err)
				r, err = takeSample(s, t, sink)
			}
			if err != nil {
				return nil, err
			}
			if s.bulk {
				fmt.Fprintf(os.Stderr, "bench: bulk, round %d: %-26s %6.2f Gbit/s\n", round+1, t.name, r.BitsPerSecond/1e9)
			} else {
				fmt.Fprintf(os.Stderr, "bench: %d threads, round %d: %-26s %7.0f connections/s, %d lost\n",
					s.threads, round+1, t.name, r.PerSecond, r.Lost)
			}
			all[t.name] = append(all[t.name], r)
		}
	}
	return all, nil
}

// takeSample waits for a quiet moment, and starts a process in new namespaces to take it.
func takeSample(s *settings, t *tool, sink *os.File) (r result, err error) {
	waitIdle()
	cmd := self(samplePart+t.name, s)
	cmd.ExtraFiles = []*os.File{sink} // sinkFD
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWNS
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("sample of %s: %w", t.name, err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("sample of %s: %w", t.name, err)
	}
	if r.Resets > 0 {
		return r, fmt.Errorf("sample of %s: the load sent %d RSTs: its closes were not orderly", t.name, r.Resets)
	}
	return r, nil
}

// sinkFD is where a sample finds the sink.
const sinkFD = 3

// newSink is a file in memory for what the tools print. All of its memory is there
// already, and stays: on a virtual machine a page that is touched for the first time
// costs more than what is written to it.
func newSink() (*os.File, error) {
	const size, block = 1 << 30, 1 << 20
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sink")
	zeros := make([]byte, block)
	for at := int64(0); at < size; at += block {
		if _, err := f.WriteAt(zeros, at); err != nil {
			return nil, errors.Join(fmt.Errorf("sink: %w", err), f.Close())
		}
	}
	return f, nil
}

// waitIdle waits until the machine does little else: the kernel is still taking the
// last sample's namespace apart when its process has ended.
func waitIdle() {
	const step, patience, idle = 250 * time.Millisecond, 20 * time.Second, 0.10
	for waited := time.Duration(0); waited < patience; waited += step {
		busyBefore, allBefore := machineTime()
		time.Sleep(step)
		busy, all := machineTime()
		if float64(busy-busyBefore) <= idle*float64(all-allBefore) {
			return
		}
	}
	fmt.Fprintln(os.Stderr, "bench: this machine is busy with something else: expect noise")
}

// machineTime is what all processors together have spent, in ticks.
func machineTime() (busy, all uint64) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil || i > 8 {
			continue // the name; guests' time is in user's
		}
		all += n
		if i != 4 && i != 5 { // idle, iowait
			busy += n
		}
	}
	return busy, all
}
