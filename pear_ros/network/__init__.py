"""The network: crops in, EHM parameters out.

network.py          Network (protocol), PearNetwork
backbone.py         the vision transformer
head.py             one query token and linear decoders
network_config.py   sizes, network.json
checkpoint.py       loading, layout checks
onnx_export.py      the network as ONNX
engine.py           which engine fits and is trusted
tensorrt_engine.py  the only module that imports tensorrt
"""
