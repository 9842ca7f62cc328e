# Everything a developer or a CI runs. `make` alone lists it.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 30s
TIMEOUT  ?= 10m
TORTURE  ?= 1m
BENCH    ?= # which benchmarks: see bench/main_test.go

LINT := .cache/bin/golangci-lint
NFPM := .cache/bin/nfpm
# What make test gives the tests: see DovecotEnv and SystemdEnv in
# internal/mailtest, fuseEnv in test/mounts, and prometheusEnv in test/prometheus.
SERVERS := POLLER_TEST_DOVECOT=1 POLLER_TEST_FUSE=1 POLLER_TEST_PROMETHEUS=1 POLLER_TEST_SYSTEMD=1
# Where make test-servers unpacks what it runs.
MAILSERVERS := .cache/servers
# Never from the cache of go test: it does not see the program that tests build and run.
ANEW    := -count=1
# Tests with a module of their own.
WIRES   := test/wires
MODULES := $(WIRES) test/oauth test/openapi

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## See it work: a mail server with sample messages, and the daemon polling it
	bin/poller demo

.PHONY: build
build: ## Build bin/poller, static
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags '-s -w -X main.version=$(VERSION)' -o bin/poller ./cmd/poller

.PHONY: package
package: $(NFPM) ## Build dist/: static binaries, .deb and .rpm, for amd64 and arm64
	rm -rf dist
	scripts/package $(VERSION) dist

.PHONY: test
test: $(NFPM) ## Run the whole suite; as root on Debian it installs the servers it needs
	scripts/install-test-servers
	$(SERVERS) go test -race $(ANEW) -timeout $(TIMEOUT) ./...
	for m in $(MODULES); do $(SERVERS) go -C $$m test -race $(ANEW) -timeout $(TIMEOUT) ./...; done

.PHONY: race
race: ## Run the tests that need no server, under the race detector
	go test -race -timeout $(TIMEOUT) ./...
	for m in $(MODULES); do go -C $$m test -race -timeout $(TIMEOUT) ./...; done

.PHONY: e2e
e2e: ## Run the real binary against real servers
	scripts/install-test-servers
	$(SERVERS) go test $(ANEW) -timeout $(TIMEOUT) ./test/e2e/...

.PHONY: test-servers
test-servers: ## Run the real binary against Cyrus, Courier, mailutils and perdition; as root on Debian 12
	scripts/install-mail-servers $(MAILSERVERS)
	POLLER_TEST_SERVERS=$(CURDIR)/$(MAILSERVERS) go test $(ANEW) -parallel 4 -timeout $(TIMEOUT) -v ./test/servers | grep -vE '^ *(=== |--- PASS)'

.PHONY: torture
torture: ## Inject faults for hours: TORTURE is how long each row of each experiment goes on
	scripts/install-test-servers
	$(SERVERS) POLLER_TORTURE=$(TORTURE) go test $(ANEW) -parallel 4 -timeout 12h -v ./test/torture | grep -E '^\||FAIL|^ok|_test.go'
	$(SERVERS) POLLER_TORTURE=$(TORTURE) go test $(ANEW) -timeout 12h -v -run TestFiftyHostileServers ./test/hostile | grep -E '^\||FAIL|^ok|_test.go'
	$(SERVERS) POLLER_TORTURE=$(TORTURE) go -C $(WIRES) test $(ANEW) -parallel 4 -timeout 12h -v . | grep -E '^\||FAIL|^ok|_test.go'

.PHONY: mutants
mutants: ## Break the order of sync, journal and disposal on purpose, and see that tests notice
	scripts/install-test-servers
	$(SERVERS) scripts/check-mutants

.PHONY: lint
lint: $(LINT) ## Check format, vet, layers and more (.golangci.yml), and that go.mod is tidy
	go mod verify
	for m in . $(MODULES); do (cd $$m && go mod tidy -diff && $(CURDIR)/$(LINT) run); done

.PHONY: fmt
fmt: $(LINT) ## Format the code
	$(LINT) fmt
	for m in $(MODULES); do (cd $$m && $(CURDIR)/$(LINT) fmt); done

.PHONY: check
check: lint test test-servers ## What has to pass before a change lands

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME
	@grep -rEl --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u | while read -r dir; do \
		for name in $$(go test -list '^Fuzz' "$$dir" | grep '^Fuzz'); do \
			echo "$$name in $$dir"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$$dir"; \
		done; \
	done

.PHONY: bench
bench: ## Measure the real binary against a real Dovecot, beside its peers, and print tables
	scripts/install-test-servers
	scripts/install-bench-peers
	$(SERVERS) go test -tags bench $(ANEW) -v -timeout 90m ./bench $(BENCH)

.PHONY: bench-go
bench-go: ## Run the benchmarks in Go, and compare them with the last run
	go -C tools build -o ../.cache/bin/benchstat golang.org/x/perf/cmd/benchstat
	@if [ -e .cache/bench.new ]; then mv .cache/bench.new .cache/bench.old; fi
	go test -run '^$$' -bench . -benchmem -count 6 ./internal/... >.cache/bench.new
	.cache/bin/benchstat $$([ -e .cache/bench.old ] && echo .cache/bench.old) .cache/bench.new

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities (needs https://vuln.go.dev)
	go -C tools build -o ../.cache/bin/govulncheck golang.org/x/vuln/cmd/govulncheck
	.cache/bin/govulncheck ./...

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist .cache

# A Go tool like any other, but with a module of its own, so that what it
# depends on never becomes a dependency of the program.
$(LINT): tools/go.mod tools/go.sum
	GOBIN=$(CURDIR)/.cache/bin go -C tools install github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(NFPM): tools/package/go.mod tools/package/go.sum
	GOBIN=$(CURDIR)/.cache/bin go -C tools/package install github.com/goreleaser/nfpm/v2/cmd/nfpm
	@touch $@
