"""Images in, crops out.

decode.py  bytes of a message -> RGB
crop.py    the squares that the network sees, on CPU and on a device
"""
