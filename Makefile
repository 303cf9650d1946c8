# Everything that is done here, by name. `make` alone lists it. Needs Python 3.11 or later; sets up .venv by itself.

VENV := .venv
BIN := $(VENV)/bin
# For `make run`: where to listen, and the gateway's configuration. HOST counts only on make's own command line: some
# shells export a HOST, and a gateway must not be opened to the network by accident.
PORT ?=
CONFIG ?=
ifneq ($(origin HOST),command line)
HOST :=
endif
# The Python of a new .venv; by default the first that is new enough.
PYTHON ?=
# For `make test`: pytest's own arguments, instead of the whole suite; and for the whole suite, how many tests run at once
# (but those of packaging, which talk to a package index and so run unguarded, and alone). Hundreds of programs are
# started by tests: without bytecode on disk each would compile all that it imports.
ARGS ?=
JOBS ?= 2
COVER :=
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
ifneq ($(strip $(ARGS)),)
RUN_TESTS = $(PYTEST) $(ARGS)
else
RUN_TESTS = { \
	$(PYTEST) -n $(JOBS) --dist loadfile --ignore tests/test_packaging.py $(if $(COVER),--cov --cov-report=); first=$$?; \
	$(PYTEST) tests/test_packaging.py $(if $(COVER),--cov --cov-append) && [ $$first -eq 0 ]; }
endif
# For `make bench`: a folder for the raw figures.
OUT ?=
# For `make matrix`: which part of it, and the name of its files.
SHARD ?= 1/1
MATRIX = $(or $(OUT),matrix)

.DEFAULT_GOAL := help
.PHONY: help run test coverage check dev bench faults soak local matrix docs clean

help: ## this list
	@echo "ipfs_accelerate_py: one interface to inference"
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12 chooses the Python of a new $(VENV)"

run: $(VENV)/.run ## serve on http://127.0.0.1:8000/v1, with a local model   [PORT=8123] [HOST=0.0.0.0] [CONFIG=file.yaml]
	@exec $(BIN)/ipfs-accelerate serve \
	    $(if $(HOST),--host '$(HOST)') $(if $(PORT),--port '$(PORT)') $(if $(CONFIG),--config '$(CONFIG)')

# The tests run also where a check fails: it is good to know both. pytest has the last word.
test: $(VENV)/.dev ## every check and every test, from nothing   [ARGS="-k breaker"]
	@tools/promtool.sh
	@tools/mlserver.sh $(BIN)/python
	@tools/redis.sh $(BIN)/python
	@tools/chromium.sh
	@status=0; \
	$(MAKE) --no-print-directory check || status=$$?; \
	$(RUN_TESTS) || status=$$?; \
	exit $$status

coverage: COVER := yes
coverage: test ## the same, and how much of the code that runs; fails below 93 %

check: $(VENV)/.dev ## formatting, lint, types, layers; no tests
	@status=0; \
	for each in "ruff format --check ." "ruff check ." "mypy" "lint-imports --no-logo"; do \
	    echo "== $$each"; \
	    $(BIN)/$$each || status=1; \
	done; \
	exit $$status

dev: $(VENV)/.dev ## set up .venv for development
	@tools/promtool.sh
	@tools/mlserver.sh $(BIN)/python
	@tools/redis.sh $(BIN)/python
	@tools/chromium.sh
	@echo "Ready: $(BIN)/ipfs-accelerate, $(BIN)/python -m pytest tests/test_framing.py, make check"

bench: $(VENV)/.dev ## what everything costs, beside others, all in pairs; half an hour   [OUT=bench/results]
	@tools/peers.sh $(BIN)/python
	@$(BIN)/python -m compileall -q ipfs_accelerate_py bench
	@for each in import_cost client gateway pipeline limits caches semantic_cache batching; do \
	    echo "== $$each"; \
	    env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m bench.$$each $(if $(OUT),--out $(OUT)/$$each) || exit 1; \
	done

faults: $(VENV)/.dev ## the sixteen faults, ours beside LiteLLM and the openai client; a quarter of an hour   [OUT=bench/results]
	@tools/peers.sh $(BIN)/python
	@$(BIN)/python -m bench.faults $(if $(OUT),--out $(OUT)/faults)

soak: $(VENV)/.dev ## 200,000 calls with faults, cancellations and streams; then the books are compared   [OUT=bench/results]
	@$(BIN)/python -m bench.soak $(if $(OUT),--out $(OUT)/soak)

local: $(VENV)/.dev ## local models: the 47 mapped types, tiny ones of each; generation beside peers   [OUT=bench/results]
	@$(BIN)/python -W ignore -m bench.mapped_models $(if $(OUT),--out $(OUT)/local_mapped_models)
	@$(BIN)/python -W ignore -m bench.generation $(if $(OUT),--out $(OUT)/local_generation)

matrix: $(VENV)/.dev ## what runs where: every model type, hours; or a part of it   [SHARD=1/4] [OUT=matrix] [JOBS=2]
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/ipfs-accelerate matrix --runtime torch,openvino --jobs $(JOBS) \
	    --shard $(SHARD) --store $(MATRIX).sqlite
	@$(BIN)/ipfs-accelerate matrix report --store $(MATRIX).sqlite --out $(MATRIX).html
	@$(BIN)/ipfs-accelerate matrix report --store $(MATRIX).sqlite --out $(MATRIX).md

docs: $(VENV)/.dev ## write what is generated, and check every link
	@$(BIN)/python docs/generate_cli.py
	@$(BIN)/python tools/check_links.py

clean: ## remove caches and build outputs (rm -rf .venv .tools removes the rest)
	@rm -rf build dist *.egg-info htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
	    .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# --- set-up: a stamp a step, so that it is done again only when what it depends on has changed ------------------------

$(VENV)/.made:
	@tools/venv.sh $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.made
	@tools/torch.sh $(VENV)
	@tools/install.sh $(VENV) "ipfs-accelerate-py with its gateway and a local model" -c constraints.txt -e '.[gateway,local,minilm]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@tools/torch.sh $(VENV)
	@tools/install.sh $(VENV) "ipfs-accelerate-py with all that its tests need" -c constraints.txt -e '.[gateway,local,minilm,dev]'
	@touch $(VENV)/.run $@
