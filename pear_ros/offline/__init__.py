"""Images and videos without a node.

infer.py  `pear-ros infer`
"""
