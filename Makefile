# make run      serve on 127.0.0.1:8000, counters in ./data (PORT=, STORE= override)
# make test     everything; what has to be skipped is named at the end (TiDB needs make tidb, once)
# make mutations  each of 47 changed lines of the source makes a test fail
# make quick    the unit level, under 20 seconds
# make soak     100,000 schedules of the model; 20,000 increments through every fault
# make check    lint, formatting, types, import contracts, generated documents
# make docs     write the generated documents
# make bench    measure, and write the result into the README
# make lab      the standing experiment: every datastore verified and measured, into docs/report
# make plain    what works without extras
# make servers  install the datastores that the tests start
# make tidb     build TiDB's server, once: 10 minutes
PYTHON ?= python3
PORT ?= 8000
STORE ?= sqlite:data/counters.db
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Modules side by side: each starts servers of its own, and most of the time waits for them.
SIDE_BY_SIDE := -n 3 --dist loadfile
PLAIN_TESTS := tests/unit tests/conformance/test_memory.py tests/conformance/test_sqlite.py --ignore tests/unit/test_docs.py

.DEFAULT_GOAL := help
.PHONY: help run test mutations quick soak bench lab docs check plain servers tidb constraints clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# `exec`: the server is make's own child, so that ending make with SIGTERM ends the server, which then drains.
run: .venv/installed
	@exec $(BIN)/plusone serve --port $(PORT) --store '$(STORE)'

test: .venv/dev servers
	$(PYTEST) $(SIDE_BY_SIDE) --ignore tests/mutations $(PYTEST_FLAGS)

# Lines of the source are changed one by one, and a test has to fail each time.
mutations: .venv/dev servers
	$(PYTEST) -n auto tests/mutations

quick: .venv/dev
	$(PYTEST) -x tests/unit

soak: .venv/dev servers
	PLUSONE_TEST_SOAK=1 $(PYTEST) --timeout 3600 tests/model tests/conformance

bench: .venv/dev servers tidb
	@tools/install-servers wrk webdis
	$(BIN)/python -m bench
	$(BIN)/python -m bench.lost_replies
	$(BIN)/python -m tools.docs

# An hour. What fails is said at the end, and the page is written all the same: so are the documents.
lab: .venv/dev servers tidb
	@$(BIN)/python -m tools.lab $(LAB_FLAGS); status=$$?; $(BIN)/python -m tools.docs && exit $$status

docs: .venv/dev
	$(BIN)/python -m tools.docs

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.docs --check

# What `pip install plusone` alone gives: the library, the command line, memory and SQLite.
plain: .venv/dev
	rm -rf .venv-plain
	$(PYTHON) -m venv .venv-plain
	.venv-plain/bin/pip install -q -c constraints.txt . pytest pytest-timeout hypothesis
	.venv-plain/bin/python -m pytest $(PLAIN_TESTS)

# What the tests start; without it, the tests that need it are skipped and say so.
servers: .venv/dev
	@tools/install-servers redis-server mariadb-server:mariadbd 'postgresql:/usr/lib/postgresql/*/bin/postgres' \
		etcd-server:etcd maven:mvn default-jdk-headless:javac chromium chromium-driver:chromedriver
	@$(BIN)/python -m plusone.lab.servers.build dynamodb mongo

# TiDB from its sources: 7 to 13 minutes and 4.5 GB of Go's caches, once.
tidb: .venv/dev
	@$(BIN)/python -m plusone.lab.servers.build tidb

constraints: .venv/dev
	@{ head -1 constraints.txt; $(BIN)/pip freeze --all --exclude-editable --exclude setuptools; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf .venv .venv-plain build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "plusone needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt --upgrade pip
	$(BIN)/pip install -q -c constraints.txt -e '.[all]'
	@touch $@

.venv/dev: .venv/installed
	$(BIN)/pip install -q -c constraints.txt --group dev
	@touch $@
