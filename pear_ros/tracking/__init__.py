"""Gives people ids that stay the same from image to image.

tracker.py  boxes -> ids
"""
