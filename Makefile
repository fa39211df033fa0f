# `make` lists the targets. Each of them sets the environment up first, once.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

BIN := .venv/bin
BOT ?= examples/adder.py
ARGS ?=
SOAK ?= 10
WORKERS := -n logical --maxprocesses=8 --max-worker-restart=0
# What the type checker reads besides `files` of pyproject.toml, as far as it exists.
TYPED := src tests conftest.py $(wildcard examples bench docs/conf.py)
# Some containers set it: each process of the tests would compile anew all that it imports, for half of its time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup servers run demo cluster test soak check static fmt lint types layers cov docs bench bench-cluster lock news clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9.%-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.stamp ## Build .venv with the locked tools and Legato itself

.venv/.stamp: requirements/dev.lock pyproject.toml
	@sh .ci/venv .venv requirements/dev.lock 3.11 3.12 3.13 3.14

run: setup ## Run a bot: make run BOT=examples/adder.py
	@$(BIN)/legato run $(BOT) $(ARGS)

demo: setup ## Watch a dialog survive
	@$(BIN)/python examples/demo.py $(ARGS)

servers: ## Install the servers that tests start for themselves (Debian, as root)
	@sh .ci/servers

cluster: setup servers ## Run a cluster on this machine, with a load and a live table
	@PYTHONPATH=. $(BIN)/python examples/cluster.py $(ARGS)

test: setup servers ## Run all tests: make test ARGS="-k timeout"
	@$(BIN)/pytest $(WORKERS) $(ARGS)

test-%: .ci/venv servers ## The same on another Python: make test-3.13
	@sh .ci/venv .venv-$* requirements/dev.lock $*
	@.venv-$*/bin/pytest $(WORKERS) --ignore=tests/repo $(ARGS)

# What takes longer the longer it is let: more seeds, more kills, more dialogs (docs/targets.md).
soak: setup servers ## Run the trials for hours: make soak SOAK=20 ARGS="-k chaos"
	@LEGATO_SOAK=$(SOAK) $(BIN)/pytest $(WORKERS) --timeout 7200 \
		$$(grep -rlE --include='test_*.py' 'environ.*LEGATO_SOAK|^from hypothesis' tests | sort) $(ARGS)

check: static test ## Everything that must pass before a commit lands

static: lint types layers ## All that needs no test run

fmt: setup ## Format the code and mend what can be mended
	@$(BIN)/ruff check -q --fix-only .
	@$(BIN)/ruff format -q .

lint: setup ## Format, rules, security
	@$(BIN)/ruff format -q --check --output-format concise .
	@$(BIN)/ruff check -q .
	@$(BIN)/bandit -q -r src -c pyproject.toml

types: setup ## mypy --strict, and a known type for every public symbol
	@$(BIN)/mypy --no-error-summary $(TYPED)
	@out=$$(PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes legato --ignoreexternal) || { echo "$$out"; exit 1; }

# Without its cache, which goes stale when a module is moved while another file stays as it was.
layers: setup ## Which part may import which
	@out=$$($(BIN)/lint-imports --no-logo --no-cache) || { echo "$$out"; exit 1; }

cov: setup ## Branch coverage: 95 % overall, 100 % where a conversation could be lost
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(WORKERS) -q $(ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report
	@$(BIN)/coverage report --fail-under=100 --include='src/legato/engine/*,src/legato/outbox/*,src/legato/stores/*'

docs: setup ## Build the documentation into docs/_build/html
	@$(BIN)/sphinx-build -q -W -n -b html docs docs/_build/html

bench: setup ## Run every benchmark
	@for file in $(sort $(notdir $(basename $(wildcard bench/[a-z]*.py)))); do \
		echo "== bench/$$file.py"; $(BIN)/python -m bench.$$file $(ARGS) || exit 1; done

bench-cluster: setup servers ## Measure a gateway and workers beside aiogram with Redis and DBOS on Postgres
	@$(BIN)/python -m bench.cluster $(ARGS)

lock: setup ## Resolve the dependencies anew
	@$(BIN)/uv pip compile -q --upgrade --universal --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 pyproject.toml --all-extras --group dev -o requirements/dev.lock

news: setup ## Show the news that the next release will print
	@$(BIN)/towncrier build --draft --version next

clean: ## Remove everything that was built
	@rm -rf .venv .venv-* build dist docs/_build htmlcov .coverage .coverage.* \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
