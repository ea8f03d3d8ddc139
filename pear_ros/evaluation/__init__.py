"""Accuracy: errors against ground truth.

metrics.py    MPJPE, PVE, Procrustes alignment
accuracy.py   `pear-ros evaluate` on rendered people
report.py     the results as a table and a picture
tracking.py   simulated sequences with known identities, for the tracker
smoothing.py  jitter and lag
"""
