package output

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tcptrace/internal/schema"
)

func ptr[T any](v T) *T { return &v }

// madeReport is of a kernel that has some of everything.
func madeReport() *Report {
	const forbidden = "the kernel forbids fentry, though the capabilities are held (a hardened kernel, lockdown, a container)"
	return &Report{
		Schema: ReportSchema, Version: "v1", Possible: true, Attach: "auto", BTFFile: ptr("/boot/vmlinux"),
		Kernel:       Kernel{Release: "6.1.0", Machine: "x86_64", BTF: true, IPv6: true},
		Capabilities: Capabilities{Held: []string{"CAP_BPF", "CAP_PERFMON"}, Missing: []string{}},
		Facts: []Fact{
			{Name: "segments sent", Required: true, By: []Hook{{"kprobe", "__ip_local_out"}, {"kprobe", "ip6_xmit"}},
				Refused: []Refusal{
					{Hook{"fentry", "__ip_local_out"}, forbidden, "operation not permitted"},
					{Hook{"fentry", "ip6_xmit"}, forbidden, "operation not permitted"},
				}},
			{Name: "TIME_WAIT's end", By: []Hook{}, Refused: []Refusal{{Hook{"fexit", "inet_twsk_kill"}, "the kernel has no such function, or it was inlined", "fexit inet_twsk_kill not supported"}},
				Absence: ptr("polled once a second, no hook for it here")},
		},
	}
}

func TestReportText(t *testing.T) {
	var b bytes.Buffer
	if err := madeReport().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Linux 6.1.0 x86_64, BTF: yes, IPv6: yes
types from /boot/vmlinux
capabilities held: CAP_BPF, CAP_PERFMON; missing: none

FACT             TOLD BY
segments sent    kprobe __ip_local_out
                 kprobe ip6_xmit
                 (not by fentry __ip_local_out, fentry ip6_xmit: the kernel
                 forbids fentry, though the capabilities are held (a hardened
                 kernel, lockdown, a container))
TIME_WAIT's end  nothing: polled once a second, no hook for it here
                 (not by fexit inet_twsk_kill: the kernel has no such
                 function, or it was inlined)

Tracing is possible.
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestReportImpossible(t *testing.T) {
	r := madeReport()
	r.Possible, r.Facts, r.Error = false, []Fact{}, ptr(strings.Repeat("no BTF ", 20))
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "\nTracing is not possible: no BTF") || strings.Contains(b.String(), "FACT") {
		t.Errorf("got:\n%s", b.String())
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > reportWidth+1 || strings.HasSuffix(line, " \n") {
			t.Errorf("too long, or with blanks at its end: %q", line)
		}
	}
}

// TestReportJSON: what is made up keeps the published schema, and what breaks it is seen.
func TestReportJSON(t *testing.T) {
	meta := &Meta{
		Schema: MetaSchema, Version: "v1", PID: 5, Start: Timestamp(time.Unix(1, 0)), Check: *madeReport(), Kept: []string{"CAP_BPF"},
		Filters: Filters{Family: ptr("ipv6"), Ports: []string{"80", "8000-8100"}, LocalPorts: []string{}, RemotePorts: []string{},
			Addresses: []string{"10.0.0.0/8", "fd00::/64"}, Netns: []uint32{7}, PIDs: []uint32{1},
			UIDs: []uint32{1000}, Comms: []string{"curl"}, Cgroups: []uint64{42}, Command: []string{"curl", "-s"}, Segments: "control"},
	}
	line := func(m *Meta) []byte {
		var b bytes.Buffer
		if err := WriteJSON(&b, m); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(b.Bytes(), []byte("\n")) != 1 {
			t.Errorf("not one line: %q", b.String())
		}
		return b.Bytes()
	}
	if err := schema.ValidateReport(line(meta)); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if !bytes.Contains(line(meta), []byte(`"start":"1970-01-01T00:00:01.000000000Z"`)) {
		t.Errorf("start is not written with nine decimals: %s", line(meta))
	}
	meta.End = ptr(Timestamp(time.Unix(2, 5)))
	if schema.ValidateReport(line(meta)) == nil {
		t.Error("an end without totals passes")
	}
	meta.Totals = &Totals{Events: 3}
	if err := schema.ValidateReport(line(meta)); err != nil {
		t.Errorf("at the end: %v", err)
	}
	for what, broken := range map[string]func(*Report){
		"impossible without an error": func(r *Report) { r.Possible = false },
		"told, but absent":            func(r *Report) { r.Facts[0].Absence = ptr("x") },
		"not told, without words":     func(r *Report) { r.Facts[1].Absence = nil },
		"unknown kind":                func(r *Report) { r.Facts[0].By[0].Kind = "magic" },
		"null for a list":             func(r *Report) { r.Capabilities.Held = nil },
	} {
		r := madeReport()
		broken(r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if schema.ValidateReport(text) == nil {
			t.Errorf("%s passes", what)
		}
	}
}

// fieldNames are those of a struct's JSON, objects by what is in them, arrays of objects both ways.
func fieldNames(t reflect.Type, prefix string) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			names = append(names, fieldNames(f.Type, prefix)...)
			continue
		}
		name := prefix + f.Tag.Get("json")
		inner, isObject := f.Type, true
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner, isObject = inner.Elem(), false
		}
		if inner.Kind() != reflect.Struct || inner == reflect.TypeFor[Timestamp]() {
			names = append(names, name)
			continue
		}
		if !isObject || inner == reflect.TypeFor[Report]() {
			names = append(names, name)
		}
		if inner != reflect.TypeFor[Report]() {
			names = append(names, fieldNames(inner, name+".")...)
		}
	}
	return names
}

// TestReportIsDocumented: docs/json.md has each field, in order, and no other.
func TestReportIsDocumented(t *testing.T) {
	doc, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_0-9.]+)` \\|")
	for name, of := range map[string]reflect.Type{"check": reflect.TypeFor[Report](), "run": reflect.TypeFor[Meta]()} {
		_, rest, ok := strings.Cut(string(doc), "<!-- report: "+name+" -->")
		body, _, ok2 := strings.Cut(rest, "<!-- end -->")
		if !ok || !ok2 {
			t.Fatalf("%s has no place for %s", docPath, name)
		}
		var got []string
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		if want := fieldNames(of, ""); !slices.Equal(got, want) {
			t.Errorf("%s has of %s\n%v, want\n%v", docPath, name, got, want)
		}
	}
}
