# One command per target; what needs more is a script in scripts/. `make help` reads the lines with two hashes.
.DEFAULT_GOAL := help
SERVICE ?= api
# How many tests run at once. Whole files go to one of the processes, so that what a file shares is made once.
WORKERS ?= 2
PYTEST := .venv/bin/pytest -q
SIDE_BY_SIDE := $(PYTEST) -n $(WORKERS) --dist loadfile
# A machine that forbids Python to keep what it compiled pays for it again in every process of every test.
unexport PYTHONDONTWRITEBYTECODE
PACKAGES := shared api provisioner proxy_sync health terminal keeper cli

.PHONY: help setup setup-dev lock docs lint type unit contract integration e2e test up down logs status streams migrate clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## set up what is missing, run the whole platform until Ctrl-C
	@scripts/setup.sh && exec .venv/bin/clawstead up

down: ## stop a platform that runs in the background
	@.venv/bin/clawstead down

status: ## show what runs and whether it is ready
	@.venv/bin/clawstead status

logs: ## follow the log of one process, SERVICE=api
	@.venv/bin/clawstead logs $(SERVICE) --follow

streams: ## declare the NATS streams, consumers and buckets
	@.venv/bin/clawstead streams apply

migrate: ## bring the database to the current schema
	@.venv/bin/clawstead-api migrate

test: ## set up what is missing, run every check and every test
	@scripts/test.sh

setup: ## install what running needs and this machine lacks
	@scripts/setup.sh

setup-dev: ## install what developing needs, too
	@scripts/setup.sh --dev

lint: ## style, formatting and import boundaries
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports && shellcheck -x scripts/*.sh images/*/*.sh ops/drills/*.sh

type: ## strict types
	@.venv/bin/mypy $(PACKAGES:%=-p clawstead_%) && .venv/bin/mypy tests benchmarks

unit: ## tests without I/O
	@$(SIDE_BY_SIDE) tests/unit

contract: ## the wire contract, the boundaries between services, the locks, the generated documents
	@$(PYTEST) tests/contract

integration: ## tests with real NATS, Docker, nginx, PostgreSQL
	@status=0; $(SIDE_BY_SIDE) -m "not alone" tests/integration || status=1; \
	$(PYTEST) -m alone tests/integration || status=1; exit $$status

e2e: ## the whole platform, as a customer meets it
	@$(PYTEST) tests/e2e

lock: ## resolve dependencies anew, write every lock; UPGRADE=1 for newest versions
	@scripts/lock.sh $(if $(UPGRADE),--upgrade)

docs: ## write docs/openapi.json, docs/asyncapi.json, docs/events.md and the payload schemas anew
	@.venv/bin/python -m scripts.generate_docs

clean: ## remove caches and build products; never data, images or .venv
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist; \
	find shared services tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
