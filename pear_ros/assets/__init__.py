"""The files of the body model.

body_assets.py     BodyAssets, and the .npz file that stores them
downloads.py       checks and converts the published files
arrays.py          arrays from untrusted .npz and .npy files
unpickle.py        reads published pickles without running their code
pickle_opcodes.py  step 1: records the opcodes
pickle_values.py   step 2: builds the values from the records
"""
