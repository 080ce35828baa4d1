# Every target installs what it needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/plimsoll
UV_VERSION := 0.13.8
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
# Programs that targets start find this uv too.
export PATH := $(CACHE)/uv-$(UV_VERSION)/bin:$(PATH)
SUDO := $(shell test $$(id -u) = 0 || echo sudo)
BIN := .venv/bin
PYTHON := $(BIN)/python
CLUSTER := $(PYTHON) -m e2e.cluster
LOCK := $(UV) pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 \
	--quiet --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@echo "installing uv $(UV_VERSION)"
	@python3 -c 'import ensurepip' 2> /dev/null || { \
		$(SUDO) apt-get update -qq; $(SUDO) apt-get install -y -qq python3-venv; }
	@python3 -m venv $(CACHE)/uv-$(UV_VERSION)
	@$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.installed: dev.lock pyproject.toml $(wildcard runtime/csrc/*) | $(UV)
	@echo "installing Python packages into .venv (first time: a minute, 6 GB, most of it torch)"
	@test -x $(PYTHON) || $(UV) venv --quiet --no-python-downloads --python '>=3.11' .venv
	@$(UV) pip sync --quiet --python $(PYTHON) --require-hashes dev.lock
	@$(UV) pip install --quiet --python $(PYTHON) --no-deps --editable .
	@touch $@

.PHONY: setup
setup: .venv/.installed ## create .venv from dev.lock

# Unpacked and not installed, as the package would start a service.
PROMETHEUS := $(CACHE)/prometheus
$(PROMETHEUS)/usr/bin/prometheus:
	@mkdir -p $(PROMETHEUS)
	@cd $(PROMETHEUS); download() { apt-get download -qq prometheus 2> /dev/null; }; \
	if download || { $(SUDO) apt-get update -qq && download; }; then \
		dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb; \
	else \
		echo "no Debian package of prometheus: tests of alerts are skipped unless it is on PATH"; \
	fi

.PHONY: check
check: setup $(PROMETHEUS)/usr/bin/prometheus ## lint, types, import layers, generated files, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/plimsoll crd --check crds
	PATH="$$PATH:$(PROMETHEUS)/usr/bin" $(BIN)/pytest tests

.PHONY: equality
equality: setup ## 5,400 answers of 12 random models against transformers, token by token (10 minutes)
	PLIMSOLL_EQUALITY_MODELS=12 PLIMSOLL_EQUALITY_REQUESTS=150 \
		$(BIN)/pytest tests/integration/engine/test_equality.py

.PHONY: e2e
e2e: setup ## end-to-end tests on a real cluster (KUBECONFIG's, or one made here)
	@test -n "$${KUBECONFIG:-}" || $(CLUSTER) build
	$(BIN)/pytest e2e -s --ignore=e2e/long

.PHONY: e2e-long
e2e-long: setup ## end-to-end tests that take long: 1,000 resources on 2,000 nodes, a real HPA
	@test -n "$${KUBECONFIG:-}" || $(CLUSTER) build
	$(BIN)/pytest e2e/long -s

.PHONY: e2e-faults
e2e-faults: setup ## crash at every write, a bad API server, 2,000 random specs (an hour)
	@test -n "$${KUBECONFIG:-}" || $(CLUSTER) build
	PLIMSOLL_FAULTS_LONG=1 PLIMSOLL_CLUSTER=faults $(BIN)/pytest e2e/faults -s

.PHONY: e2e-day
e2e-day: setup ## a recorded day in HOURS=2 on a real cluster, with kills and edits; writes OUT=day.json
	@test -n "$${KUBECONFIG:-}" || $(CLUSTER) build
	$(PYTHON) -m e2e.day --hours $(or $(HOURS),2) --out $(or $(OUT),day.json)

.PHONY: soak
soak: setup ## load for MINUTES=30, leaving clients, SIGTERM under load: leaks and failures
	$(PYTHON) -m e2e.soak --minutes $(or $(MINUTES),30)

.PHONY: measured
measured: setup ## latency predicted against measured on this machine, which must be idle (20 minutes)
	$(PYTHON) -m e2e.measured
	PYTHONPATH=operator:runtime:. $(PYTHON) -m docs.plots.measured

PEERS_OPTIONS = $(if $(PEERS),--peers $(PEERS)) $(if $(MODELS),--models $(MODELS)) \
	$(if $(SITTING),--sitting $(SITTING)) $(if $(TRACE),--trace $(TRACE))
PEERS_PYTHON = PYTHONPATH=operator:runtime:. $(PYTHON) -m

.PHONY: bench-prepare
bench-prepare: setup ## what bench-peers needs: other engines, models; each answers once (40 minutes)
	$(PEERS_PYTHON) e2e.peers.prepare $(PEERS_OPTIONS)

.PHONY: bench-peers
bench-peers: setup ## our engine beside others on this machine, which must be idle; PEERS=ours,vllm MINUTES=40
	$(PEERS_PYTHON) e2e.peers $(PEERS_OPTIONS) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(WORKLOADS),--workloads $(WORKLOADS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(OUTPUT),--output $(OUTPUT))

.PHONY: bench-knee
bench-knee: setup ## how much of a trace the best other engine serves, for WORKLOADS=trace
	$(PEERS_PYTHON) e2e.peers.knee $(PEERS_OPTIONS)

.PHONY: bench-growth
bench-growth: setup ## how our costs grow with sequences, context and load (40 minutes for both models)
	$(PEERS_PYTHON) e2e.peers.growing $(PEERS_OPTIONS) $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: gpu-check
gpu-check: setup ## on a machine with a GPU: equality on CUDA, then figures of models served in bf16
	for backend in torch triton; do \
		PLIMSOLL_EQUALITY_DEVICE=cuda PLIMSOLL_EQUALITY_BACKEND=$$backend \
		PLIMSOLL_EQUALITY_REQUESTS=60 $(BIN)/pytest tests/integration/engine/test_equality.py \
		|| exit 1; \
	done
	$(PYTHON) -m e2e.gpu

.PHONY: test
test: check e2e ## everything: check, unit tests, end-to-end tests

.PHONY: demo
demo: setup ## from one YAML to a streamed answer, on a real cluster on this machine
	@$(PYTHON) -m e2e.demo

.PHONY: cluster-up
cluster-up: setup ## start a Kubernetes cluster on this machine (first time: 10 minutes)
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: setup ## stop that cluster and leave nothing behind
	@$(CLUSTER) down

.PHONY: images
images: setup ## build the operator's and the runtime's image (first time: 7 minutes)
	@$(CLUSTER) images

.PHONY: manifests
manifests: setup ## write crds/ and manifests/install.yaml from the types
	$(BIN)/plimsoll crd --write crds
	@command -v kubectl > /dev/null || $(CLUSTER) build
	$$(command -v kubectl || echo $(CACHE)/bin/kubernetes-*/kubectl) kustomize \
		manifests/overlays/default > manifests/install.yaml

.PHONY: lock
lock: $(UV) ## resolve the lock files again
	$(LOCK) --extra operator --output-file operator.lock
	$(LOCK) --extra runtime --output-file runtime.lock
	$(LOCK) --all-extras --group dev --no-emit-package plimsoll --output-file dev.lock

.PHONY: clean
clean: ## remove what the targets made in this checkout (caches outside it stay)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
