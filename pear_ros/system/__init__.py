"""The machine: devices, libraries and files.

device.py       device and precision
cuda_graphs.py  CUDA streams and graphs
native.py       loads the C libraries
installed.py    files that are installed with the package
files.py        atomic writes, hashes
hardware.py     describes the machine of a measurement
"""
