# bertline: `make` lists the targets. Each target does its own set-up first.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-real monitoring-demo test test-all test-images check format lock golden dashboards bench bench-corpus bench-pretrain peers clean

PEERS := .venv-peers
PYTHON ?= python3.11
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
COMPILE_IMAGE := $(COMPILE) --python-platform linux --no-annotate --constraint requirements.lock
READY := $(VENV)/.ready
WIKI ?= ../shared/data/wiki_xml/enwiki-206-pages.xml.bz2

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-15s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with everything, from the locked versions

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## write the locks anew from pyproject.toml: requirements.lock, and one an image (no URLs, with hashes)
	@test -x $(BIN)/uv || ($(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet uv==$(UV_VERSION))
	$(COMPILE) --extra dev -o requirements.lock pyproject.toml
	$(COMPILE_IMAGE) --extra corpus --extra vocabulary -o images/corpus/requirements.lock pyproject.toml
	$(COMPILE_IMAGE) --extra report -o images/report/requirements.lock pyproject.toml
	for image in pretrain evaluate; do \
	  $(COMPILE_IMAGE) --extra $$image --override images/overrides.txt --override images/overrides-cpu.txt \
	    -o images/$$image/requirements-cpu.lock pyproject.toml images/tensorflow-cpu.in && \
	  $(COMPILE_IMAGE) --extra $$image --override images/overrides.txt \
	    -o images/$$image/requirements-cuda.lock pyproject.toml images/tensorflow-cuda.in || exit 1; done
	echo kfp | $(COMPILE_IMAGE) --no-deps -o images/kfp.lock -

demo: $(READY) ## the nano experiment from nothing to out/demo/report.html
	@$(BIN)/bertline run pipelines/experiments/nano.yaml --store out/demo/store --out out/demo

demo-real: $(READY) ## the same on real Wikipedia pages and real MNLI, to out/demo-real/report.html
	@if [ -e $(WIKI) ]; then \
	  $(BIN)/bertline run pipelines/experiments/real-data.yaml --store out/demo-real/store --out out/demo-real; \
	else echo "skipped: $(WIKI) is not there; it needs the real dumps and MNLI files"; fi

monitoring-demo: $(READY) ## a small training, watched by a real Prometheus, to out/monitoring/index.html
	@$(BIN)/python -m bertline_pipelines.monitoring.demo out/monitoring

test: $(READY) ## formatting, types, import contracts, and all tests but the slow ones
	@$(MAKE) --no-print-directory check
	@$(BIN)/pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder

test-all: $(READY) ## all tests but those of real images
	@$(BIN)/pytest -m "not images" -n 3 --dist loadfile --no-loadscope-reorder

test-images: $(READY) ## build the real images and run an experiment inside them (root, buildah, debootstrap; half an hour)
	@$(BIN)/pytest -m images

check: $(READY) ## formatting, lint, types, import contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## format the code and fix what can be fixed
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

golden: $(READY) ## compile the golden pipelines anew, after a change that is meant; then look at the difference
	@PYTHONPATH=tests $(BIN)/python tests/support/goldens.py

dashboards: $(READY) ## write the dashboard and the rules anew, from the panels and plain/rules.yaml
	@$(BIN)/python -m bertline_pipelines.monitoring.manifests

bench: $(READY) ## words/s of the corpus build, sequences/s of pre-training and fine-tuning
	@$(BIN)/python tests/bench.py

peers: $(READY) ## an environment of its own with PyTorch and transformers, which some tests and benchmarks compare with
	@test -x $(PEERS)/bin/python || $(BIN)/uv venv --quiet --python $(PYTHON) $(PEERS)
	@$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python torch==2.15.0 transformers==5.24.0 numpy==2.4.6

bench-corpus: $(READY) ## the corpus and vocabulary beside WikiExtractor, gensim, mwparserfromhell, the Model Garden and tokenizers
	@test -x $(PEERS)/bin/python || $(BIN)/uv venv --quiet --python $(PYTHON) $(PEERS)
	@for peer in wikiextractor==3.1.0 gensim==4.4.0 mwparserfromhell==0.7.2 tokenizers==0.23.3; do \
	  $(BIN)/uv pip install --quiet --python $(PEERS)/bin/python $$peer || echo "$$peer can't be installed"; done
	@$(BIN)/python tests/bench_corpus.py --peers $(PEERS)/bin/python

bench-pretrain: $(READY) ## CPU seconds of a pre-training step, beside the Model Garden's and, after `make peers`, Hugging Face's
	@$(BIN)/python tests/bench_pretrain.py --peers $(PEERS)/bin/python

include manifests/kind.mk

clean: ## remove what was built (out/ and .venv)
	rm -rf out .venv $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
