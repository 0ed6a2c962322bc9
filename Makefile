# The commands a person needs. `make run` and `make test` set everything up by themselves.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help run tour test lint check install lock screenshots docs sim mutants crash soak bench-feeds bench-mesh loss bench-console bench-election nemesis clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing. Run: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, this is $$($(PYTHON) --version). Run: apt-get install python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing. Run: apt-get install python3-venv"; exit 1; }
	@command -v git >/dev/null || { echo "git is missing. Run: apt-get install git"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib agent_core chorus_hap || true
	@touch $@

install: $(STAMP) ## make .venv, with the program at .venv/bin/chorus-hap

run: install ## set up and open the console
	@$(BIN)/chorus-hap

tour: install ## three daemons in temporary homes and a console on them, gone at exit
	@$(BIN)/python -m chorus_hap.tour

test: install ## set up and pass every test
	$(BIN)/pytest -n 2 --dist loadfile -m "not real and not console and not search"
	$(BIN)/pytest -m search
	$(BIN)/pytest -n 2 --dist loadfile -m "(real or console) and not alone"
	$(BIN)/pytest -m alone

lint: install ## format, lint, types, import contracts, generated pages
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m docs.generate --check

check: lint test ## lint and test

docs: install ## write the generated reference pages anew
	@$(BIN)/python -m docs.generate

screenshots: install ## the real console on a real three-node mesh, every pane as SVG
	@$(BIN)/python -m screenshots.make

SEEDS ?= 1000
BASE ?= 1
sim: install ## search SEEDS fault schedules from seed BASE on; replay or shrink one with REPLAY=n or SHRINK=n
	@$(BIN)/python -m agent_core.simulated.search --seeds $(SEEDS) --base $(BASE) --processes 2 \
		$(if $(REPLAY),--replay $(REPLAY)) $(if $(SHRINK),--shrink $(SHRINK))

bench-mesh: install ## gossip beside js-libp2p's, as JSON; takes about three minutes
	@$(BIN)/python -m bench.mesh

KILLS ?= 200
crash: install ## kill an appending process KILLS times, then with its disk filling up (that needs root); SEED=n tries a run again
	@$(BIN)/python -m tests.crash --kills $(KILLS) $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.crash --kills $$(( ($(KILLS) + 9) / 10 )) --full $(if $(SEED),--seed $(SEED))

mutants: install ## break every safety rule on purpose and see that the search notices
	@$(BIN)/python -m tests.simulated.mutants

soak: install ## five daemons and 50 durable posts a second for MINUTES (60): does memory stay, does the leader?
	@$(BIN)/python -m bench.soak --minutes $(if $(MINUTES),$(MINUTES),60)

bench-feeds: install ## durable appends and catching up in figures, Hypercore's beside them; ends with JSON
	@$(BIN)/python -m bench.feeds --with-start

loss: install ## a fifth of the gossip lost, in many simulated meshes and between real daemons; ends with JSON
	@$(BIN)/python -m bench.loss

bench-console: install ## what an idle console writes to its terminal, pane by pane, as JSON; takes about two minutes
	@$(BIN)/python -m bench.console

bench-election: install ## how soon a new leader is seen by all, beside etcd and Serf, in network namespaces (root; QUICK=1, BUSY=minutes)
	@$(BIN)/python -m bench.election $(if $(QUICK),--quick) $(if $(BUSY),--busy-minutes $(BUSY))

nemesis: install ## five daemons in network namespaces under faults from a SEED, a writer on each: nothing is lost, nobody leads twice (root; FAULTS=15)
	@$(BIN)/python -m bench.nemesis $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

lock: install ## write requirements.lock anew
	$(BIN)/uv pip compile --override requirements.override --extra dev --generate-hashes --no-emit-index-url --no-header \
		--universal --python-version 3.11 --quiet pyproject.toml -o requirements.lock

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
