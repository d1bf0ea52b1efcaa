package tracer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/gen"
)

// heldVariable has the test's own binary hold an open tracer until it is killed.
const heldVariable = "TCPTRACE_TEST_HOLD"

func TestMain(m *testing.M) {
	if os.Getenv(heldVariable) != "" {
		hold()
		return
	}
	os.Exit(m.Run())
}

func needBPF(t testing.TB) {
	t.Helper()
	if _, missing := Capabilities(); len(missing) > 0 {
		t.Skipf("needs root, or %s", strings.Join(missing, " and "))
	}
}

func open(t testing.TB, o Options) *Tracer {
	t.Helper()
	needBPF(t)
	if o.RingSize == 0 {
		o.RingSize = 1 << 20
	}
	o.Flows = 1024
	tr, err := Open(o)
	if err != nil {
		t.Fatalf("%v\n%s", err, VerifierLog(err))
	}
	return tr
}

// TestWhichKernelsCountMemlock: before 5.11, and who knows of one that does not say.
func TestWhichKernelsCountMemlock(t *testing.T) {
	for release, want := range map[string]bool{
		"5.10.0-46-cloud-amd64": true, "4.18.0-553.el8": true, "": true,
		"5.11.0": false, "5.14.0-427.el9.x86_64": false, "6.1.0-30-amd64": false, "7.2-rc1": false,
	} {
		if got := countsMemlock(release); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
}

// TestEveryProgramAttaches: on the kernels that the README lists, each fact has a program. A
// verifier that refuses one shows here.
func TestEveryProgramAttaches(t *testing.T) {
	tr := open(t, Options{})
	defer tr.Close()
	everyFact(t, tr)
}

// everyFact: only what functions alone tell may be missing, and only where the kernel lets none be hooked.
func everyFact(t *testing.T, tr *Tracer) {
	t.Helper()
	facts := tr.Report().Facts
	functions := slices.ContainsFunc(facts, func(f Fact) bool {
		return slices.ContainsFunc(f.By, func(h Hook) bool { return ofFunction(h.Kind) })
	})
	for _, f := range facts {
		alone := !slices.ContainsFunc(f.Refused, func(r Refusal) bool { return !ofFunction(r.Kind) })
		if !f.Told() && !f.NoProgram && (functions || !alone) {
			t.Errorf("nothing tells %s: %v", f.Name, f.Refused)
		}
	}
}

func ofFunction(k Kind) bool { return k.Mode() == Fentry || k.Mode() == Kprobe }

// TestFiltersPassTheVerifier: each filter is code of its own.
func TestFiltersPassTheVerifier(t *testing.T) {
	all := Filter{
		Family: 6, Ports: []PortRange{{1, 65535}}, LocalPorts: []PortRange{{80, 80}}, RemotePorts: []PortRange{{1, 2}, {5, 7}},
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/64")},
		Netns:     []uint32{1, 2, 3},
		Processes: Processes{PIDs: []uint32{1, 2}, FollowForks: true, UIDs: []uint32{0}, Comms: []string{"curl"}, Cgroups: []uint64{1}},
	}
	for _, segments := range []bool{false, true} {
		tr := open(t, Options{Filter: all, AllSegments: segments})
		everyFact(t, tr)
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
}

type collector struct {
	states []string
	port   uint16
	done   context.CancelFunc
}

func (c *collector) Event(e *events.Event) error {
	if e.Kind() == events.KindState && (e.Tuple().LocalPort == c.port || e.Tuple().RemotePort == c.port) {
		c.states = append(c.states, e.OldState().String()+">"+e.NewState().String())
		if e.NewState() == events.Close && e.OldState() == events.LastAck {
			c.done()
		}
	}
	return nil
}
func (c *collector) Lost(events.Loss) error { return errors.New("lost events") }
func (c *collector) Quiet(uint64) error     { return nil }

func TestRunReadsWhatHappens(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	tr := open(t, Options{Filter: Filter{Ports: []PortRange{{port, port}}}})
	defer tr.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := &collector{port: port, done: cancel}
	go func() {
		client, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		server, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		client.Close()
		_, _ = server.Read(make([]byte, 1))
		server.Close()
	}()
	if err := tr.Run(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := tr.Finish(c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CLOSE>SYN_SENT", "SYN_SENT>ESTABLISHED", "SYN_RECV>ESTABLISHED", "ESTABLISHED>FIN_WAIT1",
		"ESTABLISHED>CLOSE_WAIT", "CLOSE_WAIT>LAST_ACK", "LAST_ACK>CLOSE"} {
		if !strings.Contains(strings.Join(c.states, " "), want) {
			t.Errorf("no %s among %v", want, c.states)
		}
	}
	if s := tr.Stats(); s.Lost != 0 || s.Undecodable != 0 || s.Events == 0 {
		t.Errorf("stats: %+v", s)
	}
}

// programIDs are those that a process holds by a file descriptor, links included.
func programIDs(t *testing.T, pid int) (ids []ebpf.ProgramID) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fdinfo/", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		info, _ := os.ReadFile(dir + fd.Name())
		for line := range strings.Lines(string(info)) {
			if word, ok := strings.CutPrefix(line, "prog_id:"); ok {
				id, err := strconv.ParseUint(strings.TrimSpace(word), 10, 32)
				if err != nil {
					t.Fatalf("%s%s: %q", dir, fd.Name(), line)
				}
				ids = append(ids, ebpf.ProgramID(id))
			}
		}
	}
	return ids
}

// gone waits until the kernel has forgotten the programs: it frees them after a grace period.
func gone(t *testing.T, ids []ebpf.ProgramID) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		left := 0
		for _, id := range ids {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				p.Close()
				left++
			} else if !errors.Is(err, unix.ENOENT) {
				t.Fatal(err)
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d programs are still loaded", left, len(ids))
		}
		<-time.After(10 * time.Millisecond)
	}
}

// attachedOf is how many hooks of the table have a program.
func attachedOf(table []hook) (n int) {
	for _, h := range table {
		if len(h.ways) > 0 {
			n++
		}
	}
	return n
}

func TestCloseLeavesNothing(t *testing.T) {
	tr := open(t, Options{})
	ids := programIDs(t, os.Getpid())
	if len(ids) < attachedOf(hooks) {
		t.Fatalf("%d programs are loaded", len(ids))
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	gone(t, ids)
}

func TestKillLeavesNothing(t *testing.T) {
	needBPF(t)
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), heldVariable+"=1")
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "attached\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	ids := programIDs(t, child.Process.Pid)
	if len(ids) < attachedOf(hooks) {
		t.Fatalf("%d programs are loaded", len(ids))
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	gone(t, ids)
}

func hold() {
	tr, err := Open(Options{RingSize: 1 << 20, Flows: 1024})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("attached")
	_ = tr.Run(context.Background(), &collector{})
}

// TestDropReasons: the numbers differ by kernel, the names are the kernel's.
func TestDropReasons(t *testing.T) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Skipf("no BTF of the running kernel: %v", err)
	}
	names := dropReasons(kernel)
	if names == nil {
		t.Skip("this kernel has no enum skb_drop_reason (before 5.17)")
	}
	ignored := ignoredDrops(kernel)
	for number, name := range names {
		if number >= 256 {
			continue
		}
		got := ignored[number/64]>>(number%64)&1 == 1
		switch name {
		case "NETFILTER_DROP", "IP_RPFILTER", "QDISC_DROP", "NEIGH_FAILED", "TCP_CSUM", "SOCKET_BACKLOG", "TCP_LISTEN_OVERFLOW",
			"TCP_MD5NOTFOUND", "TCP_MD5UNEXPECTED", "TCP_MD5FAILURE", "TCP_AOFAILURE", "TCP_AUTH_HDR":
			if got {
				t.Errorf("%s is ignored", name)
			}
		case "NO_SOCKET", "QUEUE_PURGE", "TCP_RESET", "TCP_OLD_DATA", "SKB_CONSUMED", "NOT_SPECIFIED":
			if !got {
				t.Errorf("%s is no drop, but told as one", name)
			}
		}
	}
}

// TestResetReasons: as TestDropReasons, of what both kinds of RST are told to be for.
func TestResetReasons(t *testing.T) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Skipf("no BTF of the running kernel: %v", err)
	}
	names := (&Tracer{kernel: kernel}).ResetReasons()
	if names == nil {
		t.Skip("this kernel has no enum sk_rst_reason (before 6.10)")
	}
	all := slices.Collect(maps.Values(names))
	for _, want := range []string{"NO_SOCKET", "TCP_ABORT_ON_CLOSE", "TCP_ABORT_ON_DATA"} {
		if !slices.Contains(all, want) {
			t.Errorf("%s is not among %v", want, all)
		}
	}
}

func TestPortSet(t *testing.T) {
	set := newPortSet([]PortRange{{80, 80}, {1, 3}, {63, 64}, {65535, 65535}})
	for p := range 65536 {
		want := p == 80 || p >= 1 && p <= 3 || p == 63 || p == 64 || p == 65535
		if got := set[p/64]>>(p%64)&1 == 1; got != want {
			t.Errorf("port %d: %v, want %v", p, got, want)
		}
	}
}

func TestNetnsInode(t *testing.T) {
	inode, err := NetnsInode("/proc/self/ns/net")
	if err != nil || inode == 0 {
		t.Errorf("own namespace: %d, %v", inode, err)
	}
	for _, path := range []string{"/etc/passwd", "/proc/self/ns/mnt-is-not-there", "/proc/self/ns/mnt"} {
		if _, err := NetnsInode(path); err == nil {
			t.Errorf("%s passes for a network namespace", path)
		}
	}
}

// TestContract: the limits that Go repeats are those of the programs.
func TestContract(t *testing.T) {
	spec, err := gen.LoadBPF()
	if err != nil {
		t.Fatal(err)
	}
	if got := spec.Variables[gen.BPFVarNetnsWanted].Size(); got != 4*MaxNetns {
		t.Errorf("netns_wanted has %d bytes, MaxNetns is %d", got, MaxNetns)
	}
	if got := spec.Variables[gen.BPFVarPorts].Size(); got != 65536/8 {
		t.Errorf("ports has %d bytes", got)
	}
	if got := spec.Maps[gen.BPFMapAddresses].MaxEntries; got != MaxAddresses {
		t.Errorf("addresses holds %d, MaxAddresses is %d", got, MaxAddresses)
	}
	if got := spec.Maps[gen.BPFMapPids].MaxEntries; got != MaxPIDs {
		t.Errorf("pids holds %d, MaxPIDs is %d", got, MaxPIDs)
	}
}

// TestWithoutIPv6: what such a kernel's BTF lacks costs no program that serves IPv4.
func TestWithoutIPv6(t *testing.T) {
	needBPF(t)
	raw, err := os.ReadFile(ownBTF)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"skc_v6_daddr", "skc_v6_rcv_saddr", "rt6_info", "rt6i_flags"} {
		raw = bytes.ReplaceAll(raw, []byte("\x00"+name+"\x00"), []byte("\x00"+strings.Repeat("x", len(name))+"\x00"))
	}
	kernel, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := embedded()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := prepareSpec(spec, kernel, Options{RingSize: 1 << 16, Flows: 1024}, hooks)
	if err != nil {
		t.Fatal(err)
	}
	everyFact(t, tr)
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}
