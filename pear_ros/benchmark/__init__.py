"""Speed and memory: `pear-ros bench`.

measure.py    runs and times the steps
options.py    options of the benchmark
workload.py   random weights, frames with people
stopwatch.py  times of stages, peak memory
baseline.py   a reference implementation of the published code
report.py     the results as tables
"""
