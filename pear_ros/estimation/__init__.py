"""The middle of a step: from crops to placed bodies.

estimator.py  step by step
recorded.py   the same as CUDA graphs
staging.py    buffers on device and host
factory.py    which of the two; what happens if recording fails
"""
