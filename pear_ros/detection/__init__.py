"""Where the people are in an image.

detector.py  full frame, boxes that were given, HOG
"""
