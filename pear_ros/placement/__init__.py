"""Where a person stands, in metres.

reprojection.py  translation by least squares on the joints
"""
