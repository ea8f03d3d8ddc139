"""Images -> crops.

decode.py  bytes of a message, or a file -> RGB
crop.py    the square crops that the network sees, cut on the CPU or on a device
"""
