package tracer

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestLockedDown: what the verifier says where lockdown forbids reading memory, as newer and older kernels word it, is no defect of the program.
func TestLockedDown(t *testing.T) {
	p := program{kind: Tracepoint, symbol: "kfree_skb"}
	for line, want := range map[string]string{
		"program of this type cannot use helper bpf_probe_read#4": "locked down",
		"unknown func bpf_probe_read_kernel#113":                  "locked down",
		"unknown func bpf_sock_from_file#162":                     "a helper function that this kernel lacks",
	} {
		err := loadError{&ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"0: (85) call", line}}}
		if got := why(p, err, &Report{BTF: true}); !strings.Contains(got, want) {
			t.Errorf("%s: %q", line, got)
		}
	}
	other := Refusal{Why: "other", Err: loadError{&ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"invalid bpf_context access"}}}}
	lockdown := Refusal{Why: "locked", Err: loadError{&ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"unknown func bpf_probe_read#4"}}}}
	all := &AttachError{What: "x", Refused: []Refusal{other, lockdown}}
	if !LockedDown(all) || !strings.Contains(all.Error(), "locked") {
		t.Errorf("of several, the first is told: %v", all)
	}
	if all.Refused = all.Refused[:1]; LockedDown(all) || !strings.Contains(all.Error(), "other") {
		t.Errorf("one that is no lockdown: %v", all)
	}
}
