package lab

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Segment is a TCP segment as tcpdump captured and sharkd dissected it.
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
	Need(h.t, "tcpdump", "sharkd")
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
	return dissector.dissect(c.t, c.file)
}
