# `make help` lists what this can do. Needed: Python 3.11 or newer, make, a package index.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first interpreter that runs, is new enough and can make an environment. Being on PATH is not enough: a
# version manager's shim is there and fails, and some systems ship Python without ensurepip.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, ensurepip, sqlite3, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
SLICE := 15
SEEDS := 20000
HOSTILE_SLICE := 8

.PHONY: help
help: ## This list
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

# --- environments: one .venv, grown as far as a target needs, renewed only when pyproject.toml changed ---

$(VENV)/.base:
	@test -n "$(PYTHON)" || { echo "No working Python 3.11 or newer with venv found; install one or say make PYTHON=/path/to/python3"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@touch $@

$(VENV)/.run: pyproject.toml | $(VENV)/.base
	@echo "installing durable"
	@$(PIP) install -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.base
	@echo "installing durable and what its tests need"
	@$(PIP) install -e . --group test
	@touch $(VENV)/.run $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.base
	@echo "installing durable, what its tests need and the linters"
	@$(PIP) install -e . --group dev
	@touch $(VENV)/.run $(VENV)/.test $@

.PHONY: venv
venv: $(VENV)/.dev ## Make .venv with everything a developer needs

# --- to see it, to test it ---

.PHONY: demo
demo: $(VENV)/.run ## Insurance policies, months in seconds, two SIGKILLs (DURABLE_URL=postgresql://... for PostgreSQL)
	@$(BIN)/python docs/examples/insurance/demo.py

.PHONY: test
test: $(VENV)/.test ## All tests on all cores, on SQLite and a real PostgreSQL (ARGS="-k name" for some, ARGS="-n 0" for one process)
	@$(PYTEST) $(ARGS)

# A test that is right fails at times beside others, where a machine stands still for seconds. What is wrong fails alone too; how it
# failed first stays above, and the last lines say that this is the second run.
.PHONY: test-again
test-again: $(VENV)/.test ## What failed in the last run of the tests, by itself
	@$(PYTEST) -n 0 --last-failed --last-failed-no-failures none

.PHONY: test-postgres
test-postgres: $(VENV)/.test ## A slice of what runs on PostgreSQL, on a server of KIND=system or wheel
	@DURABLE_TEST_POSTGRES_KIND=$(KIND) $(PYTEST) -q -m postgres --slice=$(SLICE) tests/store tests/scenarios $(ARGS)

.PHONY: test-uncached
test-uncached: $(VENV)/.test ## A slice of the scenarios, by workers that keep no run in memory
	@DURABLE_TEST_CACHE=off $(PYTEST) -q --slice=$(SLICE) tests/scenarios $(ARGS)

.PHONY: test-role
test-role: $(VENV)/.test ## A slice of the scenarios as the role of workers, which may not do much (SLICE=3000 for all)
	@DURABLE_TEST_ROLE=runtime $(PYTEST) -q -m postgres --slice=$(shell expr $(SLICE) / 2) tests/scenarios $(ARGS)

.PHONY: test-pythons
test-pythons: $(VENV)/.base ## The replay tests under every Python found here
	@$(BIN)/python -m tests._interpreters run

.PHONY: sim
sim: $(VENV)/.run ## Simulate SEEDS=20000 random programs, workers and faults on all cores; what fails is kept as a test
	@$(BIN)/python -m durable.testing.simulation --seeds $(SEEDS) --failures tests/simulation/kept $(ARGS)

.PHONY: sim-ablations
sim-ablations: $(VENV)/.test ## Take out each safeguard, and search 200 seeds anew for one that notices (ARGS="A1 A4" for some)
	@$(BIN)/python -m tests.simulation.search $(ARGS)

# What needs hints or a session is marked `session`, and left out.
POOLED_STORE := tests/store/test_conformance.py -k 'not hints_of_another_store'
POOLED := tests/store/test_conformance.py tests/scenarios -k "not hints_of_another_store"

.PHONY: test-pooler
test-pooler: $(VENV)/.test ## A slice of what runs on PostgreSQL, behind PgBouncer in transaction mode with two server connections
	@DURABLE_TEST_POOLER=pgbouncer $(PYTEST) -q -m postgres --slice=$(SLICE) $(POOLED) $(ARGS)

.PHONY: test-hostile
test-hostile: $(VENV)/.test ## A slice of the scenarios under two hash seeds, without a cache, the collector running all the time
	@for seed in 1 4242; do PYTHONHASHSEED=$$seed DURABLE_TEST_CACHE=off DURABLE_TEST_GC=1 \
		$(PYTEST) -q -m sqlite --slice=$(HOSTILE_SLICE) tests/scenarios $(ARGS) || exit 1; done

.PHONY: chaos
chaos: $(VENV)/.test ## Real workers, a real server, one fault after the other (ARGS="--only F3 --orders 10000")
	@$(BIN)/python -m tests.chaos $(ARGS)

MINUTES := 30

.PHONY: soak
soak: $(VENV)/.test ## Half load for MINUTES, three workers, two of them killed every 10 s; what the third one's memory does
	@$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES) $(ARGS)

# --- to keep it sound ---

.PHONY: check
check: ## Everything CI checks: style, types, contracts, other Pythons and servers, no cache, all tests
	@rm -f $(LEGS) build/failed; mkdir -p build
	@$(MAKE) -k lint types contracts $(CHECK_LEGS) || touch build/failed
	@echo; echo "--- legs before the full run"; cat $(LEGS); echo
	@$(MAKE) test || $(MAKE) test-again
	@test ! -e build/failed || { echo "something before the full run failed, see above"; exit 1; }

.PHONY: check-all
check-all: check ## What CI checks, then the demo and the full benchmarks
	@$(MAKE) demo
	@$(MAKE) bench

.PHONY: format
format: $(VENV)/.dev ## Rewrite the code in the house's style
	@$(BIN)/ruff check -q --fix --exit-zero .
	@$(BIN)/ruff format -q .

.PHONY: lint
lint: $(VENV)/.dev ## Style: ruff's format and rules
	@echo "ruff"
	@$(BIN)/ruff format -q --check . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check -q .

.PHONY: types
types: $(VENV)/.dev ## Types: pyright strict and mypy strict
	@echo "pyright"
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@echo "mypy"
	@$(BIN)/mypy

.PHONY: contracts
contracts: $(VENV)/.dev ## Floors: which package may import which
	@echo "import-linter"
	@answer=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$answer"; exit 1; }

.PHONY: bench
bench: $(VENV)/.test ## Steps per second and latency beside the machine's floor, as JSON
	@$(BIN)/python -m benchmarks

$(VENV)-bench/.bench: pyproject.toml benchmarks/peers/install.py | $(VENV)/.base
	@echo "making $(VENV)-bench with the peers"
	@$(BIN)/python -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip --disable-pip-version-check install -q --upgrade pip
	@$(VENV)-bench/bin/python -m pip --disable-pip-version-check install -q -e . --group test
	@$(VENV)-bench/bin/python -m benchmarks.peers.install
	@touch $@

ROWS := compare jobs replay noop processes gather memory imports idle variants costs profile

.PHONY: bench-compare
bench-compare: $(VENV)-bench/.bench ## Beside DBOS, absurd, Restate, PgQueuer and Temporal's replayer: JSON, a table (ROWS="compare noop" ARGS=--quick)
	@$(VENV)-bench/bin/python -m benchmarks --keep $(ROWS) $(ARGS)
	@$(VENV)-bench/bin/python -m benchmarks.report

# --- legs of `check`: each leaves a line on what it did, which is shown before the full run ---

LEGS := build/legs.txt

# What `make test` does not take: the wheel's server where the system has one, else the system's.
OTHER_KIND = $(shell $(BIN)/python -m tests._postgres --other)

CHECK_LEGS := leg-pythons leg-postgres leg-uncached leg-pooler leg-hostile leg-chaos
.PHONY: $(CHECK_LEGS)
leg-pythons: $(VENV)/.base
	@$(BIN)/python -m tests._interpreters run --report $(LEGS)

leg-postgres: $(VENV)/.test
	@if [ -z "$(OTHER_KIND)" ]; then echo "second PostgreSQL: missing, only one kind is on this machine" >>$(LEGS); \
	else $(MAKE) test-postgres KIND=$(OTHER_KIND) && echo "second PostgreSQL: ran on the $(OTHER_KIND)'s" >>$(LEGS); fi
	@$(MAKE) test-role && echo "role of few rights: ran" >>$(LEGS)

leg-uncached: $(VENV)/.test
	@$(MAKE) test-uncached && echo "no run in memory: ran" >>$(LEGS)

leg-pooler: $(VENV)/.test
	@if $(BIN)/python -m tests._pooler >/dev/null; then $(MAKE) test-pooler SLICE=15 POOLED="$(POOLED_STORE)" && echo "PgBouncer: ran" >>$(LEGS); \
	else echo "PgBouncer: missing, apt-get install pgbouncer" >>$(LEGS); fi

leg-hostile: $(VENV)/.test
	@$(MAKE) test-hostile && echo "two hash seeds, collector always on: ran" >>$(LEGS)

leg-chaos: $(VENV)/.test
	@$(MAKE) chaos ARGS="--seconds 20 --orders 30 --times 1" && echo "chaos: ran, see build/chaos.json" >>$(LEGS)

.PHONY: clean
clean: ## Remove environments, caches and builds
	@rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
