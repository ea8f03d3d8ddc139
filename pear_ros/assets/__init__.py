"""The body model's files, and how they are read.

body_assets.py     BodyAssets, and the one .npz that holds them
downloads.py       the published files: check, convert
arrays.py          arrays in .npz and .npy files that nobody vouches for
unpickle.py        published pickles, without running them
pickle_opcodes.py  step 1: the opcodes, recorded
pickle_values.py   step 2: the values, built from the records
"""
