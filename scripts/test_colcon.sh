#!/usr/bin/env bash
# test_colcon.sh VENV: build with colcon as in a robot's workspace, but on top of the ROS wheels in
# VENV; plain and with --symlink-install. Then check each install from another directory: from here,
# Python would import the source tree if a module was not installed. `colcon test` runs once.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/$1/bin:$PATH" AMENT_PREFIX_PATH="$PWD/$1" CMAKE_PREFIX_PATH="$PWD/$1"
for layout in plain symlink; do
  base=build/colcon-$layout
  rm -rf "$base"
  options=(--build-base "$base/build" --install-base "$base/install")
  [[ $layout == plain ]] || options+=(--symlink-install)
  colcon --log-base "$base/log" build "${options[@]}" \
    --cmake-args -GNinja -DPython3_EXECUTABLE="$(command -v python)" ||
    (cat "$base"/log/latest_build/*/stdout_stderr.log && false)
  if [[ $layout == plain ]]; then
    colcon --log-base "$base/log" test --build-base "$base/build" --install-base "$base/install"
    colcon test-result --test-result-base "$base/build" --verbose
  fi
  (
    set +u  # colcon's setup files use variables that are not set
    source "$base/install/setup.bash"
    set -u
    cd "$base"
    lib=install/pear_ros/lib/pear_ros
    for name in EhmParameters Human HumanArray; do
      python -c "from pear_ros.msg import $name; $name()"
    done
    python -c "import pear_ros.ros.node as n; assert 'colcon-$layout' in n.__file__, n.__file__"
    "$lib/pear-ros" --help >/dev/null
    export NODE_NAME=pear_of_$$_$layout  # differs from other nodes on this machine
    "$lib/pear_node" --ros-args -r __node:="$NODE_NAME" &
    python - <<'PYTHON'
import os, rclpy, time
rclpy.init()
node = rclpy.create_node("test_colcon")
start_s = time.monotonic()
while os.environ["NODE_NAME"] not in node.get_node_names():
    assert time.monotonic() - start_s < 60, "pear_node did not start"
    time.sleep(0.1)
PYTHON
    kill "$!"
    wait "$!"  # the node must exit with status 0
    "$lib/synthetic_camera" --ros-args -p duration_s:=0.5
    for file in config/pear.yaml config/pear.rviz launch/{pear,demo}.launch.py standin/body.npz; do
      test -f "install/pear_ros/share/pear_ros/$file"
    done
  )
  echo "colcon, $layout install: ok"
done
