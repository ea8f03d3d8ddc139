"""The labels of people in real pictures, as files: docs/reference/labels_file.md.

    write_labels(path, labels)        N people -> one .npz, without pickles
    read_labels(path, crops)          the .npz -> N people, with everything checked

The file that `pear-ros annotate` writes is read by a training, maybe on another machine and from
somebody else, so reading trusts nothing.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.assets.arrays import Array, BrokenFileError, read_npz
from pear_ros.body.landmarks import NUM_LANDMARKS
from pear_ros.errors import LabelError
from pear_ros.people import (
    NUM_JOINTS,
    EhmParameters,
    FloatArray,
    IntArray,
    map_tensors,
    neutral_parameters,
)
from pear_ros.people import join as join_parameters
from pear_ros.system.files import replacing

FORMAT_VERSION = 1
MAX_LABEL_BYTES = 1 << 31  # of all labels, 10 kB a person
_VERSION_KEY = "pear_ros_labels_version"
CROPS_FOLDER = "crops"
LABELS_FILE = "labels.npz"
FILE_NAME = re.compile(r"[\w][\w.\-]*\.jpg")  # nothing that leads out of the folder
LARGEST_PX = 1e5  # magnitude of a coordinate

Strings = NDArray[np.str_]
PARAMETER_SHAPES = {
    f.name: tuple(getattr(neutral_parameters(0), f.name).shape[1:]) for f in fields(EhmParameters)
}
ROTATIONS = tuple(name for name, shape in PARAMETER_SHAPES.items() if shape[-2:] == (3, 3))


def _rows(kind: str, *shape: int, unit: str = "") -> dict[str, Any]:
    """An array with N rows: the kind of its numbers as numpy's `dtype.kind`, the shape of a row."""
    return {"kind": kind, "shape": shape, "unit": unit}


@dataclass(frozen=True, eq=False)
class Labels:
    """N people in pictures. `px` are pixels of the crop's picture; pixel 0 has its centre at 0.

    The crop's picture is a part of a larger image, cut and maybe made smaller. Parameters, joints
    and translation are in the optical axes of the camera that took the whole image: `intrinsics`
    are that camera's, in pixels of the crop's picture.
    """

    file: Strings = field(metadata=_rows("U"))  # in the folder `crops`
    source_input: Strings = field(metadata=_rows("U"))  # file name of the video or folder
    source_frame: IntArray = field(metadata=_rows("i"))  # image of the input, from 0
    source_person: Strings = field(metadata=_rows("U"))  # the same in all images of a video
    picture_xyxy: FloatArray = field(
        metadata=_rows("f", 4, unit="px")
    )  # borders of the whole image
    box: FloatArray = field(
        metadata=_rows("f", 4, unit="px")
    )  # xyxy, what is visible of the person
    intrinsics: FloatArray = field(
        metadata=_rows("f", 4)
    )  # fx, fy, cx, cy, px; assumed, not calibrated
    keypoints: FloatArray = field(
        metadata=_rows("f", NUM_LANDMARKS, 3)
    )  # x, y, px, confidence; 0: not known
    translation: FloatArray = field(metadata=_rows("f", 3))  # m; joints + translation: optical
    joints: FloatArray = field(
        metadata=_rows("f", NUM_JOINTS, 3)
    )  # m, as the body model returns them
    joint_confidence: FloatArray = field(
        metadata=_rows("f", NUM_JOINTS, unit="share")
    )  # support by keypoints
    confidence_body: FloatArray = field(
        metadata=_rows("f", unit="share")
    )  # of the parameters; 0: do not use
    confidence_left_hand: FloatArray = field(metadata=_rows("f", unit="share"))
    confidence_right_hand: FloatArray = field(metadata=_rows("f", unit="share"))
    confidence_face: FloatArray = field(metadata=_rows("f", unit="share"))
    is_accepted: NDArray[np.bool_] = field(metadata=_rows("b"))
    rejection: Strings = field(
        metadata=_rows("U")
    )  # why not accepted, from quality.REASONS; else empty
    parameters: EhmParameters

    def __len__(self) -> int:
        return len(self.file)

    def rows(self, rows: IntArray) -> Labels:
        """The people with these row indices, in this order."""
        values = {f.name: getattr(self, f.name)[rows] for f in _ARRAYS}
        index = torch.from_numpy(rows)
        parameters = map_tensors(self.parameters, lambda tensor: tensor[index])
        return Labels(parameters=parameters, **values)


_ARRAYS = [f for f in fields(Labels) if f.metadata]


def join(parts: Sequence[Labels]) -> Labels:
    """All people of at least one part."""
    values = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in _ARRAYS}
    return Labels(parameters=join_parameters([part.parameters for part in parts]), **values)


def write_labels(path: Path, labels: Labels) -> None:
    """Writes the .npz file atomically.

    Raises:
        LabelError: If it cannot be written.
    """
    arrays: dict[str, Any] = {f.name: getattr(labels, f.name) for f in _ARRAYS}
    arrays |= {name: getattr(labels.parameters, name).numpy() for name in PARAMETER_SHAPES}
    arrays[_VERSION_KEY] = np.array(FORMAT_VERSION)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not np.savez, whose first argument has the name of an array, `file`.
        with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    except OSError as error:
        raise LabelError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_labels(path: Path, crops: Path | None = None) -> Labels:
    """Reads and checks the .npz file.

    Args:
        path: The file, or the folder with `labels.npz`.
        crops: The folder of the pictures; by default `crops` beside the file.

    Raises:
        LabelError: If the file is missing, damaged or of another format, if an array does not have
            the type, shape and range that `Labels` states, or if a picture is missing.
    """
    if path.is_dir():
        path = path / LABELS_FILE
    crops = path.parent / CROPS_FOLDER if crops is None else crops
    again = "Write it again with `pear-ros annotate INPUT... OUT`."
    try:
        names = [_VERSION_KEY, *(f.name for f in _ARRAYS), *PARAMETER_SHAPES]
        labels = _checked(read_npz(path, names, MAX_LABEL_BYTES))
        for name in labels.file:
            if not (crops / name).is_file():
                raise BrokenFileError(f"names the picture {name}, which is not in {crops}")
    except FileNotFoundError as error:
        raise LabelError(f"{path}: does not exist. {again}") from error
    except PermissionError as error:
        raise LabelError(f"{path}: this user has no permission to read it.") from error
    except BrokenFileError as error:
        raise LabelError(f"{path}: {error}. {again}") from error
    return labels


def _checked(arrays: dict[str, Array]) -> Labels:
    if _VERSION_KEY not in arrays:
        raise BrokenFileError("was not written by `pear-ros annotate`")
    version = arrays[_VERSION_KEY]
    if version.shape != () or version.dtype.kind not in "iu" or version != FORMAT_VERSION:
        raise BrokenFileError(f"has another format than {FORMAT_VERSION}, which is needed")
    names = [*(f.name for f in _ARRAYS), *PARAMETER_SHAPES]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise BrokenFileError(f"has no {', '.join(missing)}")
    count = len(arrays["file"]) if arrays["file"].ndim else 0
    values = {
        f.name: _array(f.name, arrays[f.name], f.metadata["kind"], (count, *f.metadata["shape"]))
        for f in _ARRAYS
    }
    for f in _ARRAYS:
        _check_range(f.name, values[f.name], f.metadata["unit"])
    tensors = {
        name: torch.from_numpy(_array(name, arrays[name], "f", (count, *shape)))
        for name, shape in PARAMETER_SHAPES.items()
    }
    _check_content(values, tensors)
    return Labels(parameters=EhmParameters(**tensors), **values)


def _array(name: str, array: Array, kind: str, shape: tuple[int, ...]) -> Array:
    if array.dtype.kind != kind or array.shape != shape:
        raise BrokenFileError(
            f"{name} is {array.dtype} {array.shape}, not of the kind {kind!r} and {shape}"
        )
    if kind == "f":
        with np.errstate(over="ignore"):  # overflows become infinite and are found here
            array = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(array).all():
            raise BrokenFileError(f"{name} has numbers that are not finite")
    return array.astype(np.int64) if kind == "i" else array


def _check_range(name: str, array: Array, unit: str) -> None:
    if unit == "share" and ((array < 0) | (array > 1)).any():
        raise BrokenFileError(f"{name} has numbers outside of 0 to 1")
    if unit == "px" and (np.abs(array) > LARGEST_PX).any():
        raise BrokenFileError(f"{name} has coordinates beyond {LARGEST_PX:.0f} px")
    if unit == "px" and (array[:, 2:] <= array[:, :2]).any():
        raise BrokenFileError(f"{name} has rectangles whose second corner is not beyond the first")


def _check_content(values: dict[str, Array], tensors: dict[str, torch.Tensor]) -> None:
    bad = [str(name) for name in values["file"] if not FILE_NAME.fullmatch(str(name))]
    if bad:
        raise BrokenFileError(f"names {bad[0]!r} as a picture, which is not the name of a .jpg")
    if len(set(values["file"])) != len(values["file"]):
        raise BrokenFileError("names the same picture twice")
    confidence = values["keypoints"][..., 2]
    if ((confidence < 0) | (confidence > 1)).any():
        raise BrokenFileError("keypoints has confidences outside of 0 to 1")
    if (np.abs(values["keypoints"][..., :2]) > LARGEST_PX).any():
        raise BrokenFileError(f"keypoints has coordinates beyond {LARGEST_PX:.0f} px")
    if (values["intrinsics"][:, :2] <= 0).any():
        raise BrokenFileError("intrinsics has focal lengths that are not positive")
    for name in ROTATIONS:
        matrices = tensors[name]
        error = (matrices @ matrices.mT - torch.eye(3)).abs().amax((-2, -1))
        if len(matrices) and ((error > 1e-2) | (torch.linalg.det(matrices) < 0)).any():
            raise BrokenFileError(f"{name} has matrices that are not rotations")
