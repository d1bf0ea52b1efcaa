// Package gen holds what bpf2go makes of bpf/: the compiled programs and the Go
// types of their records and maps. Everything but this file is generated and
// committed, so that building needs no clang; `make generate` makes it anew.
package gen

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -target amd64,arm64 -type event -type tuple -type counters -type change -type earlier -type earlier_note -type close_call -type told_icmp -type queues -type retransmit_kind -type listed_process -type loss -type address_prefix -type event_kind -type owner_source -type event_note BPF ../bpf/tcptrace.bpf.c -- -O2 -mcpu=v3 -Wall -Werror -I../bpf/include
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -target amd64,arm64 Copying ../bpf/copying.bpf.c -- -O2 -mcpu=v3 -Wall -Werror -I../bpf/include
