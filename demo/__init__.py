"""`make demo`: a camera, the node and a recorder as real ROS processes on this machine."""
