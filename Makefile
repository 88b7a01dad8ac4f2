# The index of habits; `make` alone prints it. Everything sets up what it needs, once.
#   ARGS=...    is passed on to demo, test (pytest), up, bench and lock
#   PYTHON=...  is the interpreter that .venv is made with, where python3 is older than 3.11

BIN := .venv/bin
export PATH := $(PATH):$(CURDIR)/.tools/bin
# The servers of demo, test and bench are on loopback, whatever proxy the machine has.
export NO_PROXY := 127.0.0.1,localhost,$(NO_PROXY),$(no_proxy)
export no_proxy := $(NO_PROXY)
# Tests start hundreds of processes: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup python servers databases compose extras versions tools secrets demo quick test lint typecheck check generate dashboards up bench lock clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: python servers ## make .venv and .tools (the other targets do, too)

python:
	@sh setup/python.sh

servers:
	@sh setup/servers.sh

databases:
	@sh setup/databases.sh

compose: python
	@sh setup/compose.sh

extras:
	@sh setup/extras.sh

versions:
	@sh setup/versions.sh

demo: setup ## watch a rollout go wrong and roll itself back
	$(BIN)/python -m demo $(ARGS)

quick: python ## lint, types and unit tests: what to run before each commit
	@$(MAKE) --no-print-directory lint typecheck
	$(BIN)/pytest -q -n auto --dist worksteal tests/unit $(ARGS)

tools: setup databases compose extras versions

test: ## lint, typecheck, check, who imports whom, and pytest
	@$(MAKE) --no-print-directory --jobs=4 --output-sync=line tools lint typecheck check
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

lint: python ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

typecheck: python ## mypy, strict
	$(BIN)/mypy

check: setup ## every check of docs/checks.md, and what is generated is what the rollouts render to
	$(BIN)/rollguard check
	$(BIN)/rollguard generate --out alerts/generated --check
	$(BIN)/rollguard dashboards generate --out dashboards/generated --check

generate: setup ## render the rollouts into alerts/generated
	$(BIN)/rollguard generate --out alerts/generated

dashboards: setup ## make Grafana's dashboards of the rollouts in dashboards/generated
	$(BIN)/rollguard dashboards generate --out dashboards/generated

up: setup ## Prometheus, Alertmanager and Rollguard on this machine, until Ctrl-C
	$(BIN)/rollguard up $(ARGS)

secrets: ## make the passwords and the token of docker-compose.yml
	@sh deploy/secrets.sh

bench: setup extras ## measure how long a rollback takes (ARGS=--help: what else is measured)
	$(BIN)/python -m bench $(ARGS)

lock: python ## remake constraints.txt and the image's from pyproject.toml (ARGS=--upgrade for newer versions)
	@[ -x .tools/uv/bin/uv ] || $(BIN)/python -m pip install -qq --target .tools/uv uv
	.tools/uv/bin/uv pip compile --no-config --quiet --universal --python-version 3.11 --extra dev \
	    --generate-hashes --custom-compile-command "make lock" --output-file constraints.txt pyproject.toml $(ARGS)
	echo hatchling | .tools/uv/bin/uv pip compile --no-config --quiet --universal --python-version 3.11 --extra demo \
	    --extra postgresql --constraints constraints.txt --generate-hashes --custom-compile-command "make lock" \
	    --output-file deploy/requirements.txt pyproject.toml -

clean: ## remove what setup and the tools made; .rollguard, the ledger's folder, stays
	rm -rf .venv .tools .demo dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
