"""The middle of a step: crop, network, body model, placement.

estimator.py     eager execution, on CPU or GPU
recorded.py      the same on a GPU, recorded as CUDA graphs
crop_cameras.py  the cameras in whose images crops were cut
staging.py       buffers on device and host for recorded.py
factory.py       chooses one; falls back to eager execution if recording fails
distances.py     what floor and depth images say about distances
plausibility.py  how plausible an estimate is as a person
"""
