"""Detects people in an image.

detector.py  full frame, boxes that came with the frame, HOG
"""
