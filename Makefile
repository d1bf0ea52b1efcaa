# `make` alone prints the targets: the text after each ##.
.DEFAULT_GOAL := help

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
BIN     ?= bin/tcptrace
# Only where the user is not root and sudo exists.
SUDO    := $(if $(filter-out 0,$(shell id -u)),$(shell command -v sudo))

# What tests compare with, and build their networks from; each as COMMAND:PACKAGE.
TEST_TOOLS  := ip:iproute2 ss:iproute2 nft:nftables tcpdump:tcpdump sharkd:wireshark-common tmux:tmux chromium:chromium \
	/usr/share/bash-completion/bash_completion:bash-completion
VM_TOOLS    := qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
BENCH_TOOLS := tcpdump:tcpdump tcpstates:libbpf-tools tcplife:libbpf-tools bpftrace:bpftrace
HOOK_TOOLS  := iperf3:iperf3 ip:iproute2
BPF_TOOLS   := clang-19:clang-19 llvm-strip-19:llvm-19 /usr/include/bpf/bpf_helpers.h:libbpf-dev

# Packages that need no root and touch no kernel: these run under the race detector too.
PURE = $(shell $(GO) list ./... | grep -vE '/(endtoend|gen|tracer|internal/lab)(/|$$)')

.PHONY: help
help: ## print this list
	@echo 'make TARGET [VARIABLE=VALUE ...]'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

.PHONY: run
run: build ## build and start the tracer; ARGS="-P 443" passes flags
	@$(SUDO) ./bin/tcptrace $(ARGS)

.PHONY: build
build: ## build bin/tcptrace
	@CGO_ENABLED=0 $(GO) build -o $(BIN) ./cmd/tcptrace

# What is installed, below DESTDIR and PREFIX; all but the program is what the program itself prints.
INSTALLED = bin/tcptrace share/man/man8/tcptrace.8 share/bash-completion/completions/tcptrace \
	share/zsh/site-functions/_tcptrace share/fish/vendor_completions.d/tcptrace.fish

.PHONY: install
install: build ## install the program, its man page and completions into PREFIX (/usr/local)
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/tcptrace
	@cd $(DESTDIR)$(PREFIX) && install -d $(dir $(INSTALLED)) && umask 022 && \
	bin/tcptrace --man >share/man/man8/tcptrace.8 && \
	bin/tcptrace --completion bash >share/bash-completion/completions/tcptrace && \
	bin/tcptrace --completion zsh >share/zsh/site-functions/_tcptrace && \
	bin/tcptrace --completion fish >share/fish/vendor_completions.d/tcptrace.fish

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,$(INSTALLED))

.PHONY: test
test: ## run every test this machine can; as root also those on the live kernel
	@.ci/need $(TEST_TOOLS)
	@[ "$$(id -u)" -eq 0 ] || echo 'test: not root: tests on the live kernel are skipped'
	$(GO) vet ./...
	@if command -v $${CC:-gcc} >/dev/null; then \
		echo '$(GO) test -race (packages without a kernel)' && \
		CGO_ENABLED=1 $(GO) test -race $(PURE); \
	else \
		echo 'test: no C compiler: the race detector is left out'; \
	fi
	@GO='$(GO)' .ci/test

.PHONY: test-kernels
test-kernels: ## run the end-to-end tests on Debian's kernels, emulated; KERNEL="6.1 newest" picks, arm64 is one too; ALL=1 runs all tests
	@.ci/need --must $(VM_TOOLS) $(if $(filter arm64,$(KERNEL)),qemu-system-aarch64:qemu-system-arm)
	GO='$(GO)' .ci/test-kernels $(KERNEL)

.PHONY: fuzz
fuzz: ## run each fuzzer for FUZZTIME (30s)
	@GO='$(GO)' FUZZTIME='$(or $(FUZZTIME),30s)' .ci/fuzz

.PHONY: bench
bench: build ## measure what tracing costs, into docs/benchmarks.md; BENCH="-rounds 9" passes flags
	@.ci/need $(BENCH_TOOLS)
	@$(GO) build -o bin/bench ./bench
	$(GO) test -run '^$$' -bench . -skip "Hooks|Path" -benchmem -count 5 ./... | tee bin/micro.txt
	$(SUDO) ./bin/bench -tcptrace bin/tcptrace -micro bin/micro.txt -update docs/benchmarks.md $(BENCH)

.PHONY: bench-hooks
bench-hooks: build ## measure each hook's cost and a bulk stream's, into docs/benchmarks.md; BENCH="-rounds 9" passes flags
	@.ci/need --must $(HOOK_TOOLS)
	@$(GO) build -o bin/bench ./bench
	$(GO) test -run '^$$' -bench '^BenchmarkHooks$$' -benchtime 0.5s -count 5 ./tracer | tee bin/hooks.txt
	$(SUDO) ./bin/bench -tcptrace bin/tcptrace -hooks bin/hooks.txt -update docs/benchmarks.md $(BENCH)

.PHONY: count-hooks
count-hooks: ## count the instructions of each hook, by fentry, kprobe and tracepoint, emulated, into docs/benchmarks.md; KERNEL=newest picks
	@.ci/need --must $(VM_TOOLS)
	@mkdir -p bin && $(GO) build -o bin/bench ./bench
	GO='$(GO)' .ci/count-hooks $(KERNEL) | tee bin/counts.txt
	./bin/bench -counts bin/counts.txt -update docs/benchmarks.md

generate: ## compile bpf/ into gen/ with clang-19
	@.ci/need --must $(BPF_TOOLS)
	$(GO) generate ./gen

.PHONY: check-generate
check-generate: ## fail where gen/ is not what bpf/ makes; changes nothing
	@.ci/need --must $(BPF_TOOLS)
# Elsewhere, so that the tree stays as it is, whatever the outcome.
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	cp -r go.mod go.sum bpf gen "$$tmp" && \
	rm -f "$$tmp"/gen/*_bpfel.* && \
	$(GO) -C "$$tmp" generate ./gen && \
	diff -r gen "$$tmp/gen" || { echo 'gen/ is not what bpf/ makes: run make generate and commit gen/'; exit 1; }

.PHONY: fmt
fmt: ## format the Go code
	gofmt -l -w .

.PHONY: lint
lint: ## check formatting, go.mod, vet, staticcheck and who may import what
	@unformatted=$$(gofmt -l .) && [ -z "$$unformatted" ] || { echo "not formatted (make fmt): $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) test ./internal/layering

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
