# Every target makes its own virtual environment first: any of them may be the first command in a fresh clone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin

EXTRAS_demo := [server]
EXTRAS_test := [test]
EXTRAS_lint := [lint]
EXTRAS_bench := [bench]

.PHONY: help demo test test-envs lint bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo    start a server, import, query, kill it, start it again; report in out/demo;"
	@echo "             ARGS=--keep-serving leaves the server up"
	@echo "make test    the test suite; in two processes; options for pytest in ARGS, e.g. ARGS='--long tests/search'"
	@echo "make test-envs    the tests that need another environment: Keras on TensorFlow"
	@echo "make lint    ruff, mypy, pyright and the import contracts"
	@echo "make bench   every benchmark, or those named in ARGS"
	@echo "make clean   remove the virtual environment, caches and output"

demo: $(VENV)/installed-demo
	$(BIN)/qstore demo $(ARGS)

test: $(VENV)/installed-test
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

# TensorFlow's pins clash with those of the others (h5py), so that its tests have an environment of their own.
test-envs:
	KERAS_BACKEND=tensorflow $(MAKE) --no-print-directory test VENV=.venv-tensorflow \
	  CONSTRAINTS=constraints-tensorflow.txt EXTRAS_test='[test-tensorflow]' ARGS=tests/layers/test_keras.py

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .venv-tensorflow build dist out .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/installed-%: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.$(EXTRAS_$*)'
	touch $@

# Debian splits ensurepip off into python3-venv; where it is missing, the system's pip fills the environment.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
