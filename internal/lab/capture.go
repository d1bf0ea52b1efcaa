package lab

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Segment is a TCP segment as tcpdump captured and tshark dissected it.
type Segment struct {
	Src, Dst      netip.AddrPort
	Flags         uint8 // the header's 14th byte
	Seq, Ack      uint32
	Window        uint16
	Len           uint32
	MSS, WScale   int // -1 where the option is not there
	SACKPermitted bool
	// TSVal and TSEcr are -1 where the option is not there.
	TSVal, TSEcr int64
	// Completeness is that of the whole conversation, tcp.completeness. CommunityID is its ID.
	Completeness int
	CommunityID  string
}

// Capture is a running tcpdump.
type Capture struct {
	t    testing.TB
	cmd  *exec.Cmd
	file string
}

// StartCapture captures TCP on a device of the host; it returns when tcpdump listens.
func (h *Host) StartCapture(dev string) *Capture {
	h.t.Helper()
	Need(h.t, "tcpdump", "tshark")
	c := &Capture{t: h.t, file: filepath.Join(h.t.TempDir(), "capture.pcap")}
	c.cmd = exec.Command("ip", "netns", "exec", h.Name,
		"tcpdump", "-i", dev, "-U", "--immediate-mode", "-Z", "root", "-B", "16384", "-s", "200", "-w", c.file, "tcp")
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		h.t.Fatalf("tcpdump: %v", err)
	}
	h.t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "listening on") {
			go func() {
				for lines.Scan() { // so that tcpdump never blocks on a full pipe
				}
			}()
			return c
		}
	}
	h.t.Fatal("tcpdump ended before it listened")
	return nil
}

// Stop ends the capture, when nothing more comes, and dissects it.
func (c *Capture) Stop() []Segment {
	c.t.Helper()
	// What the kernel has handed to tcpdump is in the file when that has stopped to grow.
	size, since := int64(-1), time.Now()
	Eventually(c.t, "the capture is at rest", func() bool {
		info, err := os.Stat(c.file)
		if err != nil {
			return false
		}
		if info.Size() != size {
			size, since = info.Size(), time.Now()
		}
		return time.Since(since) > 150*time.Millisecond
	})
	_ = c.cmd.Process.Signal(unix.SIGINT)
	_ = c.cmd.Wait()
	return Dissect(c.t, c.file)
}

// fields are what tshark is asked for, in the order of parse.
var fields = []string{
	"ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags",
	"tcp.seq_raw", "tcp.ack_raw", "tcp.window_size_value", "tcp.len",
	"tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.options.sack_perm",
	"tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr",
	"tcp.completeness", "communityid",
}

// Dissect reads a capture by tshark.
func Dissect(t testing.TB, file string) (all []Segment) {
	t.Helper()
	// Two passes: the first segment too says what the conversation came to.
	args := []string{"-2", "--enable-protocol", "communityid", "-r", file, "-T", "fields", "-E", "separator=|", "-Y", "tcp"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		s, err := parseSegment(strings.Split(strings.TrimSuffix(line, "\n"), "|"))
		if err != nil {
			t.Fatalf("tshark said %q: %v", line, err)
		}
		all = append(all, s)
	}
	return all
}

func parseSegment(f []string) (s Segment, err error) {
	if len(f) != len(fields) {
		return s, fmt.Errorf("%d fields, want %d", len(f), len(fields))
	}
	number := func(word string, absent int64) int64 {
		if word == "" {
			return absent
		}
		n, e := strconv.ParseInt(word, 0, 64)
		if e != nil && err == nil {
			err = e
		}
		return n
	}
	addr := func(v4, v6, port string) netip.AddrPort {
		a, e := netip.ParseAddr(v4 + v6)
		if e != nil && err == nil {
			err = e
		}
		return netip.AddrPortFrom(a, uint16(number(port, 0)))
	}
	s = Segment{
		Src:    addr(f[0], f[2], f[4]),
		Dst:    addr(f[1], f[3], f[5]),
		Flags:  uint8(number(f[6], 0)),
		Seq:    uint32(number(f[7], 0)),
		Ack:    uint32(number(f[8], 0)),
		Window: uint16(number(f[9], 0)),
		Len:    uint32(number(f[10], 0)),
		MSS:    int(number(f[11], -1)), WScale: int(number(f[12], -1)),
		SACKPermitted: f[13] != "",
		TSVal:         number(f[14], -1), TSEcr: number(f[15], -1),
		Completeness: int(number(f[16], -1)), CommunityID: f[17],
	}
	return s, err
}
