// Package lab makes test hosts out of network namespaces, drops chosen
// packets between them, captures what passes and runs the tracer beside it. It
// is for tests as root; without what it needs, it skips and says what is missing.
package lab

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait for a condition, on an emulated machine too.
const patience = 2 * time.Minute

var serial atomic.Uint32

// Need skips the test unless it runs as root and the commands are there.
func Need(t testing.TB, commands ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and BPF")
	}
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("needs the command %s, which is not installed", c)
		}
	}
}

// NeedOwnKernel skips the test unless the kernel is the tests' own (.ci/vm); why says what it changes.
func NeedOwnKernel(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("TCPTRACE_VM") == "" {
		t.Skipf("needs a kernel of its own (make test-kernels): %s", why)
	}
}

// Eventually waits for a condition, at most patience, and fails the test if it does not come true.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Run runs a command and fails the test if that fails.
func Run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// Host is a network namespace with loopback up.
type Host struct {
	t    testing.TB
	Name string
}

// NewHost makes a host, which goes with the test.
func NewHost(t testing.TB) *Host {
	t.Helper()
	Need(t, "ip")
	h := &Host{t: t, Name: fmt.Sprintf("tt%d-%d", os.Getpid(), serial.Add(1))}
	Run(t, "ip", "netns", "add", h.Name)
	t.Cleanup(func() { Run(t, "ip", "netns", "del", h.Name) })
	// Link-local addresses are usable at once: no second's wait for duplicates.
	h.Sysctl("net.ipv6.conf.default.accept_dad", "0")
	h.Sysctl("net.ipv6.conf.all.accept_dad", "0")
	Run(t, "ip", "-n", h.Name, "link", "set", "lo", "up")
	return h
}

// Path is the namespace's file.
func (h *Host) Path() string { return "/run/netns/" + h.Name }

// Inode is the namespace's number.
func (h *Host) Inode() uint64 {
	h.t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(h.Path(), &s); err != nil {
		h.t.Fatalf("stat %s: %v", h.Path(), err)
	}
	return s.Ino
}

// Exec runs a command on the host.
func (h *Host) Exec(name string, args ...string) {
	h.t.Helper()
	Run(h.t, "ip", append([]string{"netns", "exec", h.Name, name}, args...)...)
}

// Sysctl sets a variable of the host's network, where the kernel has it.
func (h *Host) Sysctl(name, value string) {
	h.t.Helper()
	h.Do(func() {
		// /proc/sys/net is that of the thread's namespace.
		path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil && !os.IsNotExist(err) {
			h.t.Errorf("sysctl %s: %v", name, err)
		}
	})
}

// Do calls f on a thread inside the namespace: a socket made there belongs there for good.
func (h *Host) Do(f func()) {
	h.t.Helper()
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine, and its namespace with it.
		runtime.LockOSThread()
		fd, err := unix.Open(h.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if failed = err; err == nil {
			f()
		}
	}()
	<-done
	if failed != nil {
		h.t.Fatalf("enter %s: %v", h.Name, failed)
	}
}

// HoldNeighbors keeps the host from asking for its neighbours' link-layer addresses: what it
// sends to new ones waits until Neighbor names them, or 3 seconds.
func (h *Host) HoldNeighbors() {
	h.t.Helper()
	Need(h.t, "nft")
	h.Exec("nft", "add table arp hold; add chain arp hold c { type filter hook output priority 0; policy drop; }; "+
		"add table ip6 hold; add chain ip6 hold c { type filter hook output priority 0; }; "+
		"add rule ip6 hold c icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop")
}

// Neighbor tells the host the link-layer address behind an address of another's device.
func (h *Host) Neighbor(addr netip.Addr, dev string, of *Host, ofDev string) {
	h.t.Helper()
	out, err := exec.Command("ip", "netns", "exec", of.Name, "cat", "/sys/class/net/"+ofDev+"/address").Output()
	if err != nil {
		h.t.Fatalf("link-layer address of %s: %v", ofDev, err)
	}
	Run(h.t, "ip", "-n", h.Name, "neigh", "replace", addr.String(), "lladdr", strings.TrimSpace(string(out)),
		"nud", "permanent", "dev", dev)
}

// ForgetNeighbor has the host forget the link-layer address behind an address.
func (h *Host) ForgetNeighbor(addr netip.Addr, dev string) {
	h.t.Helper()
	Run(h.t, "ip", "-n", h.Name, "neigh", "del", addr.String(), "dev", dev)
}

// Drop is a rule that drops packets.
type Drop struct {
	h     *Host
	table string
}

// Drop drops the first n packets that match the nftables expression at the hook, input or
// output; n 0 means all, until Remove.
func (h *Host) Drop(hook, match string, n int) *Drop {
	h.t.Helper()
	Need(h.t, "nft")
	d := &Drop{h, fmt.Sprintf("drop%d", serial.Add(1))}
	limit := ""
	if n > 0 {
		// A bucket of n that is not filled again within the test.
		limit = fmt.Sprintf("limit rate 1/day burst %d packets ", n)
	}
	h.Exec("nft", fmt.Sprintf("add table inet %s; add chain inet %s c { type filter hook %s priority 0; }; add rule inet %s c %s %scounter drop",
		d.table, d.table, hook, d.table, match, limit))
	return d
}

// Hits waits until the rule has dropped n packets.
func (d *Drop) Hits(n int) {
	d.h.t.Helper()
	Eventually(d.h.t, fmt.Sprintf("%d packets were dropped", n), func() bool { return d.count() >= n })
}

// count is the rule's counter.
func (d *Drop) count() int {
	out, err := exec.Command("ip", "netns", "exec", d.h.Name, "nft", "list", "table", "inet", d.table).Output()
	_, after, ok := strings.Cut(string(out), "counter packets ")
	if err != nil || !ok {
		return 0
	}
	word, _, _ := strings.Cut(after, " ")
	hits, _ := strconv.Atoi(word)
	return hits
}

// Count counts the packets that match the nftables expression at the hook, after what Drop drops.
func (h *Host) Count(hook, match string) (count func() int) {
	h.t.Helper()
	Need(h.t, "nft")
	d := &Drop{h, fmt.Sprintf("count%d", serial.Add(1))}
	h.Exec("nft", fmt.Sprintf("add table inet %s; add chain inet %s c { type filter hook %s priority 10; }; add rule inet %s c %s counter",
		d.table, d.table, hook, d.table, match))
	return d.count
}

// Remove takes the rule away.
func (d *Drop) Remove() {
	d.h.t.Helper()
	d.h.Exec("nft", "delete", "table", "inet", d.table)
}

// Socket is a line of the host's /proc/net/tcp or tcp6: the kernel's own word, which
// also TIME_WAIT and request sockets are in.
type Socket struct {
	Local, Remote netip.AddrPort
	State         int // the kernel's TCP_* number
}

// Sockets are the host's TCP sockets that have to do with a port.
func (h *Host) Sockets(port uint16) (all []Socket) {
	h.t.Helper()
	h.Do(func() {
		for _, name := range []string{"tcp", "tcp6"} {
			f, err := os.Open("/proc/thread-self/net/" + name)
			if err != nil {
				continue // no IPv6
			}
			for lines := bufio.NewScanner(f); lines.Scan(); {
				s, err := parseSocket(lines.Text())
				if err == nil && (s.Local.Port() == port || s.Remote.Port() == port) {
					all = append(all, s)
				}
			}
			f.Close()
		}
	})
	return all
}

// parseSocket reads a line of /proc/net/tcp; the heading is an error.
func parseSocket(line string) (s Socket, err error) {
	fields := strings.Fields(line)
	if len(fields) < 4 {
		return s, fmt.Errorf("line %q", line)
	}
	if s.Local, err = parseProcAddr(fields[1]); err != nil {
		return s, err
	}
	if s.Remote, err = parseProcAddr(fields[2]); err != nil {
		return s, err
	}
	state, err := strconv.ParseUint(fields[3], 16, 8)
	s.State = int(state)
	return s, err
}

// parseProcAddr reads "0100007F:1F90": words in host byte order, port in hexadecimal.
func parseProcAddr(s string) (netip.AddrPort, error) {
	word, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(word)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", s, err)
	}
	for i := 0; i+3 < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	addr, ok := netip.AddrFromSlice(b)
	p, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q", s)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), nil
}
