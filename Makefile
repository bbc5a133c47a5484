# `make run` and `make test` do all their own set-up, in .venv and .ros; see `make help`.
PYTHON ?=
TORCH_INDEX ?=
INPUT ?=
OUT ?= out/run
MODEL ?=
MINUTES ?= 30
CAMERA ?=
N ?= 100000
JOBS ?= 2
GROUP ?= panoptic

# A variable as one word for the shell, just as it was given: neither make nor the shell looks into its '$' and quotes.
as_given = '$(subst ','\'',$(value $1))'
option = $(if $(value $2),$1 $(call as_given,$2))

SETUP = @python=$(call as_given,PYTHON); python="$${python:-python3}"; \
	command -v "$$python" >/dev/null || { echo "No $$python was found: install Python 3.10 to 3.13, for example 'apt install python3 python3-venv python3-dev'." >&2; exit 2; }; \
	"$$python" tools/setup_env.py --python $(call as_given,PYTHON) --torch-index $(call as_given,TORCH_INDEX)
IN_ENV = @.venv/bin/python

# What measures times goes first and alone; then each file of tests goes to one of JOBS processes, each with a DDS domain of
# its own.
define EVERY_TEST
	$(IN_ENV) -m pytest -q -p no:xdist -m first
	$(IN_ENV) -m pytest -q -n $(call as_given,JOBS) --dist loadfile -m "not first" --durations=10
endef

# What runs the frame's path and the ROS edge; loops that Numba compiles are seen by running them as plain Python.
ON_THE_PATH = test/test_*.py test/camera test/ground test/panoptic test/tracking
LOOPS = test/test_compiled.py test/ground test/panoptic test/tracking
# Minutes as plain Python, of loops that smaller pictures run as well.
WHOLE_PICTURES = test/ground/test_depth.py test/ground/test_one_camera.py test/ground/test_what_a_planner_reads.py

.PHONY: help run shell test check coverage mutate site fuzz install-check benchmark soak gpu-check setup setup-test clean

help:
	@echo "make run [INPUT=video|bag|folder|/dev/video0] [OUT=dir] [MODEL=file.onnx] [CAMERA=words]"
	@echo "                play INPUT (default: a synthetic drive) to the node; overlay.mp4, report.html, report.json in OUT"
	@echo "                CAMERA=\"hfov=60 height=1.4 pitch=2\" assumes a calibration for an input without one (degrees, metres)"
	@echo "make shell      a shell in which seg_perception and ROS 2's messages are found, from any folder"
	@echo "make test [JOBS=2]  run every test, in so many processes; a few take both of two cores, so more gain little"
	@echo "make coverage   which branches of the frame's path and of the ROS edge no test takes"
	@echo "make mutate [GROUP=panoptic|geometry|ground|metrics|datasets|labelling]  change one place at a time, and say which changes no test notices"
	@echo "make fuzz [N=100000]  send N bad messages through a camera's way in the node, and say what they did"
	@echo "make check      ruff, mypy and every test"
	@echo "make site       the documentation as a site, its links checked; out/site/index.html"
	@echo "make install-check  install with pip, the newest and the oldest libraries, and run every verb that needs no ROS"
	@echo "make benchmark  measure every shipped model on this machine, which should have nothing else to do; benchmarks/"
	@echo "make soak [MINUTES=30]  the node at 30 images a second with every kind of fault mixed in: what grew, and what was not answered"
	@echo "make gpu-check [IMAGES=folder]  check on an NVIDIA GPU what only a GPU can show, in 3 minutes; out/gpu_check.json"
	@echo "                sets nothing up: it needs a Python with numpy, opencv, numba and torch, and no ROS and no network"
	@echo "make setup      only install and build what 'make run' needs (setup-test: what 'make test' and training need)"
	@echo "make clean      delete what the set-up made (.venv, .ros); results in out/ stay"
	@echo "PYTHON=python3.12 chooses an interpreter; TORCH_INDEX=URL names a further package index to take torch from."
	@echo "A sourced ROS 2 installation (ROS_DISTRO) is used instead of the wheels from PyPI."
	@echo "After a set-up .venv/bin/seg_perception is the one command, with nothing to source: seg_perception --help"

setup:
	$(SETUP) run

setup-test:
	$(SETUP) test

run: setup
	$(IN_ENV) -m seg_perception run --out $(call as_given,OUT) $(call option,--input,INPUT) $(call option,--assume-camera,CAMERA) $(call option,--model,MODEL)

shell: setup
	@. .ros/env.sh || exit 2; echo "seg_perception --help lists the verbs; exit leaves this shell."; "$${SHELL:-/bin/sh}" || :

test: setup-test
	$(EVERY_TEST)

check: setup-test
	$(IN_ENV) -m ruff check .
	$(IN_ENV) -m ruff format --check .
	$(IN_ENV) -m mypy
	$(EVERY_TEST)

coverage: setup-test
	$(IN_ENV) -m coverage erase
	$(IN_ENV) -m coverage run -m pytest -q -n $(call as_given,JOBS) --dist loadfile $(ON_THE_PATH) test/ros
	@NUMBA_DISABLE_JIT=1 .venv/bin/python -m coverage run -m pytest -q -p no:xdist -m "not machine_code" $(LOOPS) $(addprefix --ignore=,$(WHOLE_PICTURES))
	$(IN_ENV) -m coverage combine -q
	$(IN_ENV) -m coverage report

mutate: setup-test
	$(IN_ENV) tools/mutate.py $(call as_given,GROUP)

site: setup-test
	$(IN_ENV) tools/build_site.py out/site

fuzz: setup-test
	$(IN_ENV) test/fuzz.py --messages $(call as_given,N)

install-check:
	@for end in "" --oldest; do $(or $(value PYTHON),python3) tools/try_install.py $$end || exit 2; done

benchmark: setup
	$(IN_ENV) -m seg_perception benchmark --all --out benchmarks

soak: setup-test
	$(IN_ENV) test/soak.py --minutes $(call as_given,MINUTES)

# By the first Python that has what it needs; where none has, it says itself what is missing.
NEEDED = from importlib.util import find_spec; raise SystemExit(not all(map(find_spec, ("numpy", "cv2", "numba", "torch"))))

gpu-check:
	@python=$(call as_given,PYTHON); \
	[ -n "$$python" ] || for any in python3 .venv/bin/python; do "$$any" -c '$(NEEDED)' 2>/dev/null && { python=$$any; break; }; done; \
	"$${python:-python3}" -m seg_perception gpu-check --json out/gpu_check.json $(call option,--images,IMAGES)

clean:
	rm -rf .venv .ros .mypy_cache .ruff_cache .pytest_cache .hypothesis
