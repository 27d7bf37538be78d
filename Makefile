# Each target is one command; `make` alone lists them.
#
#   make demo             a data centre of two racks in namespaces, with flatroute on it (no root needed)
#   make demo TOR=bird    the same with BIRD on ToRs and spines (TOR=frr: with FRR)
#   make demo UNNUMBERED=1    the same on links without any address (also with TOR=frr)
#   make demo KEEP=1      leaves it up and says how to look inside; make demo-clean removes it
#   make test             every test that this machine can run; says what it skipped and why
#   make sim              the simulator's stories alone; with SEEDS=200 the same stories of as many seeds each, whose figures it prints
#   make test-deps        what the tests need beyond Rust and gcc (as root on Debian: installs it, services masked)
#   make interop          the interoperability matrix alone; with WRITE=1 it rewrites the table of docs/interop.md
#   make cluster          a real Kubernetes of two racks on this machine (root, Go 1.24 or newer, and what test-deps installs)
#   make cluster FAMILIES=v4|v6|dual|dual64 NODES=4 PROXY=iptables|nftables CARRIER=flatroute|bird
#   make cluster SWITCHES=bird|flatroute    what ToRs and spine run (BIRD where it is installed)
#   make cluster SHAPE=segment    all nodes on one segment instead, and no object of flatroute's at all
#   make cluster-down     removes it without a trace
#   make cluster-test     a cluster of its own, put to the test: upstream's e2e, operations, network model, annotations, privileges, removal; a table at the end
#   make cluster-test CHECKS=upstream,operations,model,annotations,privileges,remove    only these; with SHAPE=segment: mesh; pace: how quick pods and a node come;
#                         multus: several networks in a pod
#   make cluster-bench    pace with flatroute beside ptp, host-local and BIRD, in turns (ROUNDS=2; FAMILIES, NODES, PROXY as above)
#   make machine          Debian's own kernel in an emulated machine: the demo, the plugin, a kernel without IPv6, systemd-networkd and udev, podman (STORIES=…)
#   make bench            routes into the kernel and through the agent, an agent at rest, beside BIRD, FRR, GoBGP; pods beside ptp, bridge (at most 12 minutes)
#   make bench TABLE=FILE the same with a real routing table (MRT) to pass on; BENCH='--row through …': see docs/bench.md
#   make churn            10,000 pods that come and go while processes are killed and machines start again (CHURN=10000, SEED=… another seed)
#   make image            the container image, target/image/flatroute.tar (for ctr images import, docker load, podman load)
#   make manifests        deploy/install.yaml, from deploy/base and deploy/crds
#   make fuzz             the fuzz targets for FUZZ_CPU_SECONDS (3 hours); needs nightly Rust and cargo-fuzz
#   make crds             deploy/crds and docs/reference.md, from the types of crates/api
#   make lint             formatting and clippy, warnings are errors

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
TOR ?= flatroute
KEEP ?=
UNNUMBERED ?=
WRITE ?=
TABLE ?=
BENCH ?=
SHAPE ?= racks
SWITCHES ?=
FAMILIES ?= dual
NODES ?= 4
PROXY ?= iptables
CARRIER ?= flatroute
CHECKS ?=
ROUNDS ?= 2
SEEDS ?=
CHURN ?= 10000
SEED ?=
STORIES ?= kernel no-ipv6 networkd podman
# Static, because the image has no libraries; --target keeps the flags away from what runs while building. The plugin starts for
# every pod, so it also does without moving itself to a random place first, and its C library is musl where Rust has it: that of Debian
# asks the processor some twenty questions at each start, which are dear in a virtual machine (docs/bench.md, row 5).
STATIC = RUSTFLAGS='-C target-feature=+crt-static -C strip=symbols'
MUSL = $(HOST:-gnu=-musl)
PLUGIN_TARGET = $(if $(wildcard $(shell rustc --print sysroot)/lib/rustlib/$(MUSL)),$(MUSL),$(HOST))
PLUGIN_PROGRAM = $(TARGET_DIR)/$(PLUGIN_TARGET)/plugin/flatroute-cni
PLUGIN = $(STATIC) $(CARGO) rustc --profile plugin --locked --target $(PLUGIN_TARGET) -p flatroute-cni --bin flatroute-cni -- -C relocation-model=static
CLUSTER = $(TARGET_DIR)/release/flatroute-testbed cluster --shape '$(SHAPE)' --switches '$(SWITCHES)' \
	--families '$(FAMILIES)' --nodes '$(NODES)' --proxy '$(PROXY)' --carrier '$(CARRIER)' --image $(TARGET_DIR)/image/flatroute.tar

.PHONY: help demo demo-clean test sim test-deps interop cluster cluster-down cluster-test cluster-bench machine bench churn image manifests fuzz crds lint

help:
	@sed -n 's/^#   //p' Makefile

demo:
	@$(CARGO) build --release -p flatroute-testbed -p flatroute-agent -p flatroute-cni
	@$(TARGET_DIR)/release/flatroute-testbed demo --tor '$(TOR)' $(if $(filter-out 0,$(UNNUMBERED)),--unnumbered) $(if $(filter-out 0,$(KEEP)),--keep)

demo-clean:
	@if [ -x $(TARGET_DIR)/release/flatroute-testbed ]; then $(TARGET_DIR)/release/flatroute-testbed clean; \
	else echo "no lab is up: the demo was never built here"; fi

test: test-deps
	@CARGO='$(CARGO)' testbed/scripts/test-all

# Of many seeds: one program for each story, one after the other; the last line of each says how many failed.
sim:
	@$(if $(SEEDS),$(CARGO) build --profile sim --locked -p sim && for story in swarm restarts drains mesh data-centre; do \
		$(TARGET_DIR)/sim/sim --story $$story --seeds '$(SEEDS)' || exit 1; done, \
	$(CARGO) test --profile sim --locked -p sim --test stories --test mutants)

test-deps:
	@testbed/scripts/test-deps

interop: test-deps
	@$(CARGO) build --workspace --locked
	@$(CARGO) test --locked -p flatroute-testbed --test matrix -- $(if $(filter-out 0,$(WRITE)),--write)

cluster: image
	@testbed/scripts/kubernetes build cluster
	@$(CLUSTER) up

cluster-test: image
	@testbed/scripts/kubernetes build cluster e2e
	@$(if $(findstring multus,$(CHECKS)),testbed/scripts/cni-tools build multus)
	@$(CLUSTER) test $(if $(CHECKS),--checks '$(CHECKS)')

cluster-bench: image
	@testbed/scripts/kubernetes build cluster
	@$(CLUSTER) bench --rounds '$(ROUNDS)'

cluster-down:
	@if [ -x $(TARGET_DIR)/release/flatroute-testbed ]; then $(CLUSTER) down; \
	else echo "no cluster is up: none was ever built here"; fi

machine:
	@$(CARGO) build --release -p flatroute-testbed -p flatroute-agent -p flatroute-cni
	@testbed/machine/stories $(abspath $(TARGET_DIR))/release $(STORIES)

bench:
	@$(CARGO) build --release -p flatroute-testbed -p flatroute-agent
	@$(PLUGIN)
	@$(TARGET_DIR)/release/flatroute-testbed bench --plugin '$(PLUGIN_PROGRAM)' $(if $(TABLE),--table '$(TABLE)') $(BENCH)

churn:
	@FLATROUTE_CHURN='$(CHURN)' $(if $(SEED),FLATROUTE_CHURN_SEED='$(SEED)') \
		$(CARGO) test --locked -p flatroute-cni --test churn -- --nocapture

image:
	@$(STATIC) $(CARGO) build --release --locked --target $(HOST) -p flatroute-agent
	@$(PLUGIN)
	@$(CARGO) build --release --locked -p flatroute-testbed
	@mkdir -p $(TARGET_DIR)/image/programs
	@cp $(TARGET_DIR)/$(HOST)/release/flatroute-agent $(PLUGIN_PROGRAM) $(TARGET_DIR)/image/programs
	@$(TARGET_DIR)/release/flatroute-testbed image $(TARGET_DIR)/image/programs $(TARGET_DIR)/image/flatroute.tar

manifests:
	@$(CARGO) run -q --locked -p flatroute-testbed -- manifests

fuzz:
	@CARGO='$(CARGO)' fuzz/run

crds:
	@$(CARGO) run -q -p flatroute-api --example crds --locked

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p sim --test stories --test mutants --locked -- -D warnings
