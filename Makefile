# Needs Go, git and make; `make test` installs what else it needs with apt.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Recipes parse what programs print; decimals have a point.
export LC_ALL := C

# A program with the race detector sleeps for a second before it exits, unless told not to.
export GORACE := atexit_sleep_ms=0

GO ?= go
# Empty outside git: the binary then says what the toolchain knows.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
FUZZTIME ?= 20s
ARGS ?=

.PHONY: upgrade-test dist chart install pgo hostile soak help demo run build test check e2e fuzz bench microbench microbench-compare microbench-baseline fmt setup clean lint

help: ## print this text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## show streams going through the relay, and one survive its origin
	@./scripts/setup.sh demo
	@$(GO) run ./scripts/demo

run: build ## start the relay alone; ARGS="--backend srt://host:port" adds flags
	@exec ./scripts/run.sh bin/srtrelay $(ARGS)

# Says every half minute how far a step is.
STEP = $(GO) run ./scripts/step

# In these packages the race detector finds nothing, or races that are not the
# relay's: they start processes, the relay with the race detector among them, or
# hold a library's output against the product's. See CONTRIBUTING.md.
# What takes longest begins first: e2e here, the tests with real Redis there.
UNRACED = ./e2e . ./api ./api/web ./bench/... ./internal/clocale ./internal/need ./internal/openapi ./observe/metrics ./scripts/...
# api and observe/metrics are in both lists: only some of their tests are unraced.
RACED = srtrelay/balancer/redis $(shell $(GO) list ./... | grep -vE '^srtrelay(/balancer/redis|/api/web|/bench|/e2e|/internal/clocale|/internal/need|/internal/openapi|/scripts|$$)')

# What is run once more with every session in the kernel path: what looks at what
# sessions carry, and how they begin and end. Most of it waits, so many run at once.
KERNEL_PATH_TESTS = ^Test(Case|Table|Capture|Real|Telemetry|Drain|Backend|Silent|LostShutdown|Crashed|LoadOver|ForgedRefusal|TwoRelays|RedisAway|MediaMTX|HSv4|TakeOver)

build: ## build bin/srtrelay
	$(GO) build -ldflags '-X main.version=$(VERSION)' -o bin/srtrelay ./cmd/srtrelay

PREFIX ?= /usr/local
DESTDIR ?=

install: build ## install binary, manual, completions, unit and sample settings below PREFIX (/usr/local)
	./scripts/install.sh bin/srtrelay '$(DESTDIR)' '$(PREFIX)'

dist: ## make the files of a release in dist/ and check them: tar.gz, Debian package, container image; root checks more
	@./scripts/setup.sh dist
	@./scripts/dist.sh

chart: ## make the manifests in deploy/kubernetes from the Helm chart, and check both
	$(GO) -C scripts/chart run .
	$(GO) -C scripts/chart test -count=1 -pgo=off .

generate: ## compile the kernel path's BPF program again; nobody else needs clang
	@./scripts/setup.sh generate
	$(GO) generate ./shard/kernelpath

# -pgo=off, here and for tests: with the profile the go command compiles every
# package below cmd/srtrelay a second time.
lint:
	@files=$$($(STEP) gofumpt $(GO) tool gofumpt -l .) || exit 1; \
	if [ -n "$$files" ]; then $(GO) tool gofumpt -d .; echo 'not formatted, run make fmt:' $$files; exit 1; fi
	@$(STEP) 'go vet' $(GO) vet -pgo=off ./...
	@GOFLAGS="$$($(GO) env GOFLAGS) -pgo=off" $(STEP) staticcheck $(GO) tool staticcheck ./...

check: lint ## format, vet, staticcheck, tidy and unit tests, in under 2 minutes
	@$(STEP) 'go mod tidy' $(GO) mod tidy -diff
	@$(STEP) 'go vet, as on another system' env GOOS=darwin $(GO) vet -pgo=off ./...
	@$(STEP) 'unit tests' $(GO) test -json -short -pgo=off -vet=off -timeout 100s $$($(GO) list ./... | grep -v /e2e) || { echo 'check: FAILED'; exit 1; }
	@echo 'check: passed'

# apt waits for the network and lint for the CPUs: both run at once. Tests of the race step
# mostly wait, some packages a minute: more of them run at once than there are CPUs.
test: ## everything, the product with the race detector, in under 20 minutes
	@$(MAKE) --no-print-directory -j2 setup lint
	@$(STEP) 'tests with the race detector' $(GO) test -json -p 4 -race -pgo=off -vet=off -count=1 -timeout 10m $(RACED) || { echo 'test: FAILED'; exit 1; }
	@SRTRELAY_TEST_RACE=1 $(STEP) 'tests of whole processes' $(GO) test -json -pgo=off -vet=off -count=1 -timeout 15m $(UNRACED) || { echo 'test: FAILED'; exit 1; }
	@SRTRELAY_TEST_RACE=1 SRTRELAY_TEST_KERNEL_PATH=require $(STEP) 'tests with the kernel path' $(GO) test -json -pgo=off -vet=off -count=1 -timeout 10m -parallel 6 -run '$(KERNEL_PATH_TESTS)' ./e2e || { echo 'test: FAILED'; exit 1; }
	@echo 'test: passed'

e2e: ## only the end-to-end tests, verbose
	SRTRELAY_TEST_RACE=1 $(GO) test -count=1 -timeout 15m -v ./e2e/...

# Minimizing is bounded because it counts neither as progress nor as time.
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@for package in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' "$$package") || { echo "$$targets"; exit 1; }; \
		for target in $$(grep '^Fuzz' <<<"$$targets" || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$package"; \
		done; \
	done
	@echo 'fuzz: passed'

bench: build ## measure the relay beside nginx, nftables and others; needs root, takes an hour; ARGS="-quick" 12 minutes
	@./scripts/setup.sh bench
	$(GO) run ./bench $(ARGS)

upgrade-test: setup ## 50 take-overs in a row under a million datagrams each way, in user space and with the kernel path; a crash of 10 s; OLDER=v0.1.0: an upgrade from there and back
	@for path in off require; do \
	  echo "== 50 take-overs, --kernel-path $$path"; \
	  SRTRELAY_REQUIRE_ALL=1 SRTRELAY_UPGRADE_TEST=1 SRTRELAY_TEST_KERNEL_PATH=$$path $(GO) test -pgo=off -vet=off -count=1 -timeout 20m -v -run 'TestTakeOversLoseNothing|TestKernelPathTakenOver|Test(KernelPath|KernelPathRealLive)SurvivesCrash' ./e2e || exit 1; \
	done
	@$(GO) test -pgo=off -vet=off -run '^$$' -bench 'TakeOver|Freeze' -timeout 20m ./shard
	@[ -z "$(OLDER)" ] || ./scripts/upgradefrom.sh $(OLDER)

hostile: build ## put stalls, deaths and attacks to the relay under 500 sessions; needs root, takes ten minutes
	@./scripts/setup.sh stress
	$(GO) build -o bin/bench ./bench
	@exec bin/bench hostile $(ARGS)

DURATION ?= 1h

soak: build ## keep the relay busy for DURATION (1h): was anything lost, did anything grow? needs root
	@./scripts/setup.sh stress
	$(GO) build -o bin/bench ./bench
	@exec bin/bench soak -duration $(DURATION) $(ARGS)

pgo: ## take the profile that the relay is built with anew (cmd/srtrelay/default.pgo); needs root
	@./scripts/setup.sh bench
	./scripts/pgo.sh

# Packages with Go micro-benchmarks; each has its baseline in bench/baseline.
MICRO ?= udp shard handshake streamid balancer observe/telemetry observe/streams
COUNT ?= 6

microbench: ## run the Go micro-benchmarks into bench/out
	@mkdir -p bench/out
	@for package in $(MICRO); do \
		$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) "./$$package" | tee "bench/out/$${package////-}.txt"; \
	done

microbench-compare: microbench ## run them and compare with the baselines in bench/baseline
	@for package in $(MICRO); do \
		file="$${package////-}.txt"; \
		echo "== $$package"; \
		$(GO) tool benchstat "baseline=bench/baseline/$$file" "now=bench/out/$$file"; \
	done

microbench-baseline: microbench ## run them and make the results the baselines
	@mkdir -p bench/baseline
	@for package in $(MICRO); do cp "bench/out/$${package////-}.txt" bench/baseline/; done

fmt: ## format the code
	$(GO) tool gofumpt -w .

setup: ## install the tools that the tests need
	@./scripts/setup.sh

clean: ## remove what make has built
	rm -rf bin bench/out
