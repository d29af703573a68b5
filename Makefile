# Everything a new clone needs: `make demo`, `make test`. The environment makes itself.
PYTHON ?= python3
BIN := .venv/bin
# The lock holds what was tested on Linux x86-64 with Python 3.11; elsewhere the ranges of pyproject.toml decide.
LOCKED := $(shell $(PYTHON) -c "import platform, sys; print(int(sys.version_info[:2] == (3, 11) and platform.system() == 'Linux' and platform.machine() == 'x86_64'))")

# A backbone small enough to be kept here: MobileNetV2 at 96 pixels, pretrained on drawn birds of other species.
DEMO_MODEL := --backbone MobileNetV2-0.35 --image-size 96 --weights ray_birds/demo/backbone.weights.h5

.PHONY: demo test test-slow check clean

demo: .venv/done
	rm -rf results/demo
	@echo "The demo's birds and its small backbone are drawn; a real run uses EfficientNetB0 with ImageNet weights."
	$(BIN)/python -m ray_birds.demo.birds results/demo-birds
	$(BIN)/python jobs/tune.py --data results/demo-birds --results results --name demo $(DEMO_MODEL) \
	    --learning-rate 0.005 --unfreeze 0 10 100
	$(BIN)/python jobs/predict.py --model results/demo/best --output results/demo/predictions \
	    --input results/demo-birds/test "results/demo-birds/images to test"

test: .venv/done
	$(BIN)/python -m pytest -q -m "not slow"

test-slow: .venv/done
	$(BIN)/python -m pytest -q -m slow

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
