# The same recipes for people and for CI. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(LOCK_FLAGS)

.DELETE_ON_ERROR:
.PHONY: help setup demo test check check-style check-types check-arrows check-wheel \
	check-generated bench faults generate lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## a virtual environment in .venv, from the lock file; nothing to do when it stands

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "setup: Phasegate needs Python 3.11 or newer, '$(PYTHON)' is not that;" \
			"name another one: make setup PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "setup: '$(PYTHON)' comes without venv;" \
			"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the main job on a throw-away PostgreSQL and cache, in a minute or two
	$(BIN)/phasegate demo

test: setup ## every test but the long ones: units in parallel, then real servers
	$(BIN)/python -m checks.run_tests

faults: setup ## the fault tests in their long form
	PHASEGATE_FAULTS=long $(BIN)/python -m pytest -n 2 --durations=10 \
		-m "long or not long" -o faulthandler_timeout=1800 tests/faults \
		tests/integration/migrate tests/integration/demo \
		tests/integration/validators

check: check-style check-types check-arrows check-generated check-wheel ## all that needs no server

check-style: setup ## ruff: lint and format
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

check-types: setup ## mypy, strict, tests included
	$(BIN)/python -m checks.analysers types

check-arrows: setup ## import-linter: the arrows between the rooms
	$(BIN)/python -m checks.analysers arrows

check-generated: setup ## generated files are what the code generates
	$(BIN)/python -m docs.generate --check
	$(BIN)/phasegate alerts check
	$(BIN)/phasegate dashboards check
	$(BIN)/python -m deploy.generate --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

check-wheel: setup ## the wheel holds what is tracked and lives beside its neighbours
	$(BIN)/python -m checks.wheel

generate: setup ## write the generated files
	$(BIN)/python -m docs.generate
	$(BIN)/phasegate alerts build
	$(BIN)/phasegate dashboards build
	$(BIN)/python -m deploy.generate

bench: setup ## the benchmarks, into benchmarks/results; BENCH=short tries them in minutes
	$(BIN)/python -m benchmarks

lock: setup ## write the lock files anew; LOCK_FLAGS=--upgrade for newer versions
	$(COMPILE) pyproject.toml --all-extras --group dev --output-file requirements-dev.lock
	$(COMPILE) pyproject.toml --constraint requirements-dev.lock --output-file requirements.lock
	$(COMPILE) --group build --constraint requirements-dev.lock \
		--output-file requirements-build.lock

clean: ## remove the virtual environment, caches and builds
	rm -rf $(VENV) .cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
