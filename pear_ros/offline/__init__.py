"""Processes images and videos without ROS.

infer.py        `pear-ros infer`
image_files.py  reader of pictures and videos: files and folders -> images
videos.py       reader of videos
people_file.py  writer of the people file
"""
