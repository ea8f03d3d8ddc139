#!/usr/bin/env bash
# Runs what needs an NVIDIA GPU, in less than 8 minutes: scripts/bench_gpu.sh OUTPUT
#
#   tests      those of the CUDA code: recorded steps, streams, the pipeline on a GPU
#   benchmark  a step with one to eight people against the published way, PEAR's size, random weights
#   node       latency and drops over DDS, with the demo network; needs ROS
#
# OUTPUT/summary.md says what ran, for how long, and with which result; the logs are beside it.
# PYTHON is the interpreter in which pear_ros is installed (default: python3). To try the script
# where there is no GPU: DEVICE=cpu NETWORK=assets/demo/network.json scripts/bench_gpu.sh OUTPUT
set -uo pipefail
output=$(realpath -m "${1:?the folder for the results is missing}")
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
network=${NETWORK:-}  # a network.json; empty: PEAR's published size
mkdir -p "$output"
summary=$output/summary.md

if [[ $device == cuda* ]] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "bench_gpu.sh: PyTorch of $python finds no CUDA device; install a build for your GPU" >&2
  exit 1
fi
{
  echo "# What ran on $device, $(date --utc +%F)"
  echo
  "$python" -c 'from pear_ros.system.device import choose_device
from pear_ros.system.hardware import hardware
import sys
print("\n".join(f"- {name}: {value}" for name, value in hardware(choose_device(sys.argv[1])).items()))' \
    "$device"
  echo
  echo '| step | seconds | result |'
  echo '|---|---|---|'
} > "$summary"

# step NAME SECONDS COMMAND...: runs a command for at most that time; 124 means that it took longer
step() {
  local name=$1 limit=$2 begin=$SECONDS code=0
  shift 2
  timeout --kill-after=10 "$limit" "$@" > "$output/$name.log" 2>&1 || code=$?
  local result="exit code $code"
  [[ $code == 0 ]] && result=done
  [[ $code == 124 ]] && result="stopped after $limit s"
  echo "| $name | $((SECONDS - begin)) | $result: $(tail -n 1 "$output/$name.log" | cut -c1-100) |" >> "$summary"
}

# Tests of the code for CUDA; without a GPU those that need one are skipped.
step tests 180 "$python" -m pytest -q -p no:cacheprovider test/system/test_cuda_graphs.py \
  test/estimation test/test_pipeline.py test/benchmark
step benchmark 180 "$python" -m pear_ros.cli bench --random ${network:+--network-config "$network"} \
  --device "$device" --batches 1 4 8 --repeats 20 --output "$output/bench.json"
if "$python" -c 'import rclpy, pear_ros.msg' 2> /dev/null; then
  step node 110 "$python" -m tools.bench_node --device "$device" --seconds 3 --rates 30 --setups 1x1 1x4 \
    --output "$output/node.json"
else
  echo '| node | 0 | not run: rclpy or the messages are not installed |' >> "$summary"
fi
cat "$summary"
