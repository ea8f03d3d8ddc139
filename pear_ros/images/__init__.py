"""Images -> crops.

decode.py   pixels of a message -> RGB
encoded.py  an encoded picture, bytes or a file -> RGB
crop.py     the square crops that the network sees, cut on the CPU or on a device
"""
