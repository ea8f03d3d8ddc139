"""How good: errors against the ground truth.

metrics.py   MPJPE, PVE, Procrustes alignment
accuracy.py  `pear-ros evaluate` on rendered people
report.py    the numbers as a table and a picture
"""
