package tracer

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"tcptrace/gen"
)

// fakeKernel attaches what is not refused, and knows what is attached.
type fakeKernel struct {
	refuses string // names of programs, separated by spaces
	held    []string
	tried   []string
}

type fakeLink struct {
	k    *fakeKernel
	name string
}

func (l fakeLink) Close() error {
	i := slices.Index(l.k.held, l.name)
	if i < 0 {
		return errors.New("closed twice")
	}
	l.k.held = slices.Delete(l.k.held, i, i+1)
	return nil
}

func (k *fakeKernel) try(p program) (io.Closer, error) {
	k.tried = append(k.tried, p.name)
	if slices.Contains(strings.Fields(k.refuses), p.name) {
		return nil, unix.EPERM
	}
	k.held = append(k.held, p.name)
	return fakeLink{k, p.name}, nil
}

// TestBeginAndReturn: of one function are no alternatives, neither does without the other.
func TestBeginAndReturn(t *testing.T) {
	table := []hook{{fact: "errors", ways: []way{{{Kprobe, "connect", "begin"}, {Kretprobe, "connect", "return"}}}}}
	for refuses, want := range map[string]string{"": "begin return", "return": "", "begin": ""} {
		k := &fakeKernel{refuses: refuses}
		a := attaching{try: k.try, explain: func(program, error) string { return "no" }}
		a.run(table)
		if got := strings.Join(k.held, " "); got != want {
			t.Errorf("attached %q where %q is refused, want %q", got, refuses, want)
		}
	}
}

// functions is a table as one with functions looks like.
var functions = []hook{
	{fact: "states", required: true, ways: []way{{{Tracepoint, "set_state", "states"}}}},
	{fact: "sent", required: true, segments: true, ways: []way{
		{
			{Fentry, "__ip_local_out", "out.f"}, {Kprobe, "__ip_local_out", "out.k"},
			{Fentry, "ip6_xmit", "out6.f"}, {Kprobe, "ip6_xmit", "out6.k"},
		},
		{{Tracepoint, "net_dev_queue", "out.t"}},
	}},
	{fact: "received", required: true, segments: true, ways: []way{
		{
			{Fentry, "tcp_v4_rcv", "in.f"}, {Kprobe, "tcp_v4_rcv", "in.k"},
			{Fentry, "tcp_v6_rcv", "in6.f"}, {Kprobe, "tcp_v6_rcv", "in6.k"},
		},
		{{Tracepoint, "netif_receive_skb", "in.t"}},
	}},
	{fact: "TIME_WAIT's end", ways: []way{{{Fexit, "inet_twsk_kill", "end.f"}, {Kretprobe, "inet_twsk_kill", "end.k"}}}},
	{fact: "not built"},
}

func TestAttaching(t *testing.T) {
	const allFentry, allKprobe = "out.f out6.f in.f in6.f end.f", "out.k out6.k in.k in6.k end.k"
	for _, c := range []struct {
		name    string
		refuses string
		mode    Kind
		noIPv6  bool
		want    string // attached in the end, sorted
		err     string // part of what possible says
	}{
		{name: "all there is", want: "end.f in.f in6.f out.f out6.f states"},
		{name: "no fentry", refuses: allFentry, want: "end.k in.k in6.k out.k out6.k states"},
		{name: "7 arguments", refuses: "out6.f", want: "end.f in.f in6.f out.f out6.k states"},
		{name: "neither", refuses: allFentry + " " + allKprobe, want: "in.t out.t states"},
		{name: "one missing function takes all segments to tracepoints", refuses: "in.f in.k", want: "end.f in.t out.t states"},
		{name: "one missing of IPv6, which is there", refuses: "in6.f in6.k", want: "end.f in.t out.t states"},
		{name: "no IPv6", refuses: "in6.f in6.k out6.f out6.k", noIPv6: true, want: "end.f in.f out.f states"},
		{name: "unlike where not otherwise", refuses: "in.f in.k out.t", want: "end.f in.t out.f out6.f states"},
		{name: "forced fentry", mode: Fentry, want: "end.f in.f in6.f out.f out6.f states"},
		{name: "forced kprobe", mode: Kprobe, want: "end.k in.k in6.k out.k out6.k states"},
		{name: "forced tracepoint", mode: Tracepoint, want: "in.t out.t states"},
		{name: "forced fentry, refused", mode: Fentry, refuses: allFentry, want: "states",
			err: "cannot attach to anything by fentry: fentry __ip_local_out: no (and 4 more"},
		{name: "forced fentry, 7 arguments", mode: Fentry, refuses: "out6.f", want: "end.f in.f in6.f states",
			err: "cannot attach to sent: fentry ip6_xmit: no"},
		{name: "required", refuses: "states", want: "end.f in.f in6.f out.f out6.f", err: "cannot attach to states: tracepoint set_state: no"},
		{name: "nothing", refuses: allFentry + " " + allKprobe + " in.t out.t", want: "states", err: "cannot attach to sent: fentry __ip_local_out: no (and 4 more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &fakeKernel{refuses: c.refuses}
			a := attaching{mode: c.mode, ipv6: !c.noIPv6, try: k.try, explain: func(program, error) string { return "no" }}
			facts, all := a.run(functions)
			slices.Sort(k.held)
			if got := strings.Join(k.held, " "); got != c.want {
				t.Errorf("attached %s, want %s", got, c.want)
			}
			var names []string
			for _, it := range all {
				names = append(names, it.name)
			}
			if slices.Sort(names); !slices.Equal(names, k.held) {
				t.Errorf("%v are told of as attached", names)
			}
			for _, name := range strings.Fields(c.refuses) {
				if n := len(slices.DeleteFunc(slices.Clone(k.tried), func(s string) bool { return s != name })); n > 1 {
					t.Errorf("%s was tried %d times", name, n)
				}
			}
			err := possible(facts, c.mode)
			switch {
			case c.err == "" && err != nil:
				t.Errorf("error %v", err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %s", err, c.err)
			case err != nil && !errors.Is(err, unix.EPERM):
				t.Errorf("the kernel's error is not among %v", err)
			}
		})
	}
}

// TestAside: what was given up for the others' sake is told.
func TestAside(t *testing.T) {
	k := &fakeKernel{refuses: "in.f in.k"}
	a := attaching{ipv6: true, try: k.try, explain: func(program, error) string { return "no" }}
	facts, _ := a.run(functions)
	var said []string
	for _, r := range facts[1].Refused {
		said = append(said, r.String())
	}
	const aside = ": it would attach, but other segments' hooks of its kind do not"
	if want := []string{"fentry __ip_local_out" + aside, "fentry ip6_xmit" + aside}; !slices.Equal(said, want) {
		t.Errorf("refused %q, want %q", said, want)
	}
	if f := facts[len(facts)-1]; f.Told() || !f.NoProgram {
		t.Errorf("a fact without programs: %+v", f)
	}
}

// TestLeftOut: a fact that another kind than the one asked for would tell says so.
func TestLeftOut(t *testing.T) {
	k := &fakeKernel{}
	a := attaching{mode: Tracepoint, ipv6: true, try: k.try}
	facts, _ := a.run(functions)
	end, sent := facts[3], facts[1]
	if end.Told() || len(end.Refused) != 2 || end.Refused[0].String() != "fexit inet_twsk_kill: left out, tracepoint was asked for" {
		t.Errorf("%+v", end)
	}
	if !sent.Told() || len(sent.Refused) != 0 {
		t.Errorf("%+v", sent)
	}
}

func TestNoSuchProgramYet(t *testing.T) {
	k := &fakeKernel{}
	a := attaching{mode: Kprobe, ipv6: true, try: k.try}
	facts, _ := a.run(functions[:1])
	err := possible(facts, Kprobe)
	const want = "cannot attach to anything by kprobe: tcptrace has no program for it"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// made is a program that does nothing, as another hook's.
func made(kind ebpf.ProgramType, at ebpf.AttachType, to string) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{Type: kind, AttachType: at, AttachTo: to, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}}
}

// TestRefusals: a made-up table on the running kernel. What is not there costs itself alone, and its reason is
// in words. Whether fentry and kprobes work is this kernel's matter.
func TestRefusals(t *testing.T) {
	needBPF(t)
	spec, err := gen.LoadBPF()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*ebpf.ProgramSpec{
		"f.gone":   made(ebpf.Tracing, ebpf.AttachTraceFEntry, "no_such_function"),
		"f.there":  made(ebpf.Tracing, ebpf.AttachTraceFEntry, "tcp_v4_rcv"),
		"x.there":  made(ebpf.Tracing, ebpf.AttachTraceFExit, "tcp_v4_rcv"),
		"f.seven":  made(ebpf.Tracing, ebpf.AttachTraceFEntry, "ip6_xmit"),
		"k.there":  made(ebpf.Kprobe, ebpf.AttachNone, ""),
		"r.there":  made(ebpf.Kprobe, ebpf.AttachNone, ""),
		"k.gone":   made(ebpf.Kprobe, ebpf.AttachNone, ""),
		"t.gone":   made(ebpf.Tracing, ebpf.AttachTraceRawTp, "no_such_tracepoint"),
		"t.there":  made(ebpf.Tracing, ebpf.AttachTraceRawTp, "tcp_destroy_sock"),
		"i.gone":   made(ebpf.Tracing, ebpf.AttachTraceIter, "no_such_iterator"),
		"t.broken": made(ebpf.Tracing, ebpf.AttachTraceRawTp, "tcp_destroy_sock"),
	} {
		p.Name = strings.ReplaceAll(name, ".", "_")
		spec.Programs[name] = p
	}
	// The tracepoint has one argument: the eighth is no word of it.
	spec.Programs["t.broken"].Instructions = asm.Instructions{asm.LoadMem(asm.R0, asm.R1, 64, asm.DWord), asm.Return()}
	kernel, err := kernelTypes("")
	if err != nil {
		t.Fatal(err)
	}
	table := []hook{
		{fact: "one", ways: []way{
			{{Fentry, "no_such_function", "f.gone"}, {Kprobe, "no_such_function", "k.gone"}},
			{{Tracepoint, "no_such_tracepoint", "t.gone"}},
			{{Tracepoint, "tcp_destroy_sock", "t.broken"}},
			{{Iterator, "no_such_iterator", "i.gone"}},
		}},
		{fact: "two", ways: []way{
			{{Tracepoint, "no_such_tracepoint", "t.gone"}},
			{{Tracepoint, "tcp_destroy_sock", "t.there"}},
		}},
		{fact: "fentry", ways: []way{{{Fentry, "tcp_v4_rcv", "f.there"}}}},
		{fact: "fexit", ways: []way{{{Fexit, "tcp_v4_rcv", "x.there"}}}},
		{fact: "kprobe", ways: []way{{{Kprobe, "tcp_v4_rcv", "k.there"}}}},
		{fact: "kretprobe", ways: []way{{{Kretprobe, "tcp_v4_rcv", "r.there"}}}},
		{fact: "7 arguments", ways: []way{{{Fentry, "ip6_xmit", "f.seven"}}}},
	}
	tr, err := prepareSpec(spec, kernel, Options{RingSize: 1 << 16, Flows: 64}, table)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	facts := tr.Report().Facts
	if facts[0].Told() || len(facts[0].Refused) != 5 {
		t.Fatalf("%+v", facts[0])
	}
	noKprobe := "the kernel has no" // kprobes, or function
	if perfParanoid() > 2 && !has(cap.GetProc(), cap.SYS_ADMIN) {
		noKprobe = "perf_event_paranoid"
	}
	for i, want := range []string{"no such function", noKprobe, "no such tracepoint",
		"fewer arguments are there", "no such iterator"} {
		t.Logf("%s (%v)", facts[0].Refused[i], facts[0].Refused[i].Err)
		if r := facts[0].Refused[i]; !strings.Contains(r.Why, want) || r.Err == nil {
			t.Errorf("%s (%v), want %q", r, r.Err, want)
		}
	}
	if by := facts[1].By; !slices.Equal(by, []Hook{{Tracepoint, "tcp_destroy_sock"}}) || len(facts[1].Refused) != 1 {
		t.Errorf("%+v", facts[1])
	}
	for _, f := range facts[2:] {
		if f.Told() {
			t.Logf("%s: told by %v", f.Name, f.By)
			continue
		}
		if len(f.Refused) != 1 {
			t.Errorf("%+v", f)
			continue
		}
		r := f.Refused[0]
		t.Logf("%s: %s (%v)", f.Name, r, r.Err)
		if strings.Contains(r.Why, "no such") || r.Why == "the kernel refuses it" {
			t.Errorf("%s is there, but it is said: %s (%v)", f.Name, r, r.Err)
		}
	}
}

// TestTable: each program exists, belongs where the table says, and is of that kind; none is forgotten.
func TestTable(t *testing.T) {
	spec, err := embedded()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[Kind]ebpf.AttachType{Fentry: ebpf.AttachTraceFEntry, Fexit: ebpf.AttachTraceFExit,
		Tracepoint: ebpf.AttachTraceRawTp, Iterator: ebpf.AttachTraceIter}
	used := map[string]bool{gen.BPFProgOnTask: true} // run once, of itself
	for _, h := range (&Filter{}).table(true) {
		if h.fact == "" || h.absence == "" {
			t.Errorf("%+v lacks words", h)
		}
		for _, w := range h.ways {
			for _, p := range w {
				used[p.name] = true
				s := spec.Programs[p.name]
				if s == nil {
					t.Errorf("%s: there is no program %q", h.fact, p.name)
					continue
				}
				if s.AttachTo != p.symbol {
					t.Errorf("%s is for %s, the table says %s", p.name, s.AttachTo, p.symbol)
				}
				if p.kind.Mode() == Kprobe {
					if want := string(p.kind) + "/" + p.symbol; s.SectionName != want {
						t.Errorf("%s is %s, the table says %s", p.name, s.SectionName, want)
					}
				} else if s.AttachType != kinds[p.kind] {
					t.Errorf("%s is %s, the table says %s", p.name, s.AttachType, p.kind)
				}
			}
		}
	}
	for name := range spec.Programs {
		if !used[name] {
			t.Errorf("the table lacks %s", name)
		}
	}
}
