"""The position of a person, in metres.

reprojection.py  translation that minimises the reprojection error of the joints
depth.py         the distance from a depth image
"""
