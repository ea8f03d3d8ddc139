"""Rotations, boxes and cameras.

rotation.py     matrices, 6D, axis-angles, quaternions
boxes.py        clip, square, overlap
camera.py       pinhole cameras: project, assumed, calibrated
crop_camera.py  the camera of the square crop
"""
