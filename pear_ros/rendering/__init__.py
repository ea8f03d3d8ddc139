"""Renders meshes into images.

renderer.py  z-buffer renderer
overlay.py   meshes of people over the camera's image
"""
