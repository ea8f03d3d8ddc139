"""Follows people from image to image, and smooths their poses.

follower.py     both for one camera: estimates in, people with ids out
tracker.py      which sighting is who; who is new, predicted or gone
association.py  the cost of a pair of sighting and person, and the assignment
motion.py       constant velocity in metres: where people are expected
pose_filter.py  smooths a person's parameters
body_size.py    how tall people are, from which their distances follow
one_euro.py     the One Euro filter, also on SO(3)
"""
