"""Meshes into images.

renderer.py  z-buffer
overlay.py   people over the camera's image
"""
