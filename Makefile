# Everything a newcomer needs, from nothing but Python 3.11 or newer, pip, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The parts that run without a loop are the parts that must be tested to the last branch.
PURE := trio_coap/wire/*,trio_coap/messaging/*
PURE_COVERAGE := 98

# Further arguments for pytest, as in: make test PYTEST_ARGS="-k option -x"; with -n 0 all is run in one process.
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test lint format docs bench bench-full clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(VENV)/.made ## Make the environment in .venv and install the package there

# Debian ships venv without ensurepip unless python3-venv is installed; pip then comes from outside.
$(VENV)/.made: pyproject.toml
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	|| $(PYTHON) -m venv --clear $(VENV) 2>/dev/null \
	|| { $(PYTHON) -m venv --clear --without-pip $(VENV) \
	     && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# One stamp per extra: a second run installs nothing.
$(VENV)/.made-%: $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

demo: $(VENV)/.made ## Show a client and a server at work on loopback
	$(BIN)/python -m trio_coap.cli.demo

# The tests start many processes: what is compiled for one is kept for the others, within .venv, whatever the caller's
# environment says.
test: export PYTHONDONTWRITEBYTECODE :=
test: export PYTHONPYCACHEPREFIX := $(abspath $(VENV))/bytecode

# A process per core; tests.measuring instead of pytest-cov, since pytest imports the package early, through its plugin.
test: $(VENV)/.made-test ## Run all tests, and check the branch coverage of wire/ and messaging/
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -p tests.measuring -n auto --dist worksteal $(PYTEST_ARGS)
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --include='$(PURE)' --fail-under=$(PURE_COVERAGE)
	@$(BIN)/python -m coverage json --quiet --include='$(PURE)' -o $(VENV)/pure-coverage.json
	@$(BIN)/python -c 'import json, sys; \
	totals = json.load(open("$(VENV)/pure-coverage.json"))["totals"]; \
	percent = 100 * totals["covered_branches"] / max(totals["num_branches"], 1); \
	print(f"Branches of wire/ and messaging/: {percent:.1f} % taken, at least $(PURE_COVERAGE) % expected"); \
	sys.exit(percent < $(PURE_COVERAGE))'

lint: $(VENV)/.made-lint ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict

format: $(VENV)/.made-lint ## Put the source into the format that lint expects
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

docs: $(VENV)/.made-docs ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html

bench: $(VENV)/.made-bench ## Run the benchmarks, the quick form: under three minutes
	$(BIN)/python -m bench

bench-full: $(VENV)/.made-bench ## Run all benchmarks at length, compare with the last figures, and replace them
	$(BIN)/python -m bench --full $(if $(wildcard bench/results.json),--compare bench/results.json) \
	--json bench/results.json --markdown docs/speed-figures.md

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) build dist docs/_build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
