"""Who is who from image to image.

tracker.py  boxes -> ids
"""
