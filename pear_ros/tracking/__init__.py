"""Follows people from image to image, smooths their poses, and tells how they move.

follower.py       all of it for one camera: estimates in, people with ids out
tracker.py        which sighting is who; who is new, predicted or gone
association.py    the cost of a pair of sighting and person, and the assignment
expected_boxes.py where the boxes of people should be
motion.py         constant velocity in metres: where people are expected
camera_motion.py  how the camera moved between two images
pose_filter.py    smooths a person's parameters
body_size.py      how tall people are, from which their distances follow
one_euro.py       the One Euro filter, also on SO(3)
body_motion.py    velocities of bodies and joints, and which feet stand on the floor
velocity.py       the filters for these velocities
contacts.py       the probability that a foot stands, from its speed and height
foot_lock.py      keeps a foot that stands where it is
states.py         the filters' states, by the people's ids
"""
