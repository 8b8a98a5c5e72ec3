# Every target installs first where the environment is missing or out of date.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= python3
WORKERS ?= 2
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help install demo demo-cluster test test-quick lint format bench bench-kafka bench-ledger drill generate kafka postgres image image-test clean

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## the environment in .venv, the command in .venv/bin/fal-consumer

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "fal-consumer needs Python 3.11 or newer as $(PYTHON); install python3 (Debian, Ubuntu: apt-get install python3), or say make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "fal-consumer needs the venv module; install it (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "installing into $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## simulator and service on free ports, a few hundred requests with faults; KEEP=1 stays up
	@$(BIN)/fal-consumer demo $(if $(KEEP),--keep)

demo-cluster: $(STAMP) ## the demo on real Kafka and PostgreSQL, which are killed on the way, and a worker
	@$(BIN)/fal-consumer demo --cluster $(if $(KEEP),--keep)

lint: $(STAMP) ## ruff, mypy, import rules, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: $(STAMP) ## let ruff write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## lint and the whole suite
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

test-quick: $(STAMP) ## what needs no server and no network: two to three minutes
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not slow and not kafka and not postgres'

kafka: $(STAMP) ## a real Kafka for development, until Ctrl-C; BROKERS=3 for a cluster
	@$(BIN)/python -m consumer.devservers kafka --brokers $(or $(BROKERS),1)

postgres: $(STAMP) ## a real PostgreSQL for development, until Ctrl-C
	@$(BIN)/python -m consumer.devservers postgres

bench: $(STAMP) ## the receiver beside a bare handler, in one run
	$(BIN)/python benchmarks/receiver.py

bench-kafka: $(STAMP) ## receiver and worker on real Kafka, beside what others would write
	$(BIN)/python benchmarks/receiver_kafka.py
	$(BIN)/python benchmarks/worker_kafka.py

bench-ledger: $(STAMP) ## reads, claims and writes of a large ledger; REQUESTS=10000000
	$(BIN)/python benchmarks/ledger_scale.py --requests $(or $(REQUESTS),1000000)

drill: $(STAMP) ## the long runs: hostile traffic, kills, every fault of a cluster
	$(BIN)/python drills/hostile.py
	$(BIN)/python drills/crash.py
	$(BIN)/python -m drills.conservation
	$(BIN)/python -m drills.outage
	$(BIN)/python benchmarks/ledger_scale.py --requests 10000000

image: ## the container image, by docker; BASE=… for another base
	docker build --tag fal-consumer:$(VERSION) $(if $(BASE),--build-arg BASE=$(BASE)) .

image-test: ## build and try the image without a docker engine, as root; BASE=… for another base
	$(PYTHON) deploy/image_test.py $(if $(BASE),--base $(BASE))

generate: $(STAMP) ## docs and schemas that are made from the types
	$(BIN)/python docs/generate.py

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
