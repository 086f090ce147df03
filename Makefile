# make install     the environment, in .venv
# make quickstart  from nothing to a fine-tuned and evaluated model
# make test        the tests (make test-long: the rest of the long ones); make lint: formatting, types, schemas; make bench: the benchmarks

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 2
# A file's tests share models and services, so that they stay on one process; tests/conftest.py orders the files.
SLOW = -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15 -q

export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install quickstart test test-fast test-long lint format bench lock clean

install: $(STAMP)

$(STAMP): requirements/main.in requirements/main.txt requirements/engines.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); sys.exit(None if ok else "Residency needs Python 3.11 or 3.12, this is %d.%d: make PYTHON=python3.12 install" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -r requirements/main.in -c requirements/main.txt
	$(PIP) install --quiet --no-deps -r requirements/engines.txt
	@touch $@

quickstart: $(STAMP)
	$(BIN)/python launch.py recipes/quickstart.yaml

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not gpu" -n $(JOBS) -q
	$(BIN)/python -m pytest -m "slow and not long and not gpu" $(SLOW)

# What takes minutes each: exact resumption, joined clusters, tools, search, ZeRO-3. CI runs it after `make test`.
test-long: $(STAMP)
	$(BIN)/python -m pytest -m "long and not gpu" $(SLOW)

test-fast: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not gpu" -n $(JOBS) -q

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python launch.py schema --check

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run

# The versions that main.in resolves to today; engines.txt and torch's local build tag left out.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet -r requirements/main.in
	( echo '# Every version of the main environment, for `pip install -c`. Made by `make lock`; do not edit.'; \
	  build/lock/bin/python -m pip freeze | sed 's/+cpu//; s/ @ file.*//' ) > requirements/main.txt

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
