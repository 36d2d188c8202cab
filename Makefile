# Every action a developer takes. CI runs these targets and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

RELEASE := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS_BUILD := -trimpath -ldflags "-s -w -X main.release=$(RELEASE)"
LINT := .cache/bin/golangci-lint
ROOT := $(shell [ "$$(id -u)" = 0 ] && echo 1)
# A skipped privileged test is a failure where it could have run.
export REQUIRE_BPF ?= $(ROOT)

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what the tests and linters need (Debian packages; asks nothing)
	@tools/deps.sh

.PHONY: build
build: ## Build bin/weir; needs Go alone
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/weir ./cmd/weir

.PHONY: deb
deb: build ## Build a Debian package of bin/weir in dist/; needs no network
	@tools/deb.sh

.PHONY: run
run: build ## Build and run weir with made-up prices
	bin/weir serve --feed ticks

.PHONY: demo
demo: build ## Show a flood held off in two network namespaces (root)
	bin/weir demo

.PHONY: bench
bench: build ## Measure fan-out on this machine, beside the least that could
	bin/weir bench fanout

.PHONY: generate
generate: ## Compile the BPF programs and their Go bindings (clang 14)
	go generate ./...

.PHONY: fmt
fmt: $(LINT) ## Format Go and C
	$(LINT) fmt ./...
	clang-format-14 -i bpf/include/*.h bpf/*/*.c bench/floor/*.c

.PHONY: lint
lint: deps $(LINT) ## Lint Go and C
	$(LINT) run ./...
	clang-format-14 --dry-run -Werror bpf/include/*.h bpf/*/*.c bench/floor/*.c

# The linter is built from source, once for each version of it.
$(LINT): tools/go.mod tools/go.sum
	go build -modfile=tools/go.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: test
test: deps test-unit test-bpf test-netns test-e2e test-kernels ## Run the five tiers

PRIVILEGED := ^Test(BPF|Netns|E2E|Kernels|VM)

.PHONY: test-unit
test-unit: ## No privileges, any system
	go test -race -skip '$(PRIVILEGED)' ./...
	go test -run 'Allocate|Allocation' ./edge/... ./broker/... ./internal/... ./ratelimit/... ./gateway/...

.PHONY: test-bpf
test-bpf: ## The verifier, and programs run on packets (root)
	go test -count=1 -run '^TestBPF' ./bpf/... ./ratelimit/... ./bench/... ./tuning/bpftrace/... ./internal/tidy/...

.PHONY: test-netns
test-netns: ## Native XDP on veth pairs, kernel TLS (root)
	go test -count=1 -run '^TestNetns' ./bpf/... ./bench/... ./edge/... ./tuning/... ./cmd/weir/...

.PHONY: test-e2e
test-e2e: build ## The binary as a user runs it
	WEIR_BIN=$(CURDIR)/bin/weir go test -count=1 -timeout 15m -run '^TestE2E' ./test/...

.PHONY: test-kernels
test-kernels: ## The BPF and netns tests on Linux 6.1 and 6.12, under qemu
	go test -count=1 -timeout 20m -run '^TestKernels' ./test/kernels
	@cat .cache/kernels/*/summary 2>/dev/null || echo "No guest has run: make deps installs qemu"

.PHONY: vm
vm: deps build ## The package and the BPF and netns tests in a Debian guest under qemu (minutes)
	WEIR_BIN=$(CURDIR)/bin/weir go test -count=1 -timeout 75m -run '^TestVM' ./test/kernels
	@cat .cache/vm/summary

.PHONY: autobahn
autobahn: build ## Autobahn's WebSocket cases against /echo (installs it under Python 2.7; minutes)
	@tools/autobahn.sh

.PHONY: fuzz
fuzz: ## Fuzz every decoder for a while
	@tools/fuzz.sh

.PHONY: check
check: fmt lint test generate ## All of it, and nothing generated is stale
	git diff --exit-code

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist .cache
