"""The network: crops in, EHM parameters out.

network.py          Network (protocol), PearNetwork
backbone.py         the vision transformer
head.py             one query token and linear decoders
network_config.py   sizes, network.json
checkpoint.py       loads a checkpoint and checks its layout and values
records.py          checks the records of its zip file
onnx_export.py      exports the network to ONNX
engine.py           chooses an engine or torch, checks that their outputs agree
engine_file.py      builds engine files, and checks what they were built for
engine_backend.py   the interface of the backends
openvino_engine.py  the only module that imports openvino
tensorrt_engine.py  the only module that imports tensorrt
"""
