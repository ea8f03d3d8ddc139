"""Images -> crops.

size.py     the limit of an image's size
decode.py   pixels of a message -> RGB
depth.py    bytes of a depth image -> metres
rvl.py      a compression of depth images
encoded.py  an encoded picture, bytes or a file -> RGB
whole.py    where an encoded picture ends
crop.py     the square crops that the network sees, cut on the CPU or on a device
"""
