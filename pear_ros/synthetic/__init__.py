"""Rendered people in front of a synthetic camera, with ground truth.

controls.py    angles of limbs <-> rotations
actions.py     what people do
motion.py      sequences of actions
shapes.py      body shapes
appearance.py  clothes and skin
background.py  rooms
scene.py       people, room and camera -> images with ground truth
"""
