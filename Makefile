# The README's two commands, on a machine with nothing but Python >= 3.11, pip and make: `make demo`, `make test`.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: demo test lint notebooks clean

demo: .venv/installed
	@.venv/bin/simcore run fused_allreduce --plot

test: .venv/tests
	@$(PY) -m pytest -n auto

# Runs the notebooks and stores what they print.
notebooks: .venv/notebooks
	@$(PY) notebooks/execute.py

lint: .venv/tests
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "simcore needs Python 3.11 or later; give one as PYTHON=python3.11")'
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/tests: .venv/installed
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

.venv/notebooks: .venv/tests
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[notebooks]'
	@touch $@

clean:
	rm -rf .venv build runs *.egg-info
