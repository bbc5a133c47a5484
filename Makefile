# `make run` and `make test` do all their own set-up, in .venv and .ros; see `make help`.
PYTHON ?=
TORCH_INDEX ?=
INPUT ?=
OUT ?= out/run
MODEL ?=
CAMERA ?=

ANY_PYTHON := $(or $(PYTHON),python3)
SETUP = @command -v $(ANY_PYTHON) >/dev/null || { echo "No $(ANY_PYTHON) was found: install Python 3.10 to 3.13, for example 'apt install python3 python3-venv python3-dev'." >&2; exit 2; }; \
	$(ANY_PYTHON) tools/setup_env.py --python "$(PYTHON)" --torch-index "$(TORCH_INDEX)"
IN_ENV = @. .ros/env.sh && exec .venv/bin/python

.PHONY: help run test check benchmark setup setup-test clean

help:
	@echo "make run [INPUT=video|bag|folder|/dev/video0] [OUT=dir] [MODEL=file.onnx] [CAMERA=words]"
	@echo "                play INPUT (default: a synthetic drive) to the node; overlay.mp4, report.html, report.json in OUT"
	@echo "                CAMERA=\"hfov=60 height=1.4 pitch=2\" assumes a calibration for an input without one (degrees, metres)"
	@echo "make test       run every test"
	@echo "make check      ruff, mypy and every test"
	@echo "make benchmark  measure every shipped model on this machine, which should have nothing else to do; benchmarks/"
	@echo "make setup      only install and build what 'make run' needs (setup-test: what 'make test' needs)"
	@echo "make clean      delete what the set-up made (.venv, .ros); results in out/ stay"
	@echo "PYTHON=python3.12 chooses an interpreter; TORCH_INDEX=URL names a further package index to take torch from."
	@echo "A sourced ROS 2 installation (ROS_DISTRO) is used instead of the wheels from PyPI."

setup:
	$(SETUP) run

setup-test:
	$(SETUP) test

run: setup
	$(IN_ENV) -m seg_perception run --out "$(OUT)" $(if $(INPUT),--input "$(INPUT)") $(if $(CAMERA),--assume-camera "$(CAMERA)") $(if $(MODEL),--model "$(MODEL)")

test: setup-test
	$(IN_ENV) -m pytest -q --durations=10

check: setup-test
	$(IN_ENV) -m ruff check .
	$(IN_ENV) -m ruff format --check .
	$(IN_ENV) -m mypy
	$(IN_ENV) -m pytest -q --durations=10

benchmark: setup
	$(IN_ENV) -m seg_perception benchmark --all --out benchmarks

clean:
	rm -rf .venv .ros .mypy_cache .ruff_cache .pytest_cache .hypothesis
