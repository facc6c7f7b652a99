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
PYTEST := $(BIN)/python -m pytest
SLICE := 120

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
test: $(VENV)/.test ## All tests, on SQLite and a real PostgreSQL (ARGS="-k name" for some)
	@$(PYTEST) $(ARGS)

.PHONY: clean
clean: ## Remove environments, caches and builds
	@rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
