"""EHM: the SMPL-X body with a FLAME head.

body_model.py     parameters -> joints and vertices
kinematics.py     forward kinematics of the joints
skinning.py       blend shapes and linear blend skinning
shape_cache.py    body shapes of tracked people, kept between frames
legs.py           bends legs, so that feet come to other places
frames.py         coordinate frames of body, head and hands; people in another frame
landmarks.py      the points that keypoint detectors mark, in COCO-WholeBody's order
surface_points.py points on the skin that are cheap to pose
stature.py        how tall a body is
measures.py       height, soles and skin, to find the distance
"""
