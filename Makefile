# Neutrino. `make demo` shows it at work, `make test` checks it; both install what they need on Debian.

SHELL      := /bin/bash
GO         ?= go
BIN        := build/neutrino
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
SUDO       := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# What the tests and the demo run besides our own binary.
PACKAGES   := iproute2 nftables iputils-ping tcpdump udhcpc isc-dhcp-client conntrack
# What only tests need: DHCP clients and upstream's servers to compare with, database servers, which are started by the tests
# only, and what builds a Debian tree.
TEST_PACKAGES := openvswitch-switch iptables procps radvd haproxy dhcpcd-base wide-dhcpv6-client systemd dnsmasq-base $(PACKAGES) postgresql mariadb-server debootstrap
# What only the benchmark needs.
BENCH_PACKAGES := iperf3 openvswitch-switch $(PACKAGES)
# What only the virtual machine of `make stock-kernel` needs.
VM_PACKAGES := openvswitch-switch $(PACKAGES) qemu-system-x86 busybox cpio kmod
# On which databases `make conformance` runs, and which of its tests: RUN is a regular expression.
DATABASES  ?= sqlite postgresql mariadb
RUN        ?=

export CGO_ENABLED := 0

.PHONY: build run demo demo-stop test unit lint race databases smoke conformance stock-kernel chaos packages bench docs clean help

help:
	@echo 'make demo    show a tenant network at work on real packets (KEEP=1 leaves it running)'
	@echo 'make run     start all-in-one for use, its state in STATE (default /var/lib/neutrino)'
	@echo 'make build   build $(BIN)'
	@echo 'make test    formatting, vet, staticcheck and all tests'
	@echo 'make conformance  OpenStack'\''s own API tests with a Keystone, on each of the databases'
	@echo 'make stock-kernel  the agents with the kernel datapath of Open vSwitch, on Debian'\''s kernel in a virtual machine'
	@echo 'make chaos   random operations and accidents on simulated hosts, judged with packets (DURATION, SEED, PLUGIN, DATABASE)'
	@echo 'make bench   speed and memory'
	@echo 'make docs    write the generated pages of docs/'

build: $(BIN)

$(BIN): $(shell find cmd internal -name '*.go' -not -name '*_test.go') go.mod go.sum
	@mkdir -p build
	$(GO) build -ldflags '-s -w' -o $@ ./cmd/neutrino

# packages installs the Debian packages that are missing, and says so.
unit race databases smoke conformance chaos: PACKAGES = $(TEST_PACKAGES)
stock-kernel: PACKAGES = $(VM_PACKAGES)
bench: PACKAGES = $(BENCH_PACKAGES)
packages:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "please install: $$missing"; exit 1; }; \
		echo "installing Debian packages: $$missing"; \
		$(SUDO) apt-get update -qq >/dev/null && \
		$(SUDO) env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

run: build packages
	$(SUDO) $(BIN) all-in-one --state $(or $(STATE),/var/lib/neutrino) $(ARGS)

demo: build packages
	@$(GO) build -ldflags "-s -w" -o build/demo ./test/demo
	@$(SUDO) env KEEP=$(KEEP) build/demo --binary $(BIN)

demo-stop:
	@$(SUDO) build/demo --stop

test: lint unit databases race smoke

lint:
	@bad=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$bad" ] || { echo "not gofmt-ed:"; echo "$$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# The kernel tests need root: they make network namespaces of their own. The race detector needs cgo. `make chaos` is apart, as no
# two runs of it are the same.
unit: build packages
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" CGO_ENABLED=0 NEUTRINO_BINARY=$(abspath $(BIN)) $(GO) test -timeout 20m $$($(GO) list ./... | grep -v /test/chaos$$)

# databases runs the tests that have to do with SQL again on PostgreSQL and MariaDB.
databases: packages
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" CGO_ENABLED=0 $(GO) run ./test/databases $(GO) test -timeout 20m ./internal/api ./internal/server ./internal/store/... ./internal/service/... ./internal/tool/upgrade

RACE := ./internal/agent/... ./internal/api/... ./internal/bus/... ./internal/dhcp/... ./internal/metadata/... ./internal/ra/... \
	./internal/reconcile/... ./internal/service/... ./internal/store/... ./internal/policy/... ./internal/server/... ./internal/notify ./internal/tool/...
# These send one request after the other, and many: nothing can race there.
LONG := TestListsCostAFixedNumberOfStatements|TestEvilValues
race: packages
	@if command -v gcc >/dev/null; then $(SUDO) env "PATH=$$PATH" "HOME=$$HOME" CGO_ENABLED=1 $(GO) test -race -timeout 20m -skip "$(LONG)" $(RACE); \
	else echo "no C compiler: the race detector is left out"; fi

build/conformance: $(wildcard test/conformance/*)
	@mkdir -p build
	$(GO) build -o $@ ./test/conformance

# smoke runs a few dozen of the tests of `make conformance`, on SQLite.
smoke: build packages build/conformance
	@$(SUDO) env CONFORMANCE_DIR=$(CONFORMANCE_DIR) CONFORMANCE_MIRROR=$(CONFORMANCE_MIRROR) build/conformance -binary $(BIN) -smoke

# conformance runs all of them on each database, and tells of the failures of all.
conformance: build packages build/conformance
	@bad=; for db in $(DATABASES); do \
		$(SUDO) env CONFORMANCE_DIR=$(CONFORMANCE_DIR) CONFORMANCE_MIRROR=$(CONFORMANCE_MIRROR) build/conformance -binary $(BIN) -database $$db -run '$(RUN)' || bad="$$bad $$db"; \
	done; [ -z "$$bad" ] || { echo "conformance: not every test passed on:$$bad"; exit 1; }

# stock-kernel runs tests where the kernel has Open vSwitch, 8021q and the like, whatever this machine's own kernel has. The machine
# is emulated: half an hour, and far more where others work, too.
STOCK_TESTS ?= 'l2:TestOpenVSwitch(Groups|CutAndSpoof|Restarts|Services|Stateless|Responder|Adopts|PhysicalNetworks|Tunnel)|TestVLAN' \
	'scenario:Test(Traffic|Filters|AntiSpoofing|RestartWritesNothing)$$/openvswitch' scenario:TestOpenVSwitchDaemons 'scenario:TestTraffic$$/linuxbridge'
stock-kernel: build packages
	$(GO) test -c -o build/scenario.test ./test/scenario
	$(GO) test -c -o build/l2.test ./internal/agent/l2
	@$(SUDO) test/stockkernel/run.sh build/stockkernel $(abspath $(BIN)) $(STOCK_TESTS)

# chaos has random operations and accidents: DURATION, SEED, PLUGIN (linuxbridge, openvswitch), DATABASE (postgresql, mysql: with two servers).
chaos: build packages
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" NEUTRINO_BINARY=$(abspath $(BIN)) $(GO) test -count=1 -timeout 2h -v ./test/chaos \
		-duration $(or $(DURATION),10m) -seed $(or $(SEED),1) -plugin $(or $(PLUGIN),linuxbridge) -database '$(DATABASE)'

bench: build packages
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" NEUTRINO_BINARY=$(abspath $(BIN)) $(GO) run ./test/bench

# docs writes the generated pages anew; a test compares them.
docs: build
	$(BIN) config-reference >docs/configuration.md
	$(BIN) api-reference >docs/api.md

clean:
	rm -rf build
