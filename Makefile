# `make demo` and `make test` need a machine with Python >= 3.11 and make; `make venv` is all of the set-up.

PYTHON ?= python3
BIN := .venv/bin

# Small networks gain nothing from a second thread, and threads that spin while they wait slow down their neighbors.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: all venv demo test slow lint types docs docs-quick smoke speed oldest dist

all: lint types test docs

venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[all]"
	touch $@

demo: venv  ## the main job on real images whose wrong labels are known; results in demo/
	$(BIN)/python -m robustlabels demo

test: venv
	$(BIN)/python -m pytest -n 2

slow: venv  ## behavior over seeds; with real data where ROBUSTLABELS_DATA names its folder
	$(BIN)/python -m pytest -n 2 -m slow

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell

types: venv
	$(BIN)/mypy

docs: venv  ## with the gallery, whose examples run: several minutes
	$(BIN)/sphinx-build -W -n -b html docs docs/_build/html

docs-quick: venv  ## without running the gallery's examples: what .ci/run builds
	$(BIN)/sphinx-build -q -W -n -D plot_gallery=0 -D suppress_warnings=image.not_readable -b html docs docs/_build/quick

dist: venv  ## build both distributions; fit from the wheel in an empty folder, run tests from the source distribution
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(BIN)/python -m pip install --quiet --no-deps --no-index --target "$$folder/wheel" dist/*.whl && \
	tar -xzf dist/*.tar.gz -C "$$folder" && \
	python=$$PWD/$(BIN)/python && cd "$$folder" && \
	PYTHONPATH=wheel "$$python" -c "import robustlabels; print(robustlabels.__file__)" | grep wheel && \
	PYTHONPATH=wheel "$$python" -m robustlabels demo --epochs 2 --out demo >/dev/null && \
	cd robustlabels-*/ && PYTHONPATH=. "$$python" -m pytest -q tests/test_elr.py tests/test_noise.py

smoke: venv  ## run every method of the comparison once, on digits; fail if one fails
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(BIN)/python -m robustlabels compare smoke --jobs 2 --results "$$folder/smoke.jsonl"

speed: venv  ## ratios of speed and memory
	$(BIN)/python -m benchmarks.speed all

oldest: .venv-oldest/installed  ## the contract, and the command line, with the oldest versions we support
	.venv-oldest/bin/python -m pytest -n 2 tests/test_common.py tests/test_main.py

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -c constraints-oldest.txt -e ".[test]"
	touch $@
