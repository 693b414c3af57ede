# imcd: build, try and test it. `make help` lists what there is.
# demo and run read SIP_PORT, EVAPI_PORT, RPC_PORT, HTTP_PORT, DB_URL and
# STATE_DIR from the environment or from make's command line.

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFMT ?= $(shell command -v gofmt || echo "$$($(GO) env GOROOT)/bin/gofmt")
# Without -buildvcs=false a checkout that belongs to another user cannot be built.
BUILD = CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
TEST_TIMEOUT ?= 40m
TEST_FLAGS ?=

.DEFAULT_GOAL := build

# One line instead of the compiler's words if Go is missing or too old.
ifneq ($(filter-out clean help deps-%,$(or $(MAKECMDGOALS),build)),)
go-problem := $(shell .ci/go.sh $(GO))
$(if $(go-problem),$(error $(go-problem)))
endif

.PHONY: build test soak bench lint vuln demo fleet run fmt clean help deps-demo deps-fleet deps-test deps-patroni deps-chroot deb dist e2e-deb test-trixie test-patroni copy-large fleet-large test-fleet test-native test-devices

build: ## bin/imcd and bin/imcctl
	$(BUILD) -o bin/imcd ./cmd/imcd
	$(BUILD) -o bin/imcctl ./cmd/imcctl

# cmd/imcd/e2e has bars of time, so nothing runs beside it.
test: deps-test lint ## all tests, with real Kamailio and PostgreSQL; installs what is missing
	$(GO) test -race -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $$($(GO) list ./... | grep -v /cmd/imcd/e2e$$)
	$(GO) test -race -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./cmd/imcd/e2e

SOAK ?= 20m

soak: deps-test ## for longer (SOAK=20m each): kills, restarts and freezes under load; far, lossy and silent phones
	IMCD_SOAK=$(SOAK) $(GO) test -count=1 -timeout 0 -v -run 'TestPromise$$|TestRoughPhones$$' ./cmd/imcd/e2e

# The Debian package's and the archives' architectures, in Go's words.
ARCH ?= $(shell $(GO) env GOARCH)
PACKAGE = VERSION='$(VERSION)' GO='$(GO)' cmd/imcd/package

deb: ## dist/imcd_VERSION_ARCH.deb (ARCH=arm64 for another)
	$(PACKAGE)/deb.sh $(ARCH)

dist: ## archives of the static programs for amd64 and arm64, with checksums, in dist
	$(PACKAGE)/dist.sh amd64 arm64

e2e-deb: deps-chroot ## as root: the package in a clean Debian 12: install, chat, upgrade, purge
	$(PACKAGE)/e2e.sh

test-trixie: deps-chroot ## as root: imc.cfg and conversations with Debian 13's Kamailio
	GO='$(GO)' .ci/trixie.sh

test-patroni: deps-patroni ## imcd while Patroni changes the primary: killed, frozen, by order; installs Patroni and etcd
	$(GO) test -count=1 -timeout $(TEST_TIMEOUT) -tags patroni -v -run '^TestPatroni' ./cmd/imcd/e2e

copy-large: deps-test ## imcctl copy of 10^6 members from MariaDB to PostgreSQL and back, beside their own dump and load
	IMCD_LARGE=1 $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -v -run '^TestLarge$$' ./cmd/imcctl/internal/dbcopy

fleet-large: deps-test ## one of three imcd with 10^6 members is killed: how long the others take to load its rooms
	IMCD_LARGE=1 $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -v -run '^TestFleetLarge$$' ./cmd/imcd/e2e

test-fleet: deps-test ## all conversations, and the comparison with the imc module, on three imcd at two Kamailios
	IMCD_FLEET=1 $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -v -run '^Test(FleetConversations|DifferentialFleet)$$' ./cmd/imcd/e2e

test-native: deps-test ## groups in Linphone while imcd, Kamailio and clients are killed at 200 random points
	IMCD_NATIVE_KILLS=200 $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -v -run '^TestNativeKills$$' ./kamailio-cfg

test-devices: deps-test ## a person with three clients of others: 1000 messages, and imcd killed 30 times meanwhile
	IMCD_PERSON=1000 $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -v -run '^TestOnePerson$$' ./cmd/imcd/phones
	IMCD_PERSON_KILLS=30 IMCD_PERSON=500 $(GO) test -count=1 -timeout $(TEST_TIMEOUT) -v -run '^TestOnePerson$$' ./cmd/imcd/phones

BENCH ?=

bench: deps-test bin/imcdbench ## imcd beside Kamailio's imc module (BENCH="-quick", BENCH=-help)
	bin/imcdbench $(BENCH)

lint: ## gofmt, go vet, staticcheck, the length of files and lines
	@unformatted="$$($(GOFMT) -l .)"; \
	if [ -n "$$unformatted" ]; then echo "not gofmted (make fmt):"; echo "$$unformatted"; exit 1; fi
	@if LC_ALL=C.UTF-8 grep -rnE --include='*.go' '^.{121,}' .; then echo "these lines are longer than 120 columns"; exit 1; fi
	@if find . -name '*.go' -exec awk 'END {if (NR > 500) print FILENAME}' {} \; | grep .; then \
		echo "these files have more than 500 lines"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags patroni ./cmd/imcd/e2e
	$(GO) tool staticcheck ./...

# Another copy of the Go vulnerability database: VULNDB=file:///path or https://…
VULNDB ?=

vuln: ## what is known of vulnerabilities in Go and the libraries; asks the Go vulnerability database, or VULNDB=
	@$(GO) tool govulncheck $(if $(VULNDB),-db $(VULNDB)) ./... || { code=$$?; \
		echo "make vuln: something was found (above), or the database could not be read (VULNDB=file:///… names a copy)" >&2; exit $$code; }

demo: deps-demo build bin/imcdemo ## a conversation of three SIP users through a real Kamailio
	bin/imcdemo

fleet: deps-fleet build bin/imcdemo ## several imcd on PostgreSQL with a standby, while one after the other is killed
	bin/imcdemo -fleet

run: deps-demo build bin/imcdemo ## Kamailio and imcd in the foreground, until Ctrl-C
	@exec bin/imcdemo -run -parent $$PPID

fmt: ## format all Go code
	$(GOFMT) -w .

clean: ## remove what build made
	rm -rf bin dist

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: bin/imcdbench
bin/imcdbench:
	$(BUILD) -o $@ ./cmd/imcdbench

.PHONY: bin/imcdemo
bin/imcdemo:
	$(BUILD) -o $@ ./cmd/imcdemo

deps-demo:
	@.ci/deps.sh demo

deps-fleet:
	@.ci/deps.sh fleet

deps-test:
	@.ci/deps.sh test

deps-patroni: deps-test
	@.ci/deps.sh patroni

deps-chroot: deps-test
	@.ci/deps.sh chroot
