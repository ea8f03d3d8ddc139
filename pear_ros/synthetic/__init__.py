"""Rendered people in front of a synthetic camera, with ground truth.

controls.py      joint angles with names -> rotations
actions.py       actions such as waving or walking
held_out.py      actions that no network is trained on
motion.py        endless sequences of actions
shapes.py        body shapes
appearance.py    colours of clothes, skin and hair
background.py    images of rooms
optics.py        cameras with lenses
base.py          the robot base that carries the camera
depth_sensor.py  depth images with noise and holes
actors.py        people and their paths on the floor
scene.py         people, room and camera -> images with ground truth
"""
