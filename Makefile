# bertline: `make` lists the targets. Each target does its own set-up first.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-real test test-all check format lock bench clean

PYTHON ?= python3.11
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WIKI ?= ../shared/data/wiki_xml/enwiki-206-pages.xml.bz2

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with everything, from the locked versions

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## write requirements.lock anew from pyproject.toml (no URLs, with hashes)
	@test -x $(BIN)/uv || ($(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet uv==$(UV_VERSION))
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --extra dev -o requirements.lock pyproject.toml

demo: $(READY) ## the nano experiment from nothing to out/demo/report.html
	@$(BIN)/bertline run pipelines/experiments/nano.yaml --store out/demo/store --out out/demo

demo-real: $(READY) ## the same on real Wikipedia pages and real MNLI, to out/demo-real/report.html
	@if [ -e $(WIKI) ]; then \
	  $(BIN)/bertline run pipelines/experiments/real-data.yaml --store out/demo-real/store --out out/demo-real; \
	else echo "skipped: $(WIKI) is not there; it needs the real dumps and MNLI files"; fi

test: $(READY) ## formatting, types, import contracts, and all tests but the slow ones
	@$(MAKE) --no-print-directory check
	@$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(READY) ## all tests
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY) ## formatting, lint, types, import contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## format the code and fix what can be fixed
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

bench: $(READY) ## words/s of the corpus build, sequences/s of pre-training and fine-tuning
	@$(BIN)/python tests/bench.py

clean: ## remove what was built (out/ and .venv)
	rm -rf out .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
