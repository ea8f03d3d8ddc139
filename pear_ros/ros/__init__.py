"""The ROS layer: the only folder that imports ROS.

node.py              lifecycle, parameters, threads
camera_topics.py     the topics of one camera
diagnostics.py       what `/diagnostics` reports
synchronizer.py      an image waits for its calibration and boxes
mailbox.py           one slot per camera between two threads
frame_reader.py      messages -> frames, in order
parameters.py        settings as ROS parameters
from_messages.py     messages -> arrays
to_messages.py       arrays -> messages
markers.py           meshes and skeletons for RViz
ehm_fields.py        the fields of EhmParameters
cdr.py               points spliced into serialized messages
visualization.py     what is published for people to look at
synthetic_camera.py  a camera of rendered people, with ground truth
schedule.py          when the next image is due
dds.py               how large images pass Fast DDS
"""
