# berth: `make demo` shows it at work, `make test` tests it. Both need root and Go.

SHELL := /bin/bash
GO ?= go

BINARIES := berthd berth berth-oci
BIN := bin
# Without cgo, paths and build id: the same sources give the same bytes everywhere.
# nethttpomithttp2: nothing here speaks HTTP/2, which is 370 KB.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags nethttpomithttp2 -ldflags "-s -w -buildid="

# berth-oci, which is there for some milliseconds, without Go's newer garbage
# collector, where that can be left out: it never comes to run, and takes two pages
# of memory in place of one for each size of object, 2 % of a start.
env-berth-oci := $(shell GOEXPERIMENT=nogreenteagc $(GO) env GOVERSION >/dev/null 2>&1 && echo GOEXPERIMENT=nogreenteagc)

.PHONY: all build examples demo appliance test conformance bench bench-boot fuzz lint clean

all: build

# bin/berthd, bin/berth and bin/berth-oci, static.
build: $(addprefix build-,$(BINARIES))

build-%:
	@echo "build $(BIN)/$*"
	@$(env-$*) $(BUILD) -o $(BIN)/$* ./cmd/$*

# The root file system of examples/web: one static program and the directories
# that its container needs.
examples:
	@mkdir -p examples/web/root/{dev,etc,proc,run,sys,tmp}
	$(BUILD) -o examples/web/root/server ./examples/web/server

# Runs examples/demo for some seconds on any Linux machine, as root.
demo: build
	.ci/demo

# A machine of nginx, redis and a console with berthd as PID 1, built of Debian's
# packages and run in QEMU, nginx at http://127.0.0.1:8080. FORMAT=squashfs or
# ext4: from a disk in place of memory.
appliance: build
	$(GO) run ./examples/appliance -format $(or $(FORMAT),initramfs)

# All tests. Installs what they need where apt is there. With BERTH_NO_SKIP=1 no
# test may skip.
test: examples
	.ci/test

# berth-oci, runc and crun side by side under the validation programs of
# opencontainers/runtime-tools, in one table.
conformance:
	.ci/install
	RUN='^TestConformance$$' .ci/conformance

# Figures, each a line `bench <name> <value> <unit>`.
bench: build
	.ci/bench

# berthd and other inits as PID 1 of a virtual machine, in one table.
bench-boot:
	.ci/bench-boot

# Every fuzz target for FUZZTIME (5m) each.
fuzz:
	.ci/fuzz

lint:
	.ci/lint

clean:
	rm -rf bin examples/web/root
