# SPDX-License-Identifier: Apache-2.0
# PYTHON: the interpreter that makes .venv, 3.11 or later (default: the first that fits).
# ARGS: passed on, as in  make test ARGS="tests/hw -x"
PYTHON =
ARGS =

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench bench-gates evidence clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

setup: ## make .venv with the pinned packages; done by the others when needed
	@sh scripts/setup.sh $(PYTHON)

demo: setup ## train the example, build it, compare every step, write the report
	.venv/bin/carrysave demo $(ARGS)

test: setup ## all tests
	.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup ## ruff and pyright
	.venv/bin/ruff check .
	.venv/bin/pyright

bench: setup ## measure speeds on this machine
	.venv/bin/python scripts/bench.py $(ARGS)

bench-gates: setup ## measure gates of the processing elements against their limits
	.venv/bin/python -W ignore scripts/bench_gates.py $(ARGS)

evidence: setup ## measure what changed for every table of reports/, then the pages made of them
	.venv/bin/carrysave characterise --all
	.venv/bin/carrysave characterise --all --lanes 1 --lanes 4 --lanes 16 --lanes 32
	.venv/bin/carrysave predict --all
	.venv/bin/carrysave energy --all
	.venv/bin/carrysave accuracy --train
	.venv/bin/carrysave mixed examples/fashion.toml
	.venv/bin/python scripts/arrays.py
	.venv/bin/python scripts/formats.py
	.venv/bin/python scripts/units.py
	.venv/bin/python scripts/findings.py
	.venv/bin/python scripts/readme.py
	.venv/bin/carrysave report

clean: ## delete what builds and tests have written; .venv stays
	rm -rf build dist *.egg-info sim_build .pytest_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
