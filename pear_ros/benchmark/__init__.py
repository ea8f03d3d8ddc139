"""How fast: `pear-ros bench`.

measure.py    the steps and their times
options.py    what is measured
workload.py   random weights, frames with people
stopwatch.py  times of stages, peaks of memory
baseline.py   a reference implementation of the published code
report.py     the numbers as tables
"""
