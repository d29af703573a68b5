# Everything a new clone needs: `make demo`, `make test`. The environment makes itself.
PYTHON ?= python3
BIN := .venv/bin
# The lock holds what was tested on Linux x86-64 with Python 3.11; elsewhere the ranges of pyproject.toml decide.
LOCKED := $(shell $(PYTHON) -c "import platform, sys; print(int(sys.version_info[:2] == (3, 11) and platform.system() == 'Linux' and platform.machine() == 'x86_64'))")

# Two at a time, file by file: most tests wait for a Ray or for TensorFlow to start.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile

.PHONY: demo test test-unit test-slow test-oldest test-newest check docs notebook clean

demo: .venv/done
	rm -rf results/demo
	$(BIN)/ray-birds demo

# What can be tried between two keystrokes: no Ray, no TensorFlow, no other program or server.
test-unit: .venv/done
	$(PYTEST) --dist worksteal -m "not slow and not ray and not keras and not integration"

test: .venv/done
	$(PYTEST) -m "not slow"

test-slow: .venv/done
	$(PYTEST) -m slow --ignore tests/jobs
	$(BIN)/python -m pytest -q -m slow tests/jobs  # these start clusters that others would find

# With the lowest and with the highest versions that pyproject.toml allows of what it names.
test-oldest: .venv-lowest-direct/done
	.venv-lowest-direct/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow"

test-newest: .venv-highest/done
	.venv-highest/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow"

.venv-%/done: pyproject.toml .venv/done
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install -q --python .venv-$*/bin/python --resolution $* -e ".[dev]"
	touch $@

check: .venv/done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry . --no-ansi

# The tables in docs/, from the settings and the modules.
docs: .venv/done
	$(BIN)/python -m docs.tables

notebook: .venv/done
	$(BIN)/jupytext --to ipynb examples/birds.py

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache results/demo

.venv/done: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
ifeq ($(LOCKED),1)
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
else
	$(BIN)/pip install -q --disable-pip-version-check -e ".[dev]"
endif
	touch $@
