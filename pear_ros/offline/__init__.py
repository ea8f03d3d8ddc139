"""Processes images and videos without ROS.

infer.py  `pear-ros infer`
"""
