# The whole set-up and the common jobs. Needs Python >= 3.11, git and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that the tests run on.
JOBS ?= 2
STAMP := $(VENV)/.stamp
# Where libtpu goes.
COMPILER ?= .libtpu

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-tpu lint wheel pins clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Pins first, with their hashes; then the project itself, editable and without looking for anything.
$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "v2a needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

setup: $(STAMP)  ## a virtual environment in .venv, from hash-pinned requirements

demo: $(STAMP)  ## soundtracks for the bundled clips, with the default model, and a page of them
	$(BIN)/v2a demo

test: $(STAMP)  ## the tests
	$(BIN)/python -m pytest -q -m "not slow and not tpu" -n $(JOBS) --dist loadfile

test-slow: $(STAMP)  ## the tests that take long
	$(BIN)/python -m pytest -q -m "slow and not tpu" -n $(JOBS) --dist loadfile

# The compiler lies in a folder of its own (684 MB), which only this target looks into.
$(COMPILER)/.stamp: requirements/compiler.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
	  --target $(COMPILER) -r requirements/compiler.txt
	@touch $@

test-tpu: $(COMPILER)/.stamp  ## tiny steps, compiled for TPUs that are not here (Linux, x86-64)
	PYTHONPATH=$(COMPILER) $(BIN)/python -m pytest -q -m tpu -n $(JOBS)

lint: $(STAMP)  ## ruff (format and faults), and hadolint for the Dockerfiles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/hadolint launch/docker/*.Dockerfile

wheel: $(STAMP)  ## the wheel, in dist/, built without network
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist .

# Every version for every supported Python at once; only this target needs uv.
PIN := uv pip compile --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
       --no-emit-index-url --no-annotate --custom-compile-command "make pins" --quiet
pins: pyproject.toml  ## requirements/*.txt anew, from pyproject.toml
	$(PIN) pyproject.toml -o requirements/run.txt
	$(PIN) pyproject.toml --extra dev -c requirements/run.txt -o requirements/dev.txt
	$(PIN) --group pyproject.toml:compiler -o requirements/compiler.txt

clean:  ## remove what was built, the environment included
	rm -rf $(VENV) $(COMPILER) build dist demo_out .pytest_cache .ruff_cache
