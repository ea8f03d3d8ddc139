#!/usr/bin/env bash
# install_interfaces.sh VENV PACKAGE...: build message packages from interfaces/ and install them
# into an environment that has the ROS wheels. Its root is already a ROS prefix, so CMake installs
# there.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(realpath "$1")
export PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv"
for package in "${@:2}"; do
  cmake -S "interfaces/$package" -B "$venv/build/$package" -G Ninja \
    -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX="$venv" -DPython3_EXECUTABLE="$venv/bin/python"
  cmake --build "$venv/build/$package" --target install
done
