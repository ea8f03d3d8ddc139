"""Detects people in images.

detector.py          full frame, boxes that came with the frame; chooses the detector
cadence.py           detects on every n-th image, boxes of followed people in between
nanodet.py           NanoDet-g, the network whose weights are installed with pear_ros
nanodet_detector.py  prepares images for it, looks again where it is unsure
onnx_detector.py     an ONNX file through onnxruntime; which kind it is
letterbox.py         prepares the image for an ONNX file
yolox.py             decodes the output of YOLOX
detr.py              decodes the outputs of RT-DETR, RT-DETRv2, D-FINE and RF-DETR
classes.py           which class is person
"""
