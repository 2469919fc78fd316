# What people type. Each target installs what it needs; nothing needs root, Docker, a cluster or a database.
.PHONY: help install compiled demo test test-kubernetes simulate check format bench bench-kubernetes bench-registry bench-health soak mutation coverage control-plane playground playground-stop lock \
	schemas docs helm promtool clean
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$p && break; done)
# One more test at a time than there are processors: many wait for processes, and the machine would idle meanwhile.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
NO_PYTHON := Python 3.11 to 3.14 is needed, and none was found; name one with make PYTHON=...
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (once; a minute or two)"
	@# The lock names everything: with --no-deps nothing newer is ever asked for, which older pips do for extras.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

install: $(STAMP) ## install everything into .venv

compiled: $(STAMP)
	@# Once for all the processes that tests and the demo start: where PYTHONDONTWRITEBYTECODE is set, as in many
	@# containers, each of them would compile the program anew, which takes longer than what most are there for.
	@$(BIN)/python -m compileall -q reconciler tests

demo: compiled $(if $(filter playground,$(CLUSTER)),playground) ## the whole main job here, or with CLUSTER=playground on a real API server
	@$(BIN)/python examples/demo.py $(CLUSTER)

test: compiled ## all tests that need nothing beside Python and git
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not controlplane and not helm and not promtool"
	@echo "Not in here: tests on a real control plane, with real Helm and promtool. They are run by: make test-kubernetes"

test-kubernetes: compiled control-plane helm promtool ## the tests on a real control plane, with real Helm and promtool: needs Go
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "controlplane or helm or promtool"

STEPS ?= 100000
SEED ?= 1
JOBS ?= 2

simulate: compiled ## weeks of a daemon in simulated time against a model: STEPS=100000 SEED=1 JOBS=2
	$(BIN)/python -m tests.simulation --steps $(STEPS) --seed $(SEED) --jobs $(JOBS)

coverage: compiled ## branch coverage of the core, held at 95 %
	RECONCILER_TEST_EXAMPLES=15 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --cov --cov-report=term:skip-covered \
		tests/model tests/spec tests/placement tests/render tests/plan tests/health tests/alerting tests/query \
		tests/cli_views tests/contracts/test_moving_contract.py

control-plane: ## build the control plane that tests and the playground start: needs Go, or KUBEBUILDER_ASSETS
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@$(PYTHON) tests/controlplane/build.py

HELM := tests/helm/bin/helm
HELM_VERSION = $(shell sed -n 's|.*helm.sh/helm/v4 ||p' tests/helm/go.mod | cut -d' ' -f1)

helm: $(HELM) ## build Helm 4 for the tests of charts (needs Go; minutes when cold)
$(HELM): tests/helm/go.mod tests/helm/go.sum
	@command -v go >/dev/null || { echo "Go is needed to build Helm: see https://go.dev/dl" >&2; exit 1; }
	cd tests/helm && CGO_ENABLED=0 nice -n 10 go build -p 2 -trimpath \
		-ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$(HELM_VERSION)" -o bin/helm helm.sh/helm/v4/cmd/helm

PROMTOOL := tests/promtool/bin/promtool

promtool: $(PROMTOOL) ## build promtool for the tests of alert rules (needs Go; minutes when cold)
$(PROMTOOL): tests/promtool/go.mod tests/promtool/go.sum
	@command -v go >/dev/null || { echo "Go is needed to build promtool: see https://go.dev/dl" >&2; exit 1; }
	@# Without the clients of clouds, which service discovery alone asks: they are most of what there is to build.
	cd tests/promtool && CGO_ENABLED=0 nice -n 10 go build -p 2 -trimpath -tags remove_all_sd \
		-ldflags "-s -w" -o bin/promtool github.com/prometheus/prometheus/cmd/promtool

playground: $(STAMP) control-plane ## start a real control plane that stays, with a kubeconfig
	@$(BIN)/python -m tests.controlplane.playground start

playground-stop: $(STAMP) ## stop it, and remove what it held
	@$(BIN)/python -m tests.controlplane.playground stop

check: $(STAMP) ## lint, types, import contracts, schemas and docs up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/reconciler schema --check schemas
	$(BIN)/python -m reconciler.daemon.http --check schemas/openapi.json
	$(BIN)/python -m reconciler.cli.reference --check docs/reference

format: $(STAMP) ## format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas docs: $(STAMP) ## write the generated schemas and reference anew
	$(BIN)/reconciler schema --write schemas
	$(BIN)/python -m reconciler.daemon.http --write schemas/openapi.json
	$(BIN)/python -m reconciler.cli.reference --write docs/reference

bench: $(STAMP) ## benchmarks at 1,000 and 10,000 agents, written into docs/performance.md
	$(BIN)/python -m benchmarks.run --write docs/performance.md

SIZES ?= 1000

bench-kubernetes: $(STAMP) control-plane benchmarks/bin/kapp benchmarks/bin/bareloop ## against a real API server, beside kubectl, kapp and a bare loop: needs Go
	$(BIN)/python -m benchmarks.cluster.run --sizes $(SIZES) --write docs/performance.md

benchmarks/bin/kapp: benchmarks/kapp/go.mod benchmarks/kapp/go.sum
	@command -v go >/dev/null || { echo "Go is needed to build kapp: see https://go.dev/dl" >&2; exit 1; }
	cd benchmarks/kapp && GOFLAGS=-mod=mod CGO_ENABLED=0 nice -n 10 go build -p 2 -trimpath -o ../bin/kapp carvel.dev/kapp/cmd/kapp

benchmarks/bin/bareloop: benchmarks/clientgo/main.go benchmarks/clientgo/go.mod benchmarks/clientgo/go.sum
	@command -v go >/dev/null || { echo "Go is needed to build the bare loop: see https://go.dev/dl" >&2; exit 1; }
	cd benchmarks/clientgo && CGO_ENABLED=0 nice -n 10 go build -p 2 -trimpath -o ../bin/bareloop .

bench-registry: $(STAMP) ## queries and writes of registries of 1,000 to 100,000 agents, written into docs/performance.md
	$(BIN)/python -m benchmarks.registry --write docs/performance.md

MINUTES ?= 30

soak: $(STAMP) $(if $(filter playground,$(CLUSTER)),control-plane) ## a daemon for MINUTES=30 under commits and kills, or CLUSTER=playground; into docs/performance.md
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --cluster $(or $(CLUSTER),embedded) --write docs/performance.md

bench-health: $(STAMP) ## the health sweep over 1,000 and 10,000 endpoints, written into docs/performance.md
	$(BIN)/python -m benchmarks.sweep --write docs/performance.md

mutation: $(STAMP) ## mutation run over plan/ and engine/journal
	RECONCILER_TEST_EXAMPLES=6 $(BIN)/mutmut run
	$(BIN)/mutmut results

lock: ## write requirements/*.txt anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml requirements/dev.in -o requirements/dev.txt

clean: ## remove what the targets made
	rm -rf $(VENV) .demo tests/controlplane/bin tests/helm/bin tests/promtool/bin benchmarks/bin dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* mutants
