// Command bench measures what it costs a host to be traced: connections per second
// of a loopback churn without a tracer, with tcptrace and with other tools, in turns.
// It needs root. The load runs in a network namespace of its own; no tool is given a
// filter.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// settings are the command line's.
type settings struct {
	tcptrace, micro, hooks, counts, update string
	dir                                    string // of the ready file
	rounds                                 int
	loads                                  []int // numbers of threads
	only                                   *regexp.Regexp
	sampling
}

// sampling is how one sample is taken.
type sampling struct {
	threads int
	length  time.Duration
	limit   uint64
	bulk    bool // iperf3's stream instead of connections
}

func main() {
	s := settings{only: regexp.MustCompile(""), loads: []int{1, 4}}
	flag.StringVar(&s.tcptrace, "tcptrace", "bin/tcptrace", "the tcptrace to measure")
	flag.StringVar(&s.micro, "micro", "", "output of go test -bench, to be added as a table")
	flag.StringVar(&s.hooks, "hooks", "", "output of go test -bench Hooks ./tracer: makes tables of it, and measures a bulk stream instead of connections")
	flag.StringVar(&s.counts, "counts", "", "output of .ci/count-hooks: makes tables of it, and measures nothing")
	flag.StringVar(&s.update, "update", "", "Markdown file to put the tables into, between its bench markers")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each tool is measured")
	flag.Func("loads", "how many threads the client has, and the server: a table for each number (default 1,4)", s.setLoads)
	flag.IntVar(&s.threads, "threads", 1, "for its own use")
	flag.DurationVar(&s.length, "sample", 3*time.Second, "length of a sample")
	flag.BoolVar(&s.bulk, "bulk", false, "for its own use")
	flag.Uint64Var(&s.limit, "limit", 1_000_000, "most connections in a sample")
	flag.Func("only", "only tools whose name matches this regular expression, and no tracer", func(v string) (err error) {
		s.only, err = regexp.Compile(v)
		return err
	})
	// One program plays all parts: it starts itself again for each.
	part := flag.String("part", "", "for its own use: serve, connect, or sample:TOOL")
	flag.StringVar(&s.dir, "dir", "", "for its own use")
	flag.Parse()

	if err := run(*part, &s); err != nil {
		fatal(err)
	}
}

func (s *settings) setLoads(v string) error {
	s.loads = nil
	for number := range strings.SplitSeq(v, ",") {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 100 {
			return fmt.Errorf("%q is no number of threads", number)
		}
		s.loads = append(s.loads, n)
	}
	return nil
}

func run(part string, s *settings) error {
	switch part {
	case "":
		if s.counts != "" {
			return reportCounts(s)
		}
		return compare(s)
	case "serve":
		return serve(s.threads)
	case "connect":
		return connect(s.threads, s.length, s.limit)
	}
	return sample(part, s)
}

func fatal(err error) {
	fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	os.Exit(1)
}
