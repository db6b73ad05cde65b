# Every target sets up what it needs; `make demo` and `make test` work on a fresh clone with Python 3.11 and nothing else.
.DEFAULT_GOAL := help
.SILENT:
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; set PYTHON to choose another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq --no-input

# A virtual environment that was moved or copied, or whose interpreter is gone, can't be repaired: it is made afresh.
$(shell [ ! -e $(VENV) ] || { [ "$$(cat $(VENV)/.place 2>/dev/null)" = "$(CURDIR)" ] && $(BIN)/python -c 'import pip' 2>/dev/null; } \
	|| rm -rf $(VENV))

.PHONY: help demo up test faults fuzz lint bench clean lock

help:
	echo "make demo    run a sample agent end to end, from nothing"
	echo "make up      start the platform and keep it running (Ctrl-C stops it)"
	echo "make test    run the test suite"
	echo "make faults  kill, pause and restart everything under load, 5 minutes per fault (FAULTS='--seconds 60' for less)"
	echo "make fuzz    send 20,000 requests made from the OpenAPI document (FUZZ='--seed 7 --only graphs' for others)"
	echo "make lint    ruff, mypy, import-linter, and whether the locks are complete"
	echo "make bench   run the benchmarks"
	echo "make clean   remove everything the other targets made"
	echo "make lock    resolve requirements/*.in again (needs uv)"

demo: $(VENV)/.runtime
	$(BIN)/agentplat demo

up: $(VENV)/.runtime
	$(BIN)/agentplat up

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist loadgroup -q

# The long form of tests/faults; `make test` runs each fault for some seconds.
faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults $(FAULTS)
	$(BIN)/python -m tests.faults.sockets

# The long form of tests/fuzz; `make test` sends some requests per operation.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PIP) check

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# The locks name everything, so nothing is left to resolve. Left to itself, pip 23 takes an extra of a pinned package
# (`pydantic[email]`) for another package, finds its newest release, and refuses that for want of a hash.
LOCKED := install --no-deps --require-hashes -r

# Stamps: remade when a lock or the project's own metadata changes.
$(VENV)/.runtime: requirements/runtime.txt pyproject.toml
	$(call make_venv)
	echo "Installing what agentplat needs to run into $(VENV) ..."
	$(PIP) $(LOCKED) requirements/runtime.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	echo "Installing the development tools into $(VENV) ..."
	$(PIP) $(LOCKED) requirements/dev.txt
	touch $@

# Debian keeps `ensurepip` in a package of its own; without it the system's pip does the first step.
define make_venv
	[ -n "$(PYTHON)" ] || { echo "agentplat needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python3." >&2; exit 1; }
	[ -e $(VENV)/.place ] || $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || { \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip -qq --python $(BIN)/python install pip; }
	printf '%s' "$(CURDIR)" > $(VENV)/.place
endef

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links requirements/runtime.in --output-file requirements/runtime.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links requirements/dev.in --output-file requirements/dev.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests benchmarks migrations -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
