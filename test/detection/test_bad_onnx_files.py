"""ONNX files that cannot be used, onnxruntime that is missing, and where it runs."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_detectors import (
    CENTRED,
    YOLOX_CELLS,
    Graph,
    Probe,
    colour,
    load,
    rfdetr_logits,
    save_rfdetr,
    save_yolox,
    yolox_cells,
)

from pear_ros.config import DetectionSettings
from pear_ros.detection.detector import make_detector
from pear_ros.detection.onnx_detector import OnnxDetector, open_session
from pear_ros.errors import SettingError

CPU = torch.device("cpu")


def graph_of(
    path: Path, inputs: dict[str, tuple[int, Any]], outputs: dict[str, tuple[int, Any]]
) -> Path:
    """A graph whose outputs are zeros of these shapes (0 where they are open)."""
    graph = Graph()
    for name, (kind, shape) in outputs.items():
        zeros = np.zeros([side if isinstance(side, int) else 1 for side in shape])
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        graph.add("Identity", graph.constant(zeros.astype(dtype)), output=name)
    return graph.save(path, inputs, outputs)


FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
IMAGES = {"images": (FLOAT, (1, 3, 64, 96))}
SIZES = {"orig_target_sizes": (INT64, (1, 2))}
CELLS = {"output": (FLOAT, (1, YOLOX_CELLS, 85))}
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a classifier": (
        {"data": (FLOAT, (1, 3, 224, 224))},
        {"prob": (FLOAT, (1, 1000))},
        r"it has data tensor\(float\) \[1, 3, 224, 224\] -> prob tensor\(float\) \[1, 1000\]; "
        r"supported is YOLOX \(images -> output\) or RT-DETR, RT-DETRv2 or D-FINE \(images, "
        r"orig_target_sizes -> labels, boxes, scores\) or RF-DETR \(input -> dets, labels\)",
    ),
    "YOLOv8": (
        {"images": (FLOAT, (1, 3, 640, 640))},
        {"output0": (FLOAT, (1, 84, 8400))},
        r"it has images .* -> output0 ",
    ),
    "YOLOv5 of old": (
        {"images": (FLOAT, (1, 3, 640, 640))},
        {"output": (FLOAT, (1, 25200, 85))},
        "its output has 25200 cells; a YOLOX for 640x640 px has 8400 or 8500",
    ),
    "RT-DETR without sizes": (
        IMAGES,
        {"labels": (INT64, (1, 9)), "boxes": (FLOAT, (1, 9, 4)), "scores": (FLOAT, (1, 9))},
        "it has images ",
    ),
    "RT-DETR with other shapes": (
        IMAGES | SIZES,
        {"labels": (INT64, (1, 9)), "boxes": (FLOAT, (1, 4, 9)), "scores": (FLOAT, (1, 9))},
        "its labels, boxes and scores have the shapes",
    ),
    "RF-DETR with swapped outputs": (
        {"input": (FLOAT, (1, 3, 56, 56))},
        {"labels": (FLOAT, (1, 9, 4)), "dets": (FLOAT, (1, 9, 91))},
        r"its dets and labels have the shapes \(1, 9, 91\) and \(1, 9, 4\)",
    ),
    "RF-DETR of any size": (
        {"input": (FLOAT, (1, 3, "h", "w"))},
        {"dets": (FLOAT, (1, 9, 4)), "labels": (FLOAT, (1, 9, 91))},
        "has no fixed size; export it with the size",
    ),
    "channels last": (
        {"images": (FLOAT, (1, 64, 96, 3))},
        CELLS,
        r"should have the shape \(images",
    ),
    "three axes": ({"images": (FLOAT, (3, 64, 96))}, CELLS, r"should have the shape \(images, 3"),
    "bytes": (
        {"images": (UINT8, (1, 3, 64, 96))},
        CELLS,
        r"its inputs images tensor\(uint8\) should be float32 or float16",
    ),
    "integers": (
        {"images": (INT64, (1, 3, 64, 96))},
        CELLS,
        r"its inputs images tensor\(int64\) should be float32 or float16",
    ),
    "one answer for two images": (
        {"images": (FLOAT, (2, 3, 64, 96))},
        {"output": (FLOAT, (1, YOLOX_CELLS, 85))},
        r"its outputs for 2 images have the shapes \(1, 126, 85\)",
    ),
}


@pytest.mark.parametrize(("inputs", "outputs", "message"), OTHERS.values(), ids=OTHERS)
def test_other_graphs(
    tmp_path: Path, inputs: dict[str, Any], outputs: dict[str, Any], message: str
) -> None:
    path = graph_of(tmp_path / "x.onnx", inputs, outputs)
    with pytest.raises(
        SettingError, match=f"^the detector {re.escape(str(path))} cannot be used: .*{message}"
    ):
        load(path)


def test_a_file_of_another_family_than_the_given_one(tmp_path: Path) -> None:
    path = save_rfdetr(tmp_path / "x.onnx", CENTRED, rfdetr_logits())
    with pytest.raises(SettingError, match="supported is RT-DETR, RT-DETRv2 or D-FINE"):
        load(path, "rtdetr")


def test_other_classes(tmp_path: Path) -> None:
    """Of a fine-tuned RF-DETR with one class: person, background."""
    table = rfdetr_logits(classes=2)
    table[0] = 20, 30
    path = save_rfdetr(tmp_path / "x.onnx", CENTRED, table, Probe(0, 0, 0, 0.0, 3.0))
    with pytest.raises(SettingError, match=r"it has 2 classes and not 91; set detection.person"):
        load(path)
    (boxes,) = load(path, person_index=0)([colour((48, 96), (0, 0, 0))])
    assert boxes.scores == pytest.approx([1 / (1 + np.exp(-3))])


def test_a_graph_that_cannot_run(tmp_path: Path) -> None:
    """Its reshape fails for the input that it declares."""
    graph = Graph()
    shape = graph.constant(np.array([1, YOLOX_CELLS, 85], np.int64))
    graph.add("Reshape", "images", shape, output="output")
    path = graph.save(tmp_path / "x.onnx", IMAGES, CELLS)
    with pytest.raises(SettingError, match=r"x.onnx cannot be used: onnxruntime cannot run it: "):
        load(path)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "a pointer of Git LFS": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = save_yolox(tmp_path / "x.onnx", yolox_cells())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SettingError, match=f"^onnxruntime cannot load the detector .*{path.name}"):
        load(path)


def test_weights_in_another_file_that_is_missing(tmp_path: Path) -> None:
    path = save_yolox(tmp_path / "x.onnx", yolox_cells())
    onnx.save(
        onnx.load(str(path)),
        str(path),
        save_as_external_data=True,
        location="x.data",
        size_threshold=1024,
    )
    assert load(path)
    (tmp_path / "x.data").unlink()
    with pytest.raises(SettingError, match=r"^onnxruntime cannot load the detector .*x.onnx"):
        load(path)


@pytest.mark.parametrize("name", ["nothing.onnx", "."])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match=r"^detection.model: .* is not a file"):
        load(tmp_path / name)


# --- Settings, onnxruntime, devices --------------------------------------------------------------


def test_settings_choose_it(tmp_path: Path) -> None:
    path = save_yolox(tmp_path / "x.onnx", yolox_cells(classes=3), names=("a", "b"))
    settings = DetectionSettings(detector="onnx", model=str(path), family="yolox", person_index=2)
    assert isinstance(make_detector(settings, CPU), OnnxDetector)


def test_without_a_file() -> None:
    with pytest.raises(SettingError, match=r"^detection.model is not set; give the ONNX file"):
        make_detector(DetectionSettings(detector="onnx"), CPU)


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_yolox(tmp_path / "x.onnx", yolox_cells())
    real = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingError, match="needs onnxruntime: pip install onnxruntime"):
        load(path)


def test_importing_the_package_does_not_import_onnxruntime() -> None:
    code = "import sys, pear_ros.detection.detector; assert 'onnxruntime' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class FakeRuntime:
    """onnxruntime with a CUDA provider that works or does not; remembers what it is asked for."""

    SessionOptions = SimpleNamespace

    def __init__(self, available: list[str], working: list[str]) -> None:
        self.available, self.working = available, working

    def get_available_providers(self) -> list[str]:
        return self.available

    def InferenceSession(self, *_: Any, providers: list[Any]) -> Any:  # noqa: N802
        self.asked = providers
        return SimpleNamespace(get_providers=lambda: self.working)


CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("available", "device", "names"),
    [
        pytest.param(
            [CUDA_PROVIDER, CPU_PROVIDER], "cuda:1", [CUDA_PROVIDER, CPU_PROVIDER], id="GPU"
        ),
        pytest.param([CUDA_PROVIDER, CPU_PROVIDER], "cpu", [CPU_PROVIDER], id="device is cpu"),
        pytest.param([CPU_PROVIDER], "cuda", [CPU_PROVIDER], id="onnxruntime for CPUs"),
        pytest.param(
            ["TensorrtExecutionProvider", CUDA_PROVIDER, CPU_PROVIDER],
            "cuda",
            [CUDA_PROVIDER, CPU_PROVIDER],
            id="never TensorRT",
        ),
    ],
)
def test_providers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    available: list[str],
    device: str,
    names: list[str],
) -> None:
    runtime = FakeRuntime(available, available)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    path = save_yolox(tmp_path / "x.onnx", yolox_cells())
    open_session(path, torch.device(device))
    assert [p if isinstance(p, str) else p[0] for p in runtime.asked] == names
    if CUDA_PROVIDER in names:
        assert runtime.asked[0][1]["device_id"] == (torch.device(device).index or 0)


def test_a_gpu_that_onnxruntime_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime([CUDA_PROVIDER, CPU_PROVIDER], [CPU_PROVIDER])
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    path = save_yolox(tmp_path / "x.onnx", yolox_cells())
    with pytest.raises(SettingError, match=r"^onnxruntime cannot use cuda:0, its log says why"):
        open_session(path, torch.device("cuda:0"))
