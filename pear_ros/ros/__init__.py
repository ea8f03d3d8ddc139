"""The ROS layer: the only folder that imports ROS.

node.py              lifecycle, parameters, threads
signals.py           SIGINT and SIGTERM end the process
camera_topics.py     the topics of one camera
topics.py            their names, types and QoS
graph.py             what others publish on these topics
diagnostics.py       what `/diagnostics` reports
arrivals.py          checks the headers of images
stamp_order.py       late images and stamps that start anew
detection_reader.py  detections -> boxes, checks classes and scores
synchronizer.py      matches an image with its calibration, boxes and depth
depth_matcher.py     matches depth images with images by time
depth_input.py       depth images -> metres, checks that they are registered
transforms.py        listens to TF
robot_frames.py      an image waits for the robot's transforms
mailbox.py           one slot per camera between the two threads
frame_reader.py      messages -> frames
parameters.py        settings as ROS parameters
from_messages.py     messages -> arrays
to_messages.py       arrays -> messages
markers.py           meshes and skeletons for RViz
ehm_fields.py        field names of the message EhmParameters
cdr.py               splices points into serialized messages
visualization.py     publishes meshes, skeletons, points and overlay
synthetic_camera.py  a camera of rendered people, with ground truth
schedule.py          times at which a camera's images are due
dds.py               Fast DDS setting for large images
"""
