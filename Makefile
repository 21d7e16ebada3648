# backendpool: `make demo` shows it, `make test` proves it, `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed-$(shell cat requirements/dev.txt pyproject.toml | sha256sum | cut -c1-16)
# Debian and Ubuntu have venv in a separate package. As root, install it, like Docker.
INSTALL_VENV := { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "==> python3-venv, from the distribution" \
  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-venv > /dev/null; }

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}'

.PHONY: venv
venv: $(READY)  ## Create the Python environment from pinned requirements
$(READY):
	@echo "==> Python environment in $(VENV) (requirements/dev.txt)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "backendpool needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || $(INSTALL_VENV) \
	  || { echo "this Python has no venv: install it (Debian, Ubuntu: apt-get install python3-venv), then run this again"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-* && touch $@

.PHONY: demo
demo: venv  ## Start a cluster and show the five stages, from one sticky pod to a balanced pool
	@$(BIN)/python -m tools.demo

.PHONY: demo-down
demo-down: venv  ## Remove everything that the demo started
	@$(BIN)/python -m tools.demo --down

# Run the checks while the cluster starts, which mostly waits.
.PHONY: test
test: venv  ## Run lint, types, import contracts, unit tests, and e2e tests on a real cluster
	@$(MAKE) --no-print-directory --jobs=2 checks cluster-up
	@$(MAKE) --no-print-directory unit e2e

.PHONY: checks
checks: lint types contracts  ## Run lint, types and import contracts

.PHONY: lint
lint: venv  ## Run ruff and codespell
	@echo "==> lint"
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@$(BIN)/codespell

.PHONY: types
types: venv  ## Run mypy --strict
	@echo "==> types"
	@$(BIN)/mypy

.PHONY: contracts
contracts: venv  ## Check the import contracts
	@echo "==> import contracts"
	@$(BIN)/lint-imports --no-cache | grep -E 'KEPT|BROKEN|Contracts:|->' ; exit $${PIPESTATUS[0]}

# One test: make unit T='tests/unit/controller/test_workqueue.py -k backoff', make e2e T='tests/e2e/pool/test_pool.py -k drift'
.PHONY: unit
unit: venv  ## Run the unit tests; T= selects some
	@echo "==> unit tests"
	@$(BIN)/pytest --quiet $(or $(T),tests/unit tests/docs tests/tools tests/bench --numprocesses=auto)

.PHONY: e2e
e2e: venv  ## Run the e2e tests; starts the cluster if necessary; T= selects some
	@echo "==> e2e tests"
ifdef T
	@$(BIN)/pytest $(T)
else
	@$(BIN)/pytest tests/e2e -m 'not faults and not alone' --numprocesses=3 --dist=loadgroup --no-loadscope-reorder
	@$(BIN)/pytest tests/e2e -m 'not faults and alone'
endif

.PHONY: faults
faults: venv  ## Run the long fault tests: lost nodes, long outages, each fault alone, small benchmarks
	@$(BIN)/pytest tests/e2e -m faults

.PHONY: bench
bench: venv  ## Measure the operator with 10, 100 and 1,000 pools (cluster)
	@$(BIN)/python -m bench.operator

.PHONY: bench-lookaside
bench-lookaside: venv  ## Measure the lookaside's streams against go-control-plane (cluster, Go)
	@$(BIN)/python -m bench.lookaside

.PHONY: bench-client
bench-client: venv  ## Measure a call over a pool against a bare channel (no cluster)
	@$(BIN)/python -m bench.client

.PHONY: bench-start
bench-start: venv  ## Measure the start of lookaside and client against their libraries (no cluster)
	@$(BIN)/python -m bench.startup

.PHONY: cluster-up cluster-down cluster-status
cluster-up: venv  ## Start a kind cluster with the project's images (CLUSTER=context:NAME: use yours)
	@$(BIN)/python -m tools.cluster up
cluster-down: venv  ## Delete the cluster, and stop the Docker engine if make started it
	@$(BIN)/python -m tools.cluster down
cluster-status: venv  ## Print the state of the cluster and how to access it
	@$(BIN)/python -m tools.cluster status

.PHONY: images
images: venv  ## Build the project's images; IMAGES= sets their prefix for your cluster
	@$(BIN)/python -m tools.cluster images

.PHONY: docs
docs: venv  ## Generate docs/reference from the docstrings of the public modules
	@$(BIN)/python tools/reference.py

.PHONY: protos
protos: venv  ## Regenerate the code of the .proto files
	@$(BIN)/python tools/protos.py

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
.PHONY: requirements
requirements:  ## Update the pinned requirements (needs uv)
	$(COMPILE) --group dev --all-extras pyproject.toml -o requirements/dev.txt
	$(COMPILE) --all-extras pyproject.toml -c requirements/dev.txt -o requirements/image.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) --group envoy -o requirements/envoy.txt
