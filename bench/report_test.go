package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteMicro(t *testing.T) {
	path := filepath.Join(t.TempDir(), "micro.txt")
	text := `goos: linux
pkg: tcptrace/events
BenchmarkDecode-2   	100	        10.5 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecode-2   	100	         8.5 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecode-2   	100	        99.0 ns/op	       0 B/op	       0 allocs/op
PASS
pkg: tcptrace/timeline
BenchmarkAssemble-2   	100	       170 ns/op	         1.5 timelines/connection	       1 allocs/op
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := writeMicro(&out, path); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| events: Decode | 10.5 | 0 |\n", "| timeline: Assemble | 170.0 | 1 |\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func TestHooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hooks.txt")
	const text = `pkg: tcptrace/tracer
BenchmarkHooks/kprobe/bulk-2	100	5 ns/op	30.0 tcp_v4_rcv:empty-ns	90.0 tcp_v4_rcv:ns	2.00 tcp_v4_rcv:runs	0.001 tcp_v4_rcv:told	700 kfree_skb:ns	50 kfree_skb:empty-ns	0.01 kfree_skb:runs
BenchmarkHooks/kprobe/bulk-2	100	5 ns/op	50.0 tcp_v4_rcv:empty-ns	120.0 tcp_v4_rcv:ns	4.00 tcp_v4_rcv:runs	0.001 tcp_v4_rcv:told
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := writeHooks(&out, path, "ns"); err != nil {
		t.Fatal(err)
	}
	if want := "| kprobe | bulk | tcp_v4_rcv | 3.0 | 0 % | 105 | 40 | 65 |\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in:\n%s", want, out.String())
	}
	if strings.Contains(out.String(), "kfree_skb") {
		t.Errorf("a hook that hardly ran has a row:\n%s", out.String())
	}
	if err := os.WriteFile(path, []byte("PASS\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeHooks(&out, path, "ns"); err == nil {
		t.Error("output without the benchmark was taken")
	}
}

func TestPaths(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts.txt")
	const text = `release: 6.12.1
BenchmarkPath/fentry/bulk	500	1100 ns/op	7 MB/s
BenchmarkPath/untraced/bulk	500	1000 ns/op	7 MB/s
BenchmarkPath/untraced/requests	500	2000 ns/op
BenchmarkPath/fentry/requests	500	2500 ns/op	0 missed-runs
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := writePaths(&out, path); err != nil {
		t.Fatal(err)
	}
	const want = `| attached by | bulk | requests |
|---|--:|--:|
| untraced | 1000 | 2000 |
| fentry | +100 (10.0 %) | +500 (25.0 %) |
`
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("got\n%s", out.String())
	}
}

func TestReplaceOnlyBetweenTheMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replace(path, "x", "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n<!-- x: begin -->\n\nnew\n<!-- x: end -->\nafter\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replace(path, "x", "new\n"); err == nil {
		t.Error("a file without marks was taken")
	}
}

func TestMedian(t *testing.T) {
	for want, of := range map[float64][]float64{0: nil, 2: {3, 1, 2}, 2.5: {4, 1, 2, 3}} {
		if got := median(of); got != want {
			t.Errorf("median of %v is %v, want %v", of, got, want)
		}
	}
}
