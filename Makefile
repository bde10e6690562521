# Every target sets up what it needs by itself and may be repeated.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
PEERS := .peers/node
PEER_FILES := tests/peers/node/package.json tests/peers/node/zeromq/package.json tests/peers/node/zeromq/index.js

# Compiled files are kept: else every process of the tests, some thousand, compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak busy matrix peers clean

help: ## show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(STAMP) ## a shop: hubs, workers, calls by name, a stream, traces, what hangs; STAY=1 keeps it open
	$(BIN)/python configs/demo/run.py $(if $(STAY),--stay)

test: $(COMPILED) ## the tests, without those that take minutes
	$(BIN)/python -m pytest -m "not soak" -n 8 --dist worksteal

check: $(STAMP) ## style, types and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

SECTIONS := memory names dns_names values middleware paced balanced tracing traced open_calls
RESULTS := benchmarks/results

# All are measured, also where one misses its target; that makes it fail in the end.
bench: $(STAMP) ## measure beside the peers and write docs/benchmarks.md
	@failed=0; for one in $(SECTIONS); do \
		$(BIN)/python -m benchmarks.$$one --write $(RESULTS)/$$one.md || failed=1; \
	done; \
	$(BIN)/python -m benchmarks --write-docs --sections $(SECTIONS:%=$(RESULTS)/%.md) || failed=1; \
	exit $$failed

soak: $(STAMP) ## the tests that take minutes
	$(BIN)/python -m pytest -m soak

busy: $(STAMP) ## the tests ten times in a row, beside busy loops
	tests/busy.sh

matrix: ## the tests with Python 3.11, 3.13 and 3.14, and with the lowest versions that pyproject.toml allows
	tests/matrix.sh

peers: $(STAMP) $(PEERS)/.installed ## the old zerorpc, for Python and for Node, that the tests talk to

clean: ## remove what the other targets made
	rm -rf $(VENV) .peers .matrix .busy .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,frameworks,check,bench]"
	touch $@

# One process compiles what has changed, before eight would all do it at the same time.
$(COMPILED): $(STAMP) $(shell find mesh hubs tests benchmarks -name '*.py')
	-$(BIN)/python -m pytest --collect-only -qq >/dev/null
	touch $@

$(PEERS)/.installed: $(PEER_FILES)
	rm -rf $(PEERS)
	mkdir -p $(PEERS)
	cp -R tests/peers/node/package.json tests/peers/node/zeromq $(PEERS)/
	cd $(PEERS) && npm install --no-audit --no-fund --loglevel=error
	touch $@
