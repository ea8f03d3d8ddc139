"""The command `pear-ros`: one file per subcommand.

entry.py      where the process starts: handlers of signals
main.py       parser, error reporting
arguments.py  options that subcommands share, made from Config
infer.py      people in images and videos
nodes.py      node, synthetic-camera
engine.py     export, build
assets.py     assets check, assets convert
annotate.py   training labels from images and videos
evaluate.py   errors on rendered people
bench.py      speed and memory
"""
