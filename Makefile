# Needs python3 (3.10 or newer, with venv), a C++ compiler and a package index; no ROS.
# `make` lists the targets.

PYTHON ?= python3
VENVS := .venv .venv-colcon .venv-jazzy

# What a sourced ROS install or another environment's Python would leak into ours.
# _ROS_WHEELS_BOOTSTRAP_COMPLETE tells the ROS wheels that LD_LIBRARY_PATH is set already.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH PYTHONPATH
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH

PIP_FLAGS := --quiet --disable-pip-version-check
SOURCES := $(shell find CMakeLists.txt LICENSE assets cmake config interfaces/tf2_msgs launch msg \
	package.xml pear_ros pyproject.toml scripts setup.py src -type f -not -path '*/__pycache__/*')

.NOTPARALLEL:  # the environments share build/
.DELETE_ON_ERROR:

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: venv
venv: .venv/pear_ros.stamp  ## make or update .venv, with pear_ros installed from this tree

.PHONY: test
test: venv  ## lint, check types, run the tests (ROS 2 Kilted from PyPI)
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/python -m pytest

.PHONY: demo
demo: venv  ## camera, node, and its errors; VIDEO=file or webcam, CHECKPOINT=, ASSETS=, DETECTOR=
	.venv/bin/python -m demo --video "$(VIDEO)" --checkpoint "$(CHECKPOINT)" \
		--network-config "$(NETWORK_CONFIG)" --assets "$(ASSETS)" $(if $(DETECTOR),--detector $(DETECTOR))

.PHONY: evaluate
evaluate: venv  ## errors of the demo network on 1,000 frames, into docs/evaluation
	.venv/bin/pear-ros evaluate --output docs/evaluation

.PHONY: bench
bench: venv  ## what the parts cost on this machine, as medians
	.venv/bin/python -m tools.bench_parts

.PHONY: bench-node
bench-node: venv  ## the node over DDS: latencies and drops by rate; OUTPUT=file.json
	.venv/bin/python -m tools.bench_node $(if $(OUTPUT),--output $(OUTPUT))

.PHONY: test-colcon
test-colcon: .venv-colcon/interfaces.stamp  ## build as on a robot, with colcon, on top of the wheels
	scripts/test_colcon.sh .venv-colcon

.PHONY: test-jazzy
test-jazzy: .venv-jazzy/pear_ros.stamp  ## run the tests that need ROS on ROS 2 Jazzy
	.venv-jazzy/bin/python -m pytest -m ros

.PHONY: clean
clean:  ## delete everything the other targets made
	rm -rf $(VENVS) build install log out *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment is made in three steps, each redone when something it depends on has changed:
# the wheels, the messages that no wheel brings, pear_ros itself.

.venv/wheels.stamp .venv-colcon/wheels.stamp: requirements-dev.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install $(PIP_FLAGS) -r requirements-dev.txt
	@touch $@

.venv-jazzy/wheels.stamp: requirements-dev.txt scripts/requirements-jazzy.txt
	$(PYTHON) -m venv --clear $(@D)
	sed '/^ros-/d' requirements-dev.txt >$(@D)/requirements.txt
	$(@D)/bin/pip install $(PIP_FLAGS) -r $(@D)/requirements.txt -r scripts/requirements-jazzy.txt
	@touch $@

.venv-colcon/interfaces.stamp: INTERFACES := tf2_msgs vision_msgs
%/interfaces.stamp: INTERFACES := vision_msgs  # tf2_msgs comes with pear_ros
$(VENVS:=/interfaces.stamp): %/interfaces.stamp: %/wheels.stamp $(shell find interfaces -type f)
	scripts/install_interfaces.sh $* $(INTERFACES) >$*/interfaces.log || (cat $*/interfaces.log; false)
	@touch $@

# A copy, as users install it, so that processes started anywhere run this code. The build in
# build/ is incremental: a change of Python modules alone takes seconds.
$(VENVS:=/pear_ros.stamp): %/pear_ros.stamp: %/interfaces.stamp $(SOURCES)
	$*/bin/pip install $(PIP_FLAGS) --no-deps --no-build-isolation --force-reinstall .
	@touch $@
