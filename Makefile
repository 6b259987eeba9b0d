# Everything a person does with this repository, one word each. `make` alone explains.
#
# Settings, on the command line or in the environment:
#   WORKERS=2          how many crash points, or tests, run at the same time
#   EMCO_BIN=DIR       real EMCO binaries instead of the reference EMCO (chaos, smoke, nightly, soak, signoff)
#   ARGS="..."         passed on as they are, to the command that the target runs
#   TIMES=20           how often a soak repeats what it soaks: WHAT=smoke, or WHAT=chaos
#   PYTHON=python3.12  the interpreter of a new .venv

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
TIMES ?= 20
WHAT ?= smoke
OUT := reports/out/signoff
CHAOS = $(BIN)/emco-chaos run $(if $(WORKERS),--workers $(WORKERS)) $(if $(EMCO_BIN),--emco-bin $(EMCO_BIN)) $(ARGS)

# Of rsync's own crash points, hundreds, the smoke takes those of one call.
SMOKE = not test_rsync_crash or instantiate-dig1 and not instantiate-dig1-
DISRUPTIONS = scenarios/rsync_crash scenarios/namespace_wipe scenarios/cluster_partition scenarios/store_outage
SCENARIO_OPTIONS = --dist loadgroup --no-loadscope-reorder $(if $(EMCO_BIN),--emco-bin $(EMCO_BIN)) $(ARGS)

.PHONY: help setup chaos chaos-kind kind-smoke smoke nightly test lint bench soak signoff clean

help: ## this text
	@echo "emco-chaos: what does a crash leave behind, at every write of every EMCO API call?"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@sed -n 's/^#   /  /p' Makefile
	@echo
	@echo "Start with: make chaos. Nothing has to be installed or started before it."
	@echo "make turns every failure into its own exit code 2; where the code matters, run $(BIN)/emco-chaos itself."

setup: ## install everything into .venv; the other targets do it by themselves
	@scripts/setup

chaos: setup ## crash EMCO at every write of every API call and judge what is left (ARGS: options of `emco-chaos run`)
	@$(CHAOS)

chaos-kind: setup ## kind: points as on processes, the disruptions, clean-up (needs docker and kind; half an hour)
	@EMCO_CHAOS_KIND=1 $(BIN)/python -m pytest tests/kind --deselect tests/kind/test_smoke.py --durations 0 $(ARGS)

kind-smoke: setup ## kind: install, ten crash points, a wiped namespace, an edge away (needs docker and kind; minutes)
	@EMCO_CHAOS_KIND=1 $(BIN)/python -m pytest tests/kind/test_smoke.py $(ARGS)

smoke: setup ## a selection of the disruptions: rsync crash, namespace wipe, cluster partition, store outage (minutes)
	@$(BIN)/python -m pytest $(DISRUPTIONS) -m 'not emco_slow' -k '$(SMOKE)' -n $(or $(WORKERS),2) $(SCENARIO_OPTIONS)

# Points of rsync and of stores wait more than they compute: six workers are right for two cores.
nightly: setup ## every scenario, all of it, six at a time (half an hour)
	@$(BIN)/python -m pytest scenarios -n $(or $(WORKERS),6) $(SCENARIO_OPTIONS)

# They wait for processes more than they compute, too. The longest come last: who is through takes some from the others.
test: setup ## the tests of the harness itself, three at a time (ARGS: options of pytest)
	@$(BIN)/python -m pytest tests -n $(or $(WORKERS),3) --dist worksteal $(ARGS)

lint: setup ## style, types and layers: ruff, mypy, import-linter, shellcheck where it is installed
	@status=0; \
	for check in "$(BIN)/ruff check ." "$(BIN)/ruff format --check ." "$(BIN)/mypy" "$(BIN)/lint-imports --no-logo"; do \
	    $$check || status=1; \
	done; \
	if command -v shellcheck >/dev/null; then shellcheck scripts/setup .ci/run || status=1; fi; \
	exit $$status

bench: setup ## measure relay, snapshots and crash points per minute (docs/performance.md)
	@$(BIN)/python -m benchmarks $(ARGS)

soak: setup ## the smoke TIMES times, up to the first that is not as the baseline says (WHAT=chaos: the crash points)
	@for number in $$(seq $(TIMES)); do echo "soak: $(WHAT), $$number of $(TIMES)"; $(MAKE) $(WHAT) || exit; done

signoff: setup ## all scenarios on real EMCO binaries, for the record of a release (needs EMCO_BIN)
	@test -n "$(EMCO_BIN)" || { echo "signoff: name the release's binaries, make signoff EMCO_BIN=DIR;" \
	    "a run on the reference EMCO can never be a sign-off" >&2; exit 2; }
	@status=0; $(BIN)/python -m pytest scenarios --emco-bin $(EMCO_BIN) --alluredir $(OUT)/allure-results --clean-alluredir \
	    --junitxml $(OUT)/junit.xml $(ARGS) || status=$$?; echo "$(CURDIR)/$(OUT)"; exit $$status

clean: ## remove what can be made again: .venv and caches, not reports/out
	@rm -rf .venv .setup .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
