"""Detects people in images.

detector.py  full frame, boxes that came with the frame; chooses the detector
nanodet.py   NanoDet-g, whose weights are installed with pear_ros
"""
