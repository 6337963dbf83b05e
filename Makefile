# Every target works in a fresh clone on Debian or Ubuntu with git, make and python3.11 or newer, nothing else typed.
# `make help` lists them.

SHELL  := /bin/bash
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# requirements.lock is for Python 3.11; another Python installs the newest versions within pyproject's ranges.
PYTHON ?= $(shell for python in python3.11 python3; do $$python -c '' 2>/dev/null && echo $$python && break; done)
QUIET  := $(if $(MAKE_TERMOUT),,--quiet)
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint format bench lock goldens clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | sort | expand -t 12

install: $(STAMP) ## make .venv and install everything

$(STAMP): pyproject.toml requirements.lock
	@.ci/system-packages "$(PYTHON)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): several GB the first time, some minutes."
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; \
	then $(PIP) install $(QUIET) --require-hashes -r requirements.lock \
	  && $(PIP) install $(QUIET) --no-deps --no-build-isolation --editable .; \
	else $(PIP) install $(QUIET) --editable '.[all,dev]'; fi
	@touch $@

demo: $(STAMP) ## train the smoke recipe, show every domain, write and name report.html
	@$(BIN)/suite demo --train

# A process for each core, of one thread: torch's threads gain little on small models, and lose much to each other.
test: $(STAMP) ## every test but the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n logical --maxprocesses 4 --dist loadfile

test-slow: $(STAMP) ## the tests that train for minutes and take several seeds
	@$(BIN)/python -m pytest -q -m slow --timeout 3600

lint: $(STAMP) ## ruff, import-linter, mypy
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: $(STAMP) ## let ruff format and mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## every command in benchmarks/, one after the other
	@set -e; for benchmark in benchmarks/[a-z]*.py; do \
	  echo "== $$benchmark"; $(BIN)/python "$$benchmark"; \
	done
	@! command -v nvidia-smi > /dev/null || { echo "== benchmarks/gpu"; $(BIN)/python -m benchmarks.gpu; }

lock: $(STAMP) ## resolve requirements.lock anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra all --extra dev --upgrade \
	  --generate-hashes --no-annotate --no-header pyproject.toml -o $(VENV)/lock
	@{ echo "# Python 3.11. Made by 'make lock': the newest versions that pyproject.toml allows, extras all and dev."; \
	  sed "s/ ; python_full_version < '3.12' and / ; /; s/ ; python_full_version < '3.12'//" $(VENV)/lock; } > requirements.lock

goldens: $(STAMP) ## copy the golden cases that may be kept into tests/golden/cases
	@$(BIN)/python -m tests.golden.copy_cases

clean: ## remove what tests, builds and runs leave behind; .venv stays
	@rm -rf build dist out runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache report.html
