"""Person detectors of the user as ONNX files, run by onnxruntime.

The families that are known are those of `FAMILIES`. The file's inputs and outputs say which one it
is, and a trial run on an empty image says whether it keeps its promise, so that a wrong file is
refused when it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.detection import detr, yolox
from pear_ros.detection.letterbox import PADDING, Size
from pear_ros.errors import SettingError
from pear_ros.people import Boxes, FloatArray, Frame, ImageArray

Decoder = Callable[[Sequence[FloatArray], Size], Boxes]

TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
IMAGE_TYPES = ("tensor(float)", "tensor(float16)")


@dataclass(frozen=True)
class Family:
    """Detectors with the same inputs and outputs; the first input is the images."""

    models: str  # for users
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    prepare: Callable[[Sequence[ImageArray], Size], Sequence[NDArray[Any]]]
    make_decoder: Callable[[Sequence[FloatArray], Size, int], Decoder]
    side_px: int | None  # of the input, where the file leaves it open

    def __str__(self) -> str:
        return f"{self.models} ({', '.join(self.inputs)} -> {', '.join(self.outputs)})"


FAMILIES = {
    "yolox": Family("YOLOX", ("images",), ("output",), yolox.prepare, yolox.make_decoder, 640),
    "rtdetr": Family(
        "RT-DETR, RT-DETRv2 or D-FINE",
        ("images", "orig_target_sizes"),
        ("labels", "boxes", "scores"),
        detr.prepare_rtdetr,
        detr.make_rtdetr_decoder,
        640,
    ),
    # Its sizes have inputs of different sizes, so there is no default.
    "rfdetr": Family(
        "RF-DETR",
        ("input",),
        ("dets", "labels"),
        detr.prepare_rfdetr,
        detr.make_rfdetr_decoder,
        None,
    ),
}


class OnnxDetector:
    """Finds people with an ONNX file. Not thread-safe.

    Args:
        path: The file.
        family: A name of `FAMILIES`, or "auto".
        person_index: Index of the class person; -1: that of the family's published weights.
        device: Where it runs; on an NVIDIA GPU only if onnxruntime supports it.

    Raises:
        SettingError: If onnxruntime is missing, or if the file is missing, damaged, of no known
            family or has other outputs than its family.
    """

    def __init__(self, path: Path, family: str, person_index: int, device: torch.device) -> None:
        self._session = open_session(path, device)
        try:
            self._family, self._inputs, self._outputs = recognised(self._session, family)
            nodes = {node.name: node for node in self._session.get_inputs()}
            self._size, batch = size_and_batch(nodes[next(iter(self._inputs))], self._family)
            self._batch = batch or 1
            empty = np.full((480, 640, 3), PADDING, np.uint8)
            values = self._run([empty] * self._batch)
            if not all(np.isfinite(value).all() for value in values):
                raise SettingError("its outputs for an empty image are not finite")
            self._decode = self._family.make_decoder(values, self._size, person_index)
        except SettingError as error:
            raise SettingError(f"the detector {path} cannot be used: {error}") from error
        if batch is None and self._can_run(empty, 2):
            self._batch = 0  # as many as there are

    def __call__(self, frames: Sequence[Frame], known: Sequence[FloatArray] = ()) -> list[Boxes]:
        """Returns the boxes in each frame, in its pixels, with the file's scores."""
        images = [frame.image for frame in frames]
        step = self._batch or max(len(images), 1)
        found: list[Boxes] = []
        for first in range(0, len(images), step):
            found += self._detect(images[first : first + step])
        return found

    def _detect(self, images: Sequence[ImageArray]) -> list[Boxes]:
        missing = max(self._batch - len(images), 0)  # if the file has a fixed number of images
        outputs = self._run([*images, *[images[-1]] * missing])
        return [
            self._decode([output[i] for output in outputs], (image.shape[0], image.shape[1]))
            for i, image in enumerate(images)
        ]

    def _run(self, images: Sequence[ImageArray]) -> list[FloatArray]:
        """The family's outputs, whose first axis is that of the images.

        Raises:
            SettingError: If onnxruntime cannot run the file, or the first axis has another size.
        """
        arrays = self._family.prepare(images, self._size)
        feeds = {
            name: np.asarray(array, dtype)
            for (name, dtype), array in zip(self._inputs.items(), arrays, strict=True)
        }
        try:
            outputs = self._session.run(self._outputs, feeds)
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise SettingError(f"onnxruntime cannot run it: {error}") from error
        values = [np.asarray(output, np.float32) for output in outputs]
        if any(value.shape[:1] != (len(images),) for value in values):
            shapes = ", ".join(str(value.shape) for value in values)
            raise SettingError(f"its outputs for {len(images)} images have the shapes {shapes}")
        return values

    def _can_run(self, image: ImageArray, count: int) -> bool:
        """Whether several images can be run at once, as the file says; some exports cannot."""
        try:
            self._run([image] * count)
        except SettingError:
            return False
        return True


def open_session(path: Path, device: torch.device) -> Any:
    """Returns onnxruntime's session for the file.

    CUDA is used if `device` is an NVIDIA GPU and onnxruntime supports it, else the CPU. TensorRT is
    not, because it would compile the file for minutes each time the node starts.

    Raises:
        SettingError: If onnxruntime is missing, or the file is missing or damaged, or the GPU
            cannot be used.
    """
    # Some builds of onnxruntime report how they are used.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise SettingError(
            "detection.detector is onnx, which needs onnxruntime: pip install onnxruntime"
        ) from error
    if not path.is_file():
        raise SettingError(f"detection.model: {path} is not a file")
    providers: list[Any] = ["CPUExecutionProvider"]
    on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers()
    if on_gpu:
        # By default, the first run of each number of images tries all of cuDNN's algorithms.
        options = {"device_id": device.index or 0, "cudnn_conv_algo_search": "HEURISTIC"}
        providers.insert(0, ("CUDAExecutionProvider", options))
    settings = ort.SessionOptions()
    settings.log_severity_level = 3  # errors
    try:
        session = ort.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise SettingError(f"onnxruntime cannot load the detector {path}: {error}") from error
    if on_gpu and "CUDAExecutionProvider" not in session.get_providers():
        raise SettingError(
            f"onnxruntime cannot use {device}, its log says why; install the CUDA and cuDNN that "
            "it needs, or replace onnxruntime-gpu by onnxruntime to run the detector on the CPU"
        )
    return session


def recognised(session: Any, family: str) -> tuple[Family, dict[str, Any], list[str]]:
    """Returns the file's family, its inputs with their types, and the names of its outputs.

    `family` is a name of `FAMILIES`, or "auto": the one whose inputs and outputs have these names.
    A YOLOX whose family is given may have other names, as its export tool can set them.

    Raises:
        SettingError: If the inputs and outputs are not those of the family, or of any.
    """
    inputs = {node.name: node.type for node in session.get_inputs()}
    outputs = [node.name for node in session.get_outputs()]
    if family == "yolox" and len(inputs) == len(outputs) == 1:
        chosen = FAMILIES["yolox"]
        names: tuple[str, ...] = tuple(inputs)
        wanted = outputs
    else:
        candidates = FAMILIES.values() if family == "auto" else [FAMILIES[family]]
        fitting = [
            known
            for known in candidates
            # RF-DETR's segmentation models have masks, too.
            if set(known.inputs) == set(inputs) and set(known.outputs) <= set(outputs)
        ]
        if not fitting:
            raise SettingError(
                f"it has {', '.join(map(_described, session.get_inputs()))} -> "
                f"{', '.join(map(_described, session.get_outputs()))}; supported is "
                f"{' or '.join(map(str, candidates))}; for a YOLOX with other names set "
                "detection.family to yolox"
            )
        (chosen,) = fitting
        names, wanted = chosen.inputs, list(chosen.outputs)
    unknown = [f"{name} {inputs[name]}" for name in names if inputs[name] not in TYPES]
    if unknown or inputs[names[0]] not in IMAGE_TYPES:
        raise SettingError(
            f"its inputs {', '.join(unknown or [f'{names[0]} {inputs[names[0]]}'])} should be "
            "float32 or float16 images"
        )
    return chosen, {name: TYPES[inputs[name]] for name in names}, wanted


def _described(node: Any) -> str:
    return f"{node.name} {node.type} {node.shape}"


def size_and_batch(images: Any, family: Family) -> tuple[Size, int | None]:
    """Returns height and width of the input, px, and the number of images, None if it is open.

    Args:
        images: The input as onnxruntime describes it.
        family: Has the size if the file leaves it open.

    Raises:
        SettingError: If it is no batch of images, or of unknown size.
    """
    shape = [side if isinstance(side, int) else None for side in images.shape]
    if len(shape) != 4 or shape[1] not in (3, None):
        raise SettingError(
            f"its input {_described(images)} should have the shape (images, 3, height, width)"
        )
    batch, _, height, width = shape
    height, width = height or family.side_px, width or family.side_px
    if height is None or width is None:
        raise SettingError(
            f"its input {_described(images)} has no fixed size; export it with the size that the "
            "model was trained for"
        )
    return (height, width), batch
