"""EHM: the SMPL-X body with a FLAME head.

body_model.py   parameters -> joints and vertices
kinematics.py   the chain of joints
skinning.py     blend shapes and linear blend skinning
shape_cache.py  body shapes of tracked people
frames.py       body, head and hands as coordinate frames
"""
