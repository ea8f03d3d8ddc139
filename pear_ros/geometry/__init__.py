"""Rotations, boxes, cameras and frames.

rotation.py        matrices, 6D, axis-angles, quaternions
boxes.py           clip, square, overlap
camera.py          cameras: project, assumed, calibrated
lens.py            lens distortion of `camera_info`
crop_camera.py     the camera of the square crop
transform_tree.py  frames over time, as tf2 keeps them
"""
