# Everything a new clone needs: `make demo`, `make test`. The environment makes itself.
PYTHON ?= python3
BIN := .venv/bin
# The lock holds what was tested on Linux x86-64 with Python 3.11; elsewhere the ranges of pyproject.toml decide.
LOCKED := $(shell $(PYTHON) -c "import platform, sys; print(int(sys.version_info[:2] == (3, 11) and platform.system() == 'Linux' and platform.machine() == 'x86_64'))")

.PHONY: demo test check clean

demo: .venv/done
	$(BIN)/python jobs/demo.py --results results

test: .venv/done
	$(BIN)/python -m pytest -q

check: .venv/done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache results/demo results/demo-birds results/features

.venv/done: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
ifeq ($(LOCKED),1)
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
else
	$(BIN)/pip install -q --disable-pip-version-check -e ".[dev]"
endif
	touch $@
