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

# A target that is missed stands in its section, and keeps nobody from the others.
bench: $(STAMP) ## measure beside the peers and write docs/benchmarks.md
	-$(BIN)/python -m benchmarks.memory --write benchmarks/results/memory.md
	-$(BIN)/python -m benchmarks.names --write benchmarks/results/names.md
	-$(BIN)/python -m benchmarks.values --write benchmarks/results/values.md
	-$(BIN)/python -m benchmarks.middleware --write benchmarks/results/middleware.md
	-$(BIN)/python -m benchmarks.dns_names --write benchmarks/results/dns_names.md
	-$(BIN)/python -m benchmarks.paced --write benchmarks/results/paced.md
	-$(BIN)/python -m benchmarks.tracing --write benchmarks/results/tracing.md
	-$(BIN)/python -m benchmarks.traced --write benchmarks/results/traced.md
	-$(BIN)/python -m benchmarks.balanced --write benchmarks/results/balanced.md
	-$(BIN)/python -m benchmarks.open_calls --write benchmarks/results/open_calls.md
	$(BIN)/python -m benchmarks --write-docs --sections $(addprefix benchmarks/results/,memory.md names.md dns_names.md values.md middleware.md paced.md balanced.md tracing.md traced.md open_calls.md)

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
