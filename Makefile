# Every target works on a machine with only Python 3.11 or newer and make: it makes its own environment in .venv first.
# What is installed there is installed again only when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

DEVICE  ?= raspberrypi
MODEL   ?=
DTYPE   ?=
RUNTIME ?=
ARGS    ?=
DEVICES ?= all
MODELS  ?=

CUDA_PYTHON ?= $(PYTHON)
CUDA_OUT    ?= reports/cuda.jsonl
MINUTES     ?=

LIVE_MODELS   ?= mobilenet_v2 resnet18 shufflenet_v2_x1_0
LIVE_BACKENDS ?= pytorch-cpu,executorch-xnnpack,onnxruntime

each = $(foreach item,$(2),$(1) '$(item)')

.DEFAULT_GOAL := help
.PHONY: help check compare validate calibrate measure-cuda samples bench test test-slow test-board verify-verdicts fuzz lint clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: $(VENV)/.installed ## Do the models fit? DEVICE=raspberrypi [MODEL="..."] [DTYPE=...] [RUNTIME=...] [ARGS="..."]
	$(BIN)/edgebudget check $(MODEL) $(call each,--device,$(DEVICE)) $(if $(DTYPE),--dtype '$(DTYPE)') \
	  $(if $(RUNTIME),--runtime '$(RUNTIME)') --format md,csv,json,html --out reports $(ARGS)

compare: $(VENV)/.installed ## One CSV over devices x models x dtypes: DEVICES="..." MODELS="..." [DTYPE=...] [ARGS="..."]
	@mkdir -p reports
	$(BIN)/edgebudget compare $(MODELS) $(call each,--device,$(DEVICES)) $(if $(DTYPE),--dtype '$(DTYPE)') \
	  $(if $(RUNTIME),--runtime '$(RUNTIME)') --out reports/compare.csv $(ARGS)
	@echo "reports/compare.csv"

validate: $(VENV)/.installed-dev ## The estimate against real runtimes, an error table [LIVE=1 measures MODELS again] [ARGS=...]
ifdef LIVE
	rm -f reports/live.jsonl
	$(BIN)/edgebudget measure $(or $(MODELS),$(LIVE_MODELS)) --backend $(LIVE_BACKENDS) --out reports/live.jsonl
	$(BIN)/edgebudget validate --data reports/live.jsonl --models $(ARGS)
else
	$(BIN)/edgebudget validate --models --out reports/validation.md $(ARGS)
	@sed '/^## Every model/,$$d' reports/validation.md
endif

calibrate: $(VENV)/.installed-dev ## Fit the recorded measurements again; a GPU here is measured and fitted too [ARGS=...]
	$(BIN)/edgebudget calibrate --out edgebudget/calibration/fits/recorded.json $(ARGS)
	@if nvidia-smi >/dev/null 2>&1; then $(MAKE) --no-print-directory measure-cuda CUDA_PYTHON=$(BIN)/python && \
	  $(BIN)/edgebudget calibrate --data $(CUDA_OUT) --out $(CUDA_OUT:.jsonl=.json); \
	else echo "There is no NVIDIA GPU here: none is measured."; fi

measure-cuda: ## Measure this machine's CUDA GPU with torch and torchvision alone [CUDA_PYTHON=...] [MINUTES=9] [CUDA_OUT=...]
	$(CUDA_PYTHON) -m edgebudget.measure.cuda --suite --out $(CUDA_OUT) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

samples: $(VENV)/.installed-dev ## Write the samples of every report under reports/ anew
	$(BIN)/python -m tests.samples

bench: $(VENV)/.installed-dev ## Times beside torchinfo, torch.export and ExecuTorch, to reports/bench.md [ARGS=folder of minimalloc CSVs]
	$(BIN)/python -m tests.bench reports/bench.md $(ARGS)

test: $(VENV)/.installed-dev ## The whole test suite
	$(BIN)/python -m pytest -m "not slow and not board" $(ARGS)

test-slow: $(VENV)/.installed-dev ## What takes longer than minutes
	$(BIN)/python -m pytest -m "slow and not board" $(ARGS)

test-board: $(VENV)/.installed-dev ## What needs an emulated Arm board: QEMU, debootstrap, a cross-compiler
	$(BIN)/python -m pytest -m board $(ARGS)

verify-verdicts: $(VENV)/.installed-dev ## Verdicts on emulated boards, their kernel as judge; takes up again what was stopped
	$(BIN)/python -m edgebudget.validation.verify_verdicts edgebudget/calibration/data reports/artefacts

fuzz: $(VENV)/.installed-dev ## 10,000 broken and odd device profiles through the command line
	$(BIN)/python -m pytest -m slow tests/test_profiles_fuzz.py $(ARGS)

lint: $(VENV)/.installed-dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgebudget needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@
