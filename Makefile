# The whole set-up and the common jobs. Needs Python >= 3.11, git and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that the tests run on, and what they run: all, or folders and files such as tests/codecs.
JOBS ?= 2
TESTS ?=
# The interpreters of `make test-python`.
PYTHONS ?= python3.11 python3.12 python3.13
STAMP := $(VENV)/.stamp
# Where libtpu goes.
COMPILER ?= .libtpu
# Where the servers and clients of object stores go.
STORES ?= .stores
# Where TensorFlow goes.
TENSORFLOW ?= .tensorflow

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-tpu test-stores test-tfds test-data test-python test-newest lint types docs wheel pins clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# Pins first, with their hashes; then the project itself, editable and without network.
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
	$(BIN)/python -m pytest -q -m "not slow and not tpu and not stores and not tfds" -n $(JOBS) --dist loadfile $(TESTS)

test-slow: $(STAMP)  ## the tests that take long
	$(BIN)/python -m pytest -q -m "slow and not tpu and not stores and not tfds" -n $(JOBS) --dist loadfile $(TESTS)

# The compiler (684 MB) has a folder of its own, which only this target uses.
$(COMPILER)/.stamp: requirements/compiler.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
	  --target $(COMPILER) -r requirements/compiler.txt
	@touch $@

test-tpu: $(COMPILER)/.stamp  ## tiny steps, compiled for TPUs that are not here (Linux, x86-64)
	PYTHONPATH=$(COMPILER) $(BIN)/python -m pytest -q -m tpu -n $(JOBS)

# They require another python-dateutil than the rest, so they have a folder of their own, which comes first.
$(STORES)/.stamp: requirements/stores.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
	  --target $(STORES) -r requirements/stores.txt
	@touch $@

test-stores: $(STORES)/.stamp  ## paths of object stores, with servers that run here
	PYTHONPATH=$(STORES) $(BIN)/python -m pytest -q -m "stores and not slow" -n $(JOBS) --dist loadfile

# TensorFlow (1.6 GB) has one, too, with what it needs and the environment lacks. One package is a source archive, built
# with the setuptools of the environment.
$(TENSORFLOW)/.stamp: requirements/tfds.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
	  --no-build-isolation --target $(TENSORFLOW) -r requirements/tfds.txt
	@touch $@

test-tfds: $(TENSORFLOW)/.stamp  ## data sets of TFDS: their builders, and reading them
	PYTHONPATH=$(TENSORFLOW) $(BIN)/python -m pytest -q -m tfds -n $(JOBS) --dist loadfile tests/data_pipelines

# Apache Beam requires older releases of several packages, so the extra `data` has an environment of its own.
DATA_TESTS := tests/data_pipelines/test_runner.py tests/data_pipelines/test_cut.py tests/data_pipelines/annotate \
              tests/data_pipelines/sources/test_tables.py
.venv-data/.stamp: requirements/data_tests.txt pyproject.toml
	$(PYTHON) -m venv .venv-data
	.venv-data/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements/data_tests.txt
	.venv-data/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

test-data: .venv-data/.stamp  ## builds of data sets with the packages of the extra data: Beam, OpenAI's client, ...
	.venv-data/bin/python -m pytest -q -m "not slow" -n $(JOBS) --dist loadfile $(DATA_TESTS)

# Each interpreter has an environment of its own, with the pinned versions.
test-python:  ## the tests on each of python3.11, python3.12 and python3.13 that is found
	@status=0; for python in $(PYTHONS); do \
	  if $$python -c '' 2>/dev/null; then \
	    $(MAKE) --no-print-directory test PYTHON=$$python VENV=.venv-$$python || status=1; \
	  else echo "$$python is not there."; fi; \
	done; exit $$status

test-newest:  ## the tests with the newest releases that pyproject.toml allows, instead of the pinned ones
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	.venv-newest/bin/python -m pytest -q -m "not slow and not tpu and not stores and not tfds" -n $(JOBS) --dist loadfile $(TESTS)

lint: $(STAMP)  ## ruff (format and faults), and hadolint for the Dockerfiles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/hadolint launch/docker/*.Dockerfile

types: $(STAMP)  ## the type checker
	$(BIN)/ty check --python $(VENV)

# The tools of the site, in the same environment; the build itself needs no network.
$(VENV)/.docs-stamp: requirements/docs.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

docs: $(VENV)/.docs-stamp  ## the documentation site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: $(STAMP)  ## the wheel, in dist/, built without network
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist .

# Every version for every supported Python at once; only this target needs uv.
PIN := uv pip compile --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
       --no-emit-index-url --no-annotate --custom-compile-command "make pins" --quiet
pins: pyproject.toml  ## compile requirements/*.txt from pyproject.toml
	$(PIN) pyproject.toml -o requirements/run.txt
	$(PIN) pyproject.toml --extra dev -c requirements/run.txt -o requirements/dev.txt
	$(PIN) pyproject.toml --extra docs -c requirements/dev.txt -o requirements/docs.txt
	$(PIN) pyproject.toml --extra s3 --extra gs -o requirements/pods.txt
	$(PIN) pyproject.toml --extra data --extra speech --extra s3 --extra gs -o requirements/data.txt
	$(PIN) pyproject.toml --extra dev --extra data --extra speech -c requirements/data.txt -o requirements/data_tests.txt
	$(PIN) --group pyproject.toml:compiler -o requirements/compiler.txt
	$(PIN) --group pyproject.toml:stores -o requirements/stores.txt
	$(PIN) pyproject.toml --extra tfds --group pyproject.toml:tfds-tests -c requirements/dev.txt \
	  $$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements/dev.txt) -o requirements/tfds.txt

clean:  ## remove what was built, the environment included
	rm -rf $(VENV) .venv-* $(COMPILER) $(STORES) $(TENSORFLOW) build dist site demo_out .pytest_cache .ruff_cache
