# Everything that a person does with this tree; each recipe is what one would type without make.
# Settings are STREAMSITE_… variables, from the environment or after the target: make run STREAMSITE_PORT=9000

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
CONFORMANCE := tests/conformance
NODE_MODULES := $(CONFORMANCE)/node_modules/.package-lock.json
BENCH_MODULES := bench/node_modules/.package-lock.json
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links
# How many schedules `make faults` runs, from which seed on, and further arguments of it or of pytest.
SEEDS ?= 1000
FIRST_SEED ?= 1
# How often `make bench-http` measures each contender.
ROUNDS ?= 5
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run install test check format docs faults bench-http bench-peers bench-packages requirements packages clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: export STREAMSITE_ENV := $(or $(STREAMSITE_ENV),development)
run: $(VENV)/.requirements ## install what is missing and serve on 127.0.0.1:8000, open and without keys; Ctrl-C stops it
	@$(BIN)/python manage.py migrate --verbosity 0
	@exec $(BIN)/python manage.py serve

install: $(VENV)/.requirements ## make the virtual environment and install the site's requirements

test: $(VENV)/.requirements-dev packages $(NODE_MODULES) check ## install what the tests need, check, and run all of them
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.requirements-dev ## lint, format, types and the directions of imports; no services, nothing written
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.requirements-dev ## format the code and repair what can be repaired by rule
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.requirements-dev ## write the reference pages from the code, and check the documentation
	$(BIN)/python -m docs.tools.reference
	$(BIN)/python -m pytest tests/docs $(ARGS)

faults: $(VENV)/.requirements-dev packages ## break things at random: SEEDS=1000 schedules of 20 s, each replayed by its printed seed
	$(BIN)/python -m tests.faults --seed $(FIRST_SEED) --runs $(SEEDS) $(ARGS)

bench-http: $(VENV)/.requirements-dev bench-packages bench-peers ## measure the server beside its peers: ROUNDS=5, ARGS="--only append"
	@$(BIN)/python -m bench --rounds $(ROUNDS) $(ARGS)

bench-peers: $(BENCH_MODULES)

requirements: $(VENV)/.requirements-dev ## compile requirements*.txt from requirements*.in
	$(COMPILE) --output-file requirements.txt requirements.in
	$(COMPILE) --output-file requirements-dev.txt requirements-dev.in

clean: ## remove what the tools keep; var/, the site's data, stays
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "streamsite needs Python 3.11; name it: make run PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian type: apt-get install python3-venv"; exit 1; }

$(VENV)/.requirements: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.requirements-dev: requirements-dev.txt $(VENV)/.requirements
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

$(NODE_MODULES): $(CONFORMANCE)/package-lock.json
	@command -v npm > /dev/null || { echo "make test needs Node 20 and npm for the suites that others wrote"; exit 1; }
	npm ci --prefix $(CONFORMANCE) --ignore-scripts --no-audit --no-fund
	@touch $@

$(BENCH_MODULES): bench/package-lock.json
	@command -v npm > /dev/null || { echo "make bench-http needs Node 20 and npm for the peer that others wrote"; exit 1; }
	npm ci --prefix bench --ignore-scripts --no-audit --no-fund
	@touch $@

# What pip has no wheel of: a browser, Debian's Redis, a compiler for the libraries that tests preload, a proxy and clients that
# others wrote. Installed when that needs no question, without starting anything, else the line to type is the answer.
define INSTALL_MISSING
	[ -n "$$missing" ] || exit 0; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	if command -v apt-get > /dev/null && $$as_root true 2> /dev/null; then \
		$$as_root apt-get update --quiet=2 && \
		$$as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends $$missing; \
	else \
		echo "this needs$$missing; type: sudo apt-get install --no-install-recommends$$missing"; exit 1; \
	fi
endef

packages:
	@missing=; \
	command -v chromium > /dev/null || missing="$$missing chromium"; \
	command -v redis-server > /dev/null || missing="$$missing redis-server"; \
	command -v cc > /dev/null || missing="$$missing gcc libc6-dev"; \
	command -v nginx > /dev/null || missing="$$missing nginx-light"; \
	command -v h2load > /dev/null || missing="$$missing nghttp2-client"; \
	command -v slowhttptest > /dev/null || missing="$$missing slowhttptest"; \
	$(INSTALL_MISSING)

bench-packages:
	@missing=; \
	command -v wrk > /dev/null || missing="$$missing wrk"; \
	$(INSTALL_MISSING)
