"""The position of a person, in metres.

reprojection.py  translation that minimises the reprojection error of the joints
depth.py         the distance from a depth image
ground_plane.py  the distance from the floor under the feet
uncertainty.py   how far the true position may be
"""
