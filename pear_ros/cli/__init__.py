"""The command `pear-ros`: one file a subcommand.

main.py       the parser, errors as one line
arguments.py  options that subcommands share, made from Config
infer.py      people in images and videos
nodes.py      the ROS nodes
engine.py     export, build
assets.py     check, convert
evaluate.py   errors on rendered people
bench.py      how fast
"""
