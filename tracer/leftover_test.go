package tracer

import (
	"slices"
	"testing"
)

func TestLeftProbes(t *testing.T) {
	const text = "p:probes/mine tcp_v4_rcv\n" +
		"r4096:tcptrace_71_00ff00ff00ff00ff/inet_csk_accept inet_csk_accept\n" +
		"r4096:tcptrace_72_00ff00ff00ff00ff/inet_csk_accept inet_csk_accept\n" +
		"r4096:tcptrace_71_11ff00ff00ff00ff/tcp_v4_connect tcp_v4_connect\n" +
		"r:ebpf_71/inet_csk_accept inet_csk_accept\n" +
		"r:tcptrace/mine inet_csk_accept\n"
	left := leftProbes(text, func(pid int) bool { return pid == 72 })
	want := []string{"tcptrace_71_00ff00ff00ff00ff/inet_csk_accept", "tcptrace_71_11ff00ff00ff00ff/tcp_v4_connect"}
	if !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}
