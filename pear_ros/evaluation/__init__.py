"""Accuracy: errors against ground truth.

metrics.py           MPJPE, PVE, Procrustes alignment, errors in an image
report.py            the results as a table and a picture
given_boxes.py       estimates of people whose boxes are known
accuracy.py          `pear-ros evaluate` on rendered people
cut_people.py        ... of whom the image shows the upper part only
placement.py         `pear-ros evaluate --placement`: positions in metres, velocities, odom
placement_scenes.py  ... its scenes
placement_judge.py   ... the pipeline on them, and its errors
placement_report.py  ... its tables
ideal_network.py     positions if the network makes no error
calibration.py       stated against seen errors
real_pictures.py     `pear-ros evaluate --real`: pictures marked by hand
marks.py             the marks, and how they are compared
three_dpw.py         `pear-ros evaluate --3dpw`
three_dpw_data.py    the files of 3DPW
ehf.py               `pear-ros evaluate --ehf`
extra_files.py       the files that 3DPW and EHF need, and where they come from
smpl.py              the body model of 3DPW's ground truth
ply.py               the format of EHF's ground truth
tracking.py          simulated sequences with known identities, for the tracker
smoothing.py         jitter and lag
"""
