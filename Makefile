# make search Q="which papers study ...?"   make test   make check
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
Q ?=
# The question as it was typed: make must not expand or run anything in it.
override Q := $(value Q)

.PHONY: search install web test test-distributed check help
help:
	@echo 'make search Q="which papers study UCB for non-stationary RL?"   find papers (ARGS="--engine arxiv" for flags)'
	@echo 'make web      a page to search with, at http://127.0.0.1:8080 (ARGS="--library L --port 9000" for flags)'
	@echo 'make install  the command pasa, as .venv/bin/pasa'
	@echo 'make test     the test suite (offline)'
	@echo 'make test-distributed   the tests on local Ray clusters and of training on two processes (minutes; installs requirements-ray.txt)'
	@echo 'make check    ruff and mypy'

# Each stamp holds the moment its requirements were installed; nothing runs an installer while they are unchanged.
# torch goes first and by itself: with it in place nothing pulls another build of it.
$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'error: Python 3.11 or newer is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo 'error: Python has no venv module: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

search: $(VENV)/.installed
	@test -n "$$Q" || { echo 'error: no question: make search Q="which papers study ...?"' >&2; exit 2; }
	@$(BIN)/python run_paper_agent.py $(ARGS) -- "$$Q"

web: $(VENV)/.installed
	@$(BIN)/python -m pasa.web $(ARGS)

install: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest

$(VENV)/.installed-ray: requirements-ray.txt $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	@touch $@

test-distributed: $(VENV)/.installed-ray
	@$(BIN)/python -m pytest -m distributed tests/test_ray_runs.py tests/library/test_ray_build.py \
		tests/trl_ext/test_sft_distributed.py tests/trl_ext/session_ppo

check: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

export Q
