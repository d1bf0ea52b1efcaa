package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// sharkd dissects captures: tshark as a server, which is asked in JSON, one capture at a
// time. tshark itself would take longer to start than to dissect.
type sharkd struct {
	mu      sync.Mutex
	cmd     *exec.Cmd // nil until the first capture
	config  string    // directory of its settings
	stdin   io.WriteCloser
	replies *json.Decoder
}

// dissector is the one for all tests of a binary.
var dissector sharkd

func (d *sharkd) start() error {
	var err error
	if d.config, err = os.MkdirTemp("", "tcptrace-sharkd-"); err != nil {
		return err
	}
	// Its Community ID is off unless the user's settings have it.
	if err := os.WriteFile(filepath.Join(d.config, "enabled_protos"), []byte("communityid\n"), 0o644); err != nil {
		return err
	}
	d.cmd = exec.Command("sharkd", "-")
	d.cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+d.config)
	if d.stdin, err = d.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	d.replies = json.NewDecoder(stdout)
	return d.cmd.Start()
}

// stop ends it.
func (d *sharkd) stop() {
	if d.cmd != nil {
		_ = d.stdin.Close()
		_ = d.cmd.Wait()
		_ = os.RemoveAll(d.config)
	}
}

// ask calls a method of sharkd's JSON-RPC.
func (d *sharkd) ask(method string, params map[string]string, result any) error {
	request := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
	if err := json.NewEncoder(d.stdin).Encode(request); err != nil {
		return err
	}
	var reply struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := d.replies.Decode(&reply); err != nil {
		return err
	}
	if reply.Error != nil {
		return fmt.Errorf("%s: %s", method, reply.Error.Message)
	}
	return json.Unmarshal(reply.Result, result)
}

// fields are what sharkd is asked for, in the order of parse.
var fields = []string{
	"ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags",
	"tcp.seq_raw", "tcp.ack_raw", "tcp.window_size_value", "tcp.len",
	"tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.options.sack_perm",
	"tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr",
	"tcp.completeness", "communityid",
}

// dissect reads a capture.
func (d *sharkd) dissect(t testing.TB, file string) (all []Segment) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		if err := d.start(); err != nil {
			t.Fatalf("sharkd: %v", err)
		}
	}
	var loaded struct{ Status string }
	if err := d.ask("load", map[string]string{"file": file}, &loaded); err != nil || loaded.Status != "OK" {
		t.Fatalf("sharkd: load %s: %v %s", file, err, loaded.Status)
	}
	columns := map[string]string{}
	for i, f := range fields {
		columns[fmt.Sprintf("column%d", i)] = f + ":1"
	}
	var frames []struct{ C []string }
	if err := d.ask("frames", columns, &frames); err != nil {
		t.Fatalf("sharkd: frames of %s: %v", file, err)
	}
	for _, frame := range frames {
		s, err := parseSegment(frame.C)
		if err != nil {
			t.Fatalf("sharkd said %q: %v", frame.C, err)
		}
		all = append(all, s)
	}
	return all
}

// inParentheses is the number of "Complete, NO_DATA (23)".
func inParentheses(words string) string {
	_, last, _ := strings.Cut(words, "(")
	return strings.TrimSuffix(last, ")")
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
		Completeness: int(number(inParentheses(f[16]), -1)), CommunityID: f[17],
	}
	return s, err
}
