"""The machine: devices, libraries and files.

device.py       device and precision
cuda_graphs.py  CUDA streams and graphs
native.py       loads the C libraries
installed.py    files that are installed with the package
files.py        reading regular files only, atomic writes, hashes
file_kinds.py   what a file is, by its first bytes
interrupts.py   SIGINT and SIGTERM end the process quietly
memory.py       whether an error means that memory is short; its first line
hardware.py     describes the machine of a measurement
"""
