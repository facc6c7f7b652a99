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
SLICE := 100

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

.PHONY: test-postgres
test-postgres: $(VENV)/.test ## A slice of what runs on PostgreSQL, on a server of KIND=system or wheel
	@DURABLE_TEST_POSTGRES_KIND=$(KIND) $(PYTEST) -q -m postgres --slice=$(SLICE) tests/store tests/scenarios $(ARGS)

.PHONY: test-pythons
test-pythons: $(VENV)/.base ## The replay tests under every Python found here
	@$(BIN)/python -m tests._interpreters run

# --- to keep it sound ---

.PHONY: check
check: ## Everything CI checks: style, types, contracts, a benchmark's smoke, the other server, other Pythons, all tests
	@rm -f $(LEGS); mkdir -p $(dir $(LEGS))
	@$(MAKE) -k lint types contracts
	@$(MAKE) leg-bench leg-pythons leg-postgres
	@echo; echo "--- legs before the full run"; cat $(LEGS); echo
	@$(MAKE) test

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

# --- legs of `check`: each leaves a line on what it did, which is shown before the full run ---

LEGS := build/legs.txt

# What `make test` does not take: the wheel's server where the system has one, else the system's.
OTHER_KIND = $(shell $(BIN)/python -m tests._postgres --other)

.PHONY: leg-bench leg-pythons leg-postgres
leg-bench: $(VENV)/.test
	@if [ -e benchmarks/smoke.py ]; then $(BIN)/python -m benchmarks.smoke && echo "benchmarks: smoke ran" >>$(LEGS); \
	else echo "benchmarks: no smoke yet" >>$(LEGS); fi

leg-pythons: $(VENV)/.base
	@$(BIN)/python -m tests._interpreters run --report $(LEGS)

leg-postgres: $(VENV)/.test
	@if [ -z "$(OTHER_KIND)" ]; then echo "second PostgreSQL: missing, only one kind is on this machine" >>$(LEGS); \
	else $(MAKE) test-postgres KIND=$(OTHER_KIND) && echo "second PostgreSQL: ran on the $(OTHER_KIND)'s" >>$(LEGS); fi

.PHONY: clean
clean: ## Remove environments, caches and builds
	@rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
