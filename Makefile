# Two commands, on a fresh machine with Python >= 3.11:
#
#     make tune    make the environment, tune matmul for this CPU and for a simulated A100, run the tuned kernel
#     make test    install what the tests need, lint, type-check and run every test
#
# Others: check (lint and types only), format, tour (run docs/tour.md), clean. `make test ARGS="-k split"` hands ARGS to pytest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := tune
.PHONY: tune test check format tour clean

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet
RUNS := runs
ARGS ?=

# Python to make the environment with: PYTHON=... or the first of these that is new enough and has venv.
PYTHON ?=
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python python3.14 python3.13 python3.12 python3.11 /usr/bin/python3)

tune: $(VENV)/.installed
	@mkdir -p $(RUNS)
	$(BIN)/flashsched tune matmul --shape 512,512,512 --device cpu --trials 24 --log $(RUNS)/cpu-matmul.jsonl
	$(BIN)/flashsched tune matmul --shape 4096,4096,4096 --device a100-sim --trials 64 --log $(RUNS)/a100-sim-matmul.jsonl
	$(BIN)/flashsched report $(RUNS)/cpu-matmul.jsonl $(RUNS)/a100-sim-matmul.jsonl
	$(BIN)/python examples/load_tuned.py $(RUNS)/cpu-matmul.jsonl

test: check
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

tour: $(VENV)/.installed
	@awk '/^```/ { on = /python/; next } on' docs/tour.md | $(BIN)/python -

clean:
	rm -rf $(VENV) $(RUNS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Stamps: made again only when pyproject.toml changes, so a second run starts at once.

$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	@echo "installing flashsched (a minute or two, the first time)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	@echo "installing flashsched and what its tests need (a minute or two, the first time)"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.made:
	@for python in $(CANDIDATES); do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        echo "making $(VENV) with $$("$$python" --version) ($$(command -v "$$python"))"; \
	        "$$python" -m venv $(VENV); \
	        touch $@; \
	        exit 0; \
	    fi; \
	done; \
	echo "flashsched needs Python 3.11 or newer with its venv module; none of these is one: $(CANDIDATES)." >&2; \
	echo "Install it (Debian and Ubuntu: apt install python3-venv), or name one: make tune PYTHON=/path/to/python3" >&2; \
	exit 1
