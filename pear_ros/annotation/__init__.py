"""Training labels of real people: `pear-ros annotate`.

annotate.py         pictures and videos -> labels, one part an input
sightings.py        the people of an input: boxes, keypoints, PEAR's estimate, crops
experts.py          the functions that find 133 keypoints of a person
landmark_models.py  MediaPipe's models for body, hands and face
keypoint_files.py   keypoints from COCO-WholeBody's JSON instead of experts
evidence.py         what is known of people before the fit, and how far it is trusted
fitting.py          EHM whose projection explains the keypoints
pose_prior.py       which poses people take, from the synthetic motions
quality.py          the gate: who may teach a network
pseudo_labels.py    the labels file: writing, reading, checking
contact_sheets.py   pictures of accepted and rejected people
"""
