package tracer

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tcptrace/events"
	"tcptrace/internal/lab"
)

// BenchmarkHooks reports what each program takes at its hook, by the kernel's own account (bpf_stats): for
// every symbol that ran ":ns" and ":runs" per operation, ":empty-ns" of a program that does nothing at the same
// hook in the same time, and ":told" events per run. The names are MODE/LOAD. The time of an operation is of no use:
// keeping the account is in it.
func BenchmarkHooks(b *testing.B) {
	needBPF(b)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	for _, mode := range []Kind{Fentry, Kprobe, Tracepoint} {
		b.Run(string(mode), func(b *testing.B) {
			for _, l := range loads {
				b.Run(l.name, func(b *testing.B) { measureHooks(b, mode, l.load) })
			}
		})
	}
}

var loads = []struct {
	name string
	load func(b *testing.B, listener int) error
}{
	// Each segment controls the connection, and is told.
	{"connections", connections},
	// None is: what is left of the connection's own is not worth counting.
	{"requests", requests},
	{"bulk", bulk},
}

// BenchmarkPath is each load as a whole, its names are MODE/LOAD too: what the way into a program takes, which the
// kernel's account leaves out, is in it. Nobody reads the ring. It is for a guest whose clock counts
// instructions (.ci/count-hooks): elsewhere the differences are smaller than the noise. Each way takes
// a process of its own: in one, connections took five times as long for those after the first.
func BenchmarkPath(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	for _, mode := range []Kind{"untraced", Fentry, Kprobe, Tracepoint} {
		b.Run(string(mode), func(b *testing.B) {
			if mode != "untraced" {
				defer closeAll(b, openBy(b, mode))
			}
			settle()
			for _, l := range loads {
				b.Run(l.name, func(b *testing.B) { onItsOwn(b, l.load) })
			}
		})
	}
}

// settle lets what loading the programs has left behind be done before anything is measured: garbage here and in
// the kernel. Where the clock counts instructions, an idle processor's time is skipped.
func settle() {
	debug.FreeOSMemory()
	<-time.After(5 * time.Second)
}

// openBy skips where the kernel cannot attach in that way.
func openBy(b *testing.B, mode Kind) *Tracer {
	b.Helper()
	needBPF(b)
	tr, err := Open(Options{RingSize: 16 << 20, Flows: 1 << 17, Attach: mode})
	var refused *AttachError
	if errors.As(err, &refused) {
		b.Skipf("needs a kernel that can attach by %s: %v", mode, err)
	}
	if err != nil {
		b.Fatal(err)
	}
	return tr
}

// onItsOwn runs the load on a host that has no other.
func onItsOwn(b *testing.B, load func(*testing.B, int) error) {
	b.Helper()
	host := lab.NewHost(b)
	host.Sysctl("net.ipv4.ip_local_port_range", "1024 65535")
	var err error
	host.Do(func() {
		var listener int
		if listener, err = listen(); err == nil {
			err = errors.Join(load(b, listener), unix.Close(listener))
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}

// toldBy is the kind of event that a fact's programs tell.
var toldBy = map[string]events.Kind{
	"dropped segments":  events.KindDrop,
	"TIME_WAIT's end":   events.KindTimeWaitEnd,
	"reading process":   events.KindOwner,
	"accept()":          events.KindAccept,
	"state changes":     events.KindState,
	"segments sent":     events.KindTransmit,
	"segments received": events.KindReceive,
}

// eventCounter is a Handler that does next to nothing.
type eventCounter map[events.Kind]int

func (c eventCounter) Event(e *events.Event) error { c[e.Kind()]++; return nil }
func (c eventCounter) Lost(events.Loss) error      { return nil } // Stats has them
func (c eventCounter) Quiet(uint64) error          { return nil }

// measured is a program and, beside it, one that does nothing.
type measured struct {
	symbol      string
	kind        events.Kind
	real, empty *ebpf.Program
}

func measureHooks(b *testing.B, mode Kind, load func(*testing.B, int) error) {
	tr := openBy(b, mode)
	defer tr.Close()
	pairs := besideEmpty(b, tr)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Skipf("needs a kernel that can account for BPF programs (5.8): %v", err)
	}
	defer stats.Close()

	counted := eventCounter{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(ctx, counted) }()

	onItsOwn(b, load)
	runs := b.N
	for i := range pairs {
		pairs[i].report(b, runs)
	}
	cancel()
	if err := errors.Join(<-ended, tr.Finish(counted)); err != nil {
		b.Fatal(err)
	}
	all := tr.Stats()
	b.ReportMetric(float64(all.Lost), "lost-events")
	b.ReportMetric(float64(all.Missed), "missed-runs")
	for _, p := range pairs {
		if s, err := p.real.Stats(); err == nil && s.RunCount > 0 {
			b.ReportMetric(float64(counted[p.kind])/float64(s.RunCount), p.symbol+":told")
		}
	}
}

// besideEmpty attaches, for each of the tracer's programs at events' hooks, one that does nothing.
func besideEmpty(b *testing.B, tr *Tracer) (pairs []measured) {
	b.Helper()
	next := 0 // t.programs are in the order of the facts' hooks
	for _, f := range tr.facts {
		for _, h := range f.By {
			real := tr.programs[next]
			next++
			if h.Kind == Iterator {
				continue
			}
			var spec *ebpf.ProgramSpec
			switch h.Kind {
			case Fentry:
				spec = made(ebpf.Tracing, ebpf.AttachTraceFEntry, h.Symbol)
			case Fexit:
				spec = made(ebpf.Tracing, ebpf.AttachTraceFExit, h.Symbol)
			case Tracepoint:
				spec = made(ebpf.Tracing, ebpf.AttachTraceRawTp, h.Symbol)
			case RawTracepoint:
				spec = made(ebpf.RawTracepoint, ebpf.AttachNone, "")
			default:
				spec = made(ebpf.Kprobe, ebpf.AttachNone, "")
			}
			empty, err := ebpf.NewProgram(spec)
			if err != nil {
				b.Fatalf("empty program for %v: %v", h, err)
			}
			l, err := program{kind: h.Kind, symbol: h.Symbol}.attach(empty)
			if err != nil {
				b.Fatalf("empty program at %v: %v", h, err)
			}
			b.Cleanup(func() { closeAll(b, l, empty) })
			pairs = append(pairs, measured{h.Symbol, toldBy[f.Name], real, empty})
		}
	}
	return pairs
}

func closeAll(b *testing.B, all ...io.Closer) {
	for _, c := range all {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	}
}

func (m *measured) report(b *testing.B, operations int) {
	b.Helper()
	real, err := m.real.Stats()
	if err != nil {
		b.Fatal(err)
	}
	empty, err := m.empty.Stats()
	if err != nil {
		b.Fatal(err)
	}
	if real.RunCount == 0 || empty.RunCount == 0 {
		return
	}
	perRun := func(s *ebpf.ProgramStats) float64 { return float64(s.Runtime) / float64(s.RunCount) }
	b.ReportMetric(perRun(real), m.symbol+":ns")
	b.ReportMetric(perRun(empty), m.symbol+":empty-ns")
	b.ReportMetric(float64(real.RunCount)/float64(operations), m.symbol+":runs")
}

const costPort = 7777

func listen() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: costPort}); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, unix.Listen(fd, 128)
}

// connect opens a connection to one of many addresses, each with ports of its own.
func connect(n int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	to := &unix.SockaddrInet4{Port: costPort, Addr: [4]byte{127, 0, byte(n/250) % 4, byte(n%250) + 1}}
	if err := unix.Connect(fd, to); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// connections are opened and closed, and carry nothing.
func connections(b *testing.B, listener int) error {
	served := make(chan error, 1)
	last := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		var buf [1]byte
		for {
			fd, _, err := unix.Accept(listener)
			if err == nil {
				_, err = unix.Read(fd, buf[:]) // until the client closes
				err = errors.Join(err, unix.Close(fd))
			}
			select {
			case <-last:
				served <- err
				return
			default:
			}
			if err != nil {
				served <- err
				return
			}
		}
	}()
	n := 0
	once := func() error {
		fd, err := connect(n)
		n++
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
	for b.Loop() {
		if err := once(); err != nil {
			return err
		}
	}
	close(last)
	return errors.Join(once(), <-served)
}

// connection is one, and both its ends.
func connection(listener int) (client, server int, err error) {
	if client, err = connect(0); err != nil {
		return
	}
	server, _, err = unix.Accept(listener)
	return
}

// requests of one byte are answered with one, on one connection.
func requests(b *testing.B, listener int) error {
	client, server, err := connection(listener)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	go func() {
		runtime.LockOSThread()
		defer unix.Close(server)
		var buf [1]byte
		for {
			if n, err := unix.Read(server, buf[:]); n != 1 || err != nil {
				return
			}
			if _, err := unix.Write(server, buf[:]); err != nil {
				return
			}
		}
	}()
	var buf [1]byte
	for b.Loop() {
		if _, err := unix.Write(client, buf[:]); err != nil {
			return err
		}
		if n, err := unix.Read(client, buf[:]); n != 1 || err != nil {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
	}
	return nil
}

// bulk is a stream one way, in the pieces in which iperf3 writes and reads.
func bulk(b *testing.B, listener int) error {
	const piece = 128 << 10
	client, server, err := connection(listener)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	go func() {
		runtime.LockOSThread()
		defer unix.Close(server)
		buf := make([]byte, piece)
		for {
			if n, err := unix.Read(server, buf); n <= 0 || err != nil {
				return
			}
		}
	}()
	data := make([]byte, piece)
	b.SetBytes(piece)
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			n, err := unix.Write(client, rest)
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}
