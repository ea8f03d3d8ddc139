"""ONNX files with the inputs and outputs of real detectors, whose answers are known.

Each output is a table that the test gives. A `Probe` replaces one value of each image's table by a
mean over the pixels of the input, so a test sees what the network would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pear_ros.detection.onnx_detector import OnnxDetector
from pear_ros.people import Camera, Frame

Shape = tuple[int | str, ...]
FLOAT = TensorProto.FLOAT


@dataclass(frozen=True)
class Probe:
    """Puts `scale` * mean of the input's `channel` + `offset` into the table at [row, column].

    With `root` it is the square root of that, which is NaN if it is negative.
    """

    row: int
    column: int
    channel: int
    scale: float = 1.0
    offset: float = 0.0
    root: bool = False


class Graph:
    """Collects the nodes of a graph; names are unique."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def table(self, images: str, rows: NDArray[Any], probes: tuple[Probe, ...] = ()) -> str:
        """(N, C) rows -> (B, N, C), repeated for each image, with the probes' values."""
        first = [self.constant(np.array([i], np.int64)) for i in (0, 1, 0)]  # start, end, axis
        count = self.add("Slice", self.add("Shape", images), *first)
        shape = self.add("Concat", count, self.constant(np.array([1, 1], np.int64)), axis=0)
        values = self.add("Expand", self.constant(rows[None].astype(np.float32)), shape)
        means = self.add("ReduceMean", images, axes=[2, 3], keepdims=0)  # (B, 3)
        for probe in probes:
            mask = np.zeros((1, *rows.shape), bool)
            mask[0, probe.row, probe.column] = True
            factors = np.zeros((3, 1), np.float32)
            factors[probe.channel] = probe.scale
            mean = self.add("MatMul", means, self.constant(factors))  # (B, 1)
            mean = self.add("Add", mean, self.constant(np.array([probe.offset], np.float32)))
            if probe.root:
                mean = self.add("Sqrt", mean)
            mean = self.add("Unsqueeze", mean, self.constant(np.array([2], np.int64)))
            values = self.add("Where", self.constant(mask), mean, values)
        return values

    def save(
        self,
        path: Path,
        inputs: dict[str, tuple[int, Shape]],
        outputs: dict[str, tuple[int, Shape]],
    ) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "detector",
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in outputs.items()],
            self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8, producer_name="test"
        )
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path


def save_yolox(
    path: Path,
    cells: NDArray[Any],  # (N, 5 + classes)
    *probes: Probe,
    shape: Shape = (1, 3, 64, 96),
    names: tuple[str, str] = ("images", "output"),
    kind: int = FLOAT,
) -> Path:
    """tools/export_onnx.py of YOLOX; `cells` are decoded or not."""
    graph = Graph()
    images = names[0]
    if kind != FLOAT:
        images = graph.add("Cast", images, to=FLOAT)
    values = graph.table(images, cells, probes)
    graph.add("Cast", values, to=kind, output=names[1])
    output = (shape[0], *cells.shape)
    return graph.save(path, {names[0]: (kind, shape)}, {names[1]: (kind, output)})


def save_rtdetr(
    path: Path,
    labels: NDArray[Any],  # (N,)
    cxcywh: NDArray[Any],  # (N, 4) from 0 to 1
    scores: NDArray[Any],  # (N,)
    *probes: Probe,  # columns are those of the scores as a table (N, 1)
    shape: Shape = ("N", 3, 64, 64),
) -> Path:
    """tools/export_onnx.py of RT-DETR and D-FINE: the boxes are scaled in the graph."""
    graph = Graph()
    half = cxcywh[:, 2:] / 2
    unit = np.concatenate((cxcywh[:, :2] - half, cxcywh[:, :2] + half), 1)
    pixels = graph.add("Cast", "orig_target_sizes", to=FLOAT)  # (B, 2)
    pixels = graph.add("Concat", pixels, pixels, axis=1)
    pixels = graph.add("Unsqueeze", pixels, graph.constant(np.array([1], np.int64)))  # (B, 1, 4)
    graph.add("Mul", graph.table("images", unit), pixels, output="boxes")
    last = graph.constant(np.array([2], np.int64))
    named = graph.add("Squeeze", graph.table("images", labels[:, None]), last)
    graph.add("Cast", named, to=TensorProto.INT64, output="labels")
    graph.add("Squeeze", graph.table("images", scores[:, None], probes), last, output="scores")
    batch, count = shape[0], len(labels)
    return graph.save(
        path,
        {"images": (FLOAT, shape), "orig_target_sizes": (TensorProto.INT64, (batch, 2))},
        {
            "labels": (TensorProto.INT64, (batch, count)),
            "boxes": (FLOAT, (batch, count, 4)),
            "scores": (FLOAT, (batch, count)),
        },
    )


def save_rfdetr(
    path: Path,
    cxcywh: NDArray[Any],  # (N, 4) from 0 to 1
    logits: NDArray[Any],  # (N, classes)
    *probes: Probe,  # into the logits
    shape: Shape = (1, 3, 56, 56),
    masks: bool = False,
) -> Path:
    """`model.export()` of RF-DETR; with `masks` that of a segmentation model."""
    graph = Graph()
    outputs: dict[str, tuple[int, Shape]] = {
        "dets": (FLOAT, (shape[0], *cxcywh.shape)),
        "labels": (FLOAT, (shape[0], *logits.shape)),
    }
    graph.add("Identity", graph.table("input", cxcywh), output="dets")
    graph.add("Identity", graph.table("input", logits, probes), output="labels")
    if masks:
        graph.add("Identity", "input", output="masks")
        outputs["masks"] = (FLOAT, shape)
    return graph.save(path, {"input": (FLOAT, shape)}, outputs)


# --- Tables and frames ---------------------------------------------------------------------------

YOLOX_CELLS = 126  # of 64x96 px
CENTRED = np.array([[0.5, 0.5, 0.5, 0.5]], np.float32)  # centre and size, from 0 to 1


def yolox_cells(cells: int = YOLOX_CELLS, classes: int = 80) -> NDArray[np.float32]:
    """Undecoded cells that see nobody."""
    return np.zeros((cells, 5 + classes), np.float32)


def rfdetr_logits(count: int = 1, classes: int = 91) -> NDArray[np.float32]:
    """Logits of boxes around nothing."""
    return np.full((count, classes), -20, np.float32)


def colour(size: tuple[int, int], rgb: tuple[int, int, int]) -> Frame:
    """A frame of `size` (height, width) px in one colour."""
    return Frame(np.full((*size, 3), rgb, np.uint8), Camera(600, 600, 320, 240), 0.0)


def load(path: Path, family: str = "auto", person_index: int = -1) -> OnnxDetector:
    return OnnxDetector(path, family, person_index, torch.device("cpu"))
