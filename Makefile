# Everything sets itself up: `make demo` and `make test` work on a fresh machine, and take seconds to start the next time.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check soak jobs versions rabbitmq4 bench lock clean venv services private-services
.NOTPARALLEL:
# What is compiled is kept: tests start hundreds of processes, and half of the time of each would go into compiling.
unexport PYTHONDONTWRITEBYTECODE

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: private-services  ## orders through outbox and inbox; broker, relay and worker are killed: lost 0 (ARGS="--help")
	@$(BIN)/python -m workers.demo $(ARGS)

test: private-services  ## all tests (ARGS="-k name" for some of them)
	@.ci/pytest $(ARGS)

coverage: private-services  ## all tests, and which lines they run: half as fast again
	@.ci/pytest --cov --cov-report=term:skip-covered $(ARGS)

check: venv  ## lint, format, types and unit tests (a third of their examples), within a minute
	@BIN=$(BIN) .ci/check $(ARGS)

soak: private-services  ## long runs with random faults
	@$(BIN)/python -m pytest tests/stress -m soak $(ARGS)

jobs: private-services  ## 10,000 jobs, a tenth of which fail in all ways: each ends as its policy says, counted
	@$(BIN)/python -m pytest tests/stress/test_jobs.py -m soak -s $(ARGS)

versions: private-services  ## the tests of the wire, with every pika that the fast path knows
	@compose/test-versions $(ARGS)

rabbitmq4: private-services  ## the tests of the broker's side against RabbitMQ 4, up to half an hour; says so where there is none (ARGS="--help")
	@compose/test-rabbitmq4 $(ARGS)

bench: private-services  ## how fast it is, beside other clients (ARGS="--full", or "-h" for more)
	@compose/install-system-packages compiler || echo "Without a compiler the C client is left out." >&2
	@benchmarks/make-venv $(PYTHON)
	@.venv-bench/bin/python -m benchmarks $(ARGS)

lock:  ## renews constraints.txt: the newest versions that pyproject.toml allows
	@compose/lock $(PYTHON)

clean:  ## removes the virtual environment and what tools left
	@rm -rf .venv .venv-bench .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

services: venv
	@compose/install-system-packages services

private-services: venv
	@compose/install-system-packages private-services

venv:
	@compose/make-venv $(PYTHON)
