"""What the machine gives.

device.py       device and precision
cuda_graphs.py  CUDA streams and graphs
native.py       loads the C libraries
installed.py    files that come along
files.py        written whole, hashed
hardware.py     the machine of a measurement
"""
