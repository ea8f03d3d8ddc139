# Needs python3 (3.11 or newer, with venv), a C++ compiler and a package index; no ROS.
# `make` lists the targets.

PYTHON ?= python3
JOBS ?= 2
SMPLX ?=
VENVS := .venv .venv-colcon .venv-jazzy

# Variables that a sourced ROS install or another Python environment would leak into ours.
# _ROS_WHEELS_BOOTSTRAP_COMPLETE tells the ROS wheels that LD_LIBRARY_PATH is already set.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH PYTHONPATH
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
export ORT_DISABLE_TELEMETRY := 1

PIP_FLAGS := --quiet --disable-pip-version-check
C_FILES := $(wildcard src/*.c src/*.h)
SOURCES := $(shell find CMakeLists.txt LICENSE assets cmake config interfaces/tf2_msgs launch msg \
	package.xml pear_ros pyproject.toml scripts setup.py src -type f -not -path '*/__pycache__/*')
PYTEST := .venv/bin/python -m pytest
PARALLEL := -n $(JOBS) --dist loadfile

.NOTPARALLEL:  # the environments share build/
.DELETE_ON_ERROR:

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: venv
venv: .venv/pear_ros.stamp $(if $(SMPLX),.venv/smplx.stamp)  ## create or update .venv and install pear_ros from this tree

.PHONY: format
format: venv  ## format Python and C
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format
	.venv/bin/clang-format -i $(C_FILES)

.PHONY: lint
lint: venv  ## format, lint, spelling, types
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/clang-format --dry-run --Werror $(C_FILES)
	.venv/bin/codespell
	.venv/bin/mypy

.PHONY: check
check: lint  ## what to run before a commit: lint, and the quick tests without ROS; two minutes
	$(PYTEST) -q $(PARALLEL) -m "not ros and not slow"

.PHONY: test
test: lint  ## lint and all tests (ROS 2 Kilted from PyPI); ten minutes
	$(PYTEST) $(PARALLEL) -m "not ros"
	$(PYTEST) -m ros

.PHONY: docs
docs: venv  ## the documentation as a site in out/docs; warnings are errors
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs out/docs

.PHONY: demo
demo: venv  ## run a camera and the node, print the errors; VIDEO=file or webcam, CHECKPOINT=, ASSETS=, DETECTOR=
	.venv/bin/python -m demo --video "$(VIDEO)" --checkpoint "$(CHECKPOINT)" \
		--network-config "$(NETWORK_CONFIG)" --assets "$(ASSETS)" $(if $(DETECTOR),--detector $(DETECTOR))

.PHONY: evaluate
evaluate: venv  ## evaluate the demo network on 1,000 frames, into docs/evaluation
	.venv/bin/pear-ros evaluate --output docs/evaluation

.PHONY: bench
bench: venv  ## time the parts on this machine
	.venv/bin/python -m tools.bench_parts

.PHONY: bench-node
bench-node: venv  ## time the node over DDS: latencies and drops by rate; OUTPUT=file.json
	.venv/bin/python -m tools.bench_node $(if $(OUTPUT),--output $(OUTPUT))

.PHONY: soak
soak: venv  ## run the node under load for MINUTES=60; memory, files, threads, image accounting
	.venv/bin/python -m tools.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(OUTPUT),--output $(OUTPUT))

.PHONY: fuzz
fuzz: venv  ## damaged and hostile inputs for all readers; KINDS="bodies cdr" SECONDS=60 SEED=1 OUTPUT=file.json CONTINUE=1
	.venv/bin/python -m tools.fuzz $(KINDS) --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(if $(OUTPUT),--output $(OUTPUT)) $(if $(CONTINUE),--continue)

.PHONY: mutate
mutate: venv  ## change the source in small ways, check that tests fail; half an hour; ONLY="launch src/"
	nice .venv/bin/python -m scripts.mutate $(ONLY)

.PHONY: test-colcon
test-colcon: .venv-colcon/interfaces.stamp  ## build with colcon, as on a robot, on top of the wheels
	scripts/test_colcon.sh .venv-colcon

.PHONY: test-jazzy
test-jazzy: .venv-jazzy/pear_ros.stamp  ## run the tests that need ROS on ROS 2 Jazzy
	.venv-jazzy/bin/python -m pytest -m ros

.PHONY: clean
clean:  ## delete everything the other targets made
	rm -rf $(VENVS) build install log out *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment is made in three steps, each repeated when one of its inputs changes: the wheels,
# the message packages without a wheel, pear_ros itself.

.venv/wheels.stamp .venv-colcon/wheels.stamp: requirements-dev.txt scripts/requirements-no-deps.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install $(PIP_FLAGS) -r requirements-dev.txt
	$(@D)/bin/pip install $(PIP_FLAGS) --no-deps -r scripts/requirements-no-deps.txt
	@touch $@

# Only if asked for (SMPLX=1), because its licence is non-commercial; without it two tests are skipped.
.venv/smplx.stamp: scripts/requirements-smplx.txt .venv/wheels.stamp
	.venv/bin/pip install $(PIP_FLAGS) --no-deps -r $<
	@touch $@

.venv-jazzy/wheels.stamp: requirements-dev.txt scripts/requirements-jazzy.txt
	$(PYTHON) -m venv --clear $(@D)
	sed '/^ros-/d' requirements-dev.txt >$(@D)/requirements.txt
	$(@D)/bin/pip install $(PIP_FLAGS) -r $(@D)/requirements.txt -r scripts/requirements-jazzy.txt
	@touch $@

.venv-colcon/interfaces.stamp: INTERFACES := tf2_msgs vision_msgs
%/interfaces.stamp: INTERFACES := vision_msgs  # tf2_msgs is part of pear_ros
$(VENVS:=/interfaces.stamp): %/interfaces.stamp: %/wheels.stamp $(shell find interfaces -type f)
	scripts/install_interfaces.sh $* $(INTERFACES) >$*/interfaces.log || (cat $*/interfaces.log; false)
	@touch $@

# Installs a copy, as users do, so that processes started in any folder run this code. The build in
# build/ is incremental: if only Python modules have changed, it takes seconds.
$(VENVS:=/pear_ros.stamp): %/pear_ros.stamp: %/interfaces.stamp $(SOURCES)
	$*/bin/pip install $(PIP_FLAGS) --no-deps --no-build-isolation --force-reinstall .
	@touch $@
