"""The body model's arrays, and the `.npz` file without pickles that stores them.

`pear_ros.assets.downloads` converts the published files to it; the node loads this file only:

    load_assets(path)             the .npz -> BodyAssets
    save_assets(assets, output)   BodyAssets -> the .npz

The numbers of vertices and faces come from the files. EHM's parameters fix the numbers of joints,
55 of the body and 5 of the head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from pear_ros.assets.arrays import Array, BrokenFileError, ids_below, read_npz
from pear_ros.errors import AssetError
from pear_ros.system.file_kinds import what_else
from pear_ros.system.files import replacing

FORMAT_VERSION = 1
_VERSION_KEY = "pear_ros_assets_version"

BODY_SHAPES = 200  # PEAR predicts 200 of SMPL-X's 300 shape coefficients; the others are zero
HEAD_SHAPES = 300
# FLAME's joints are global, neck, jaw, left eye, right eye. PEAR never rotates the first two.
NUM_FIXED_HEAD_JOINTS = 2
LARGEST_VERTICES = 1 << 16  # of the body or the head; SMPL-X has 10,475
LARGEST_FACES = 1 << 17
LARGEST = {  # by the letters of BodyAssets
    "V": ("vertices", LARGEST_VERTICES),
    "F": ("faces", LARGEST_FACES),
    "U": ("vertices of the head", LARGEST_VERTICES),
    "G": ("faces of the head", LARGEST_FACES),
}
LARGEST_M = 100.0  # of any length, and of the effect of one unit of a coefficient


def _layout(dtype: str, *shape: int | str) -> dict[str, Any]:
    """Type and shape of an array. A letter stands for a size that comes from the files."""
    return {"dtype": np.dtype(dtype), "shape": shape}


@dataclass(frozen=True, eq=False)
class BodyAssets:
    """SMPL-X's body and FLAME's head as C-contiguous arrays, lengths in metres.

    V and F are the numbers of the body's vertices and faces, U and G those of the head. Faces and
    ids count from 0. The root is joint 0 with parent -1; parents come before their children.
    """

    body_template: Array = field(metadata=_layout("f4", "V", 3))
    body_faces: Array = field(metadata=_layout("i4", "F", 3))
    body_shapedirs: Array = field(metadata=_layout("f4", "V", 3, BODY_SHAPES))
    body_expressiondirs: Array = field(metadata=_layout("f4", "V", 3, 50))
    body_posedirs: Array = field(metadata=_layout("f4", "V", 3, 9 * 54))
    body_joint_regressor: Array = field(metadata=_layout("f4", 55, "V"))
    body_weights: Array = field(metadata=_layout("f4", "V", 55))
    body_parents: Array = field(metadata=_layout("i8", 55))
    head_template: Array = field(metadata=_layout("f4", "U", 3))
    head_faces: Array = field(metadata=_layout("i4", "G", 3))
    head_shapedirs: Array = field(metadata=_layout("f4", "U", 3, HEAD_SHAPES))
    head_expressiondirs: Array = field(metadata=_layout("f4", "U", 3, 50))
    head_posedirs: Array = field(metadata=_layout("f4", "U", 3, 9 * 4))
    head_joint_regressor: Array = field(metadata=_layout("f4", 5, "U"))
    head_weights: Array = field(metadata=_layout("f4", "U", 5))
    head_parents: Array = field(metadata=_layout("i8", 5))
    # The body vertex that corresponds to each head vertex, and whether the head vertex replaces it:
    # the body keeps its own vertices in FLAME's regions neck and boundary.
    head_vertex_ids: Array = field(metadata=_layout("i8", "U"))
    head_is_pasted: Array = field(metadata=_layout("b1", "U"))
    # Blend shapes of the eyelids, which are not part of FLAME itself.
    left_eyelid: Array = field(metadata=_layout("f4", "U", 3))
    right_eyelid: Array = field(metadata=_layout("f4", "U", 3))


def load_assets(path: Path) -> BodyAssets:
    """Loads the file that `save_assets` wrote.

    Raises:
        AssetError: If the file is missing, truncated, written by another program or in another
            version of the format, if an array does not have the type, shape and range that
            `BodyAssets` states, or if memory is short.
    """
    if path.is_dir():
        raise AssetError(
            f"{path}: is a directory. If it holds the downloads, convert them once with "
            f"`pear-ros assets convert {path} OUT.npz` and give OUT.npz instead."
        )
    again = "Run `pear-ros assets convert DIR OUT.npz`, where DIR is the folder of the downloads."
    try:
        names = [spec.name for spec in fields(BodyAssets)]
        arrays = read_npz(path, [_VERSION_KEY, *names])
        if _VERSION_KEY not in arrays:
            raise BrokenFileError("was not written by `pear-ros assets convert`")
        version = arrays[_VERSION_KEY]
        if version.shape != () or version.dtype.kind not in "iu" or version != FORMAT_VERSION:
            raise BrokenFileError(f"has format {str(version)[:20]}, but {FORMAT_VERSION} is needed")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise BrokenFileError(f"has no {', '.join(missing)}")
        return checked({name: arrays[name] for name in names})
    except FileNotFoundError as error:
        raise AssetError(f"{path}: does not exist. {again}") from error
    except PermissionError as error:
        raise AssetError(f"{path}: this user has no permission to read it.") from error
    except BrokenFileError as error:
        if what := what_else(path):
            raise AssetError(f"{path}: is not a body file but {what}. {again}") from error
        raise AssetError(f"{path}: {error}. {again}") from error


def save_assets(assets: BodyAssets, output: Path) -> None:
    """Writes the `.npz` file that `load_assets` reads; `output` is replaced atomically.

    Raises:
        AssetError: If `output` cannot be written.
    """
    arrays = {spec.name: getattr(assets, spec.name) for spec in fields(BodyAssets)}
    arrays[_VERSION_KEY] = np.array(FORMAT_VERSION)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise AssetError(f"{output}: cannot be written: {error.strerror or error}") from error


def checked(arrays: Mapping[str, Array]) -> BodyAssets:
    """Checks arrays against the types, shapes and ranges of BodyAssets and returns them as such.

    Raises:
        BrokenFileError: If an array does not fit BodyAssets or the other arrays.
    """
    counts: dict[str, int] = {}
    for spec in fields(BodyAssets):
        array, shape = arrays[spec.name], spec.metadata["shape"]
        if len(array.shape) == len(shape):
            for letter, size in zip(shape, array.shape, strict=True):
                if isinstance(letter, str) and letter not in counts:
                    counts[letter] = size
                    what, largest = LARGEST[letter]
                    if not 0 < size <= largest:
                        raise BrokenFileError(f"has {size} {what}, not 1 to {largest}")
        wanted = tuple(counts.get(size, size) for size in shape)
        if array.dtype != spec.metadata["dtype"] or array.shape != wanted:
            raise BrokenFileError(
                f"{spec.name} is {array.dtype} {array.shape}, not {spec.metadata['dtype']} {wanted}"
            )
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            check_lengths(name, array)
    ranges: Iterable[tuple[str, str]] = (
        ("body_faces", "V"),
        ("head_faces", "U"),
        ("head_vertex_ids", "V"),
    )
    for name, letter in ranges:
        ids_below(name, arrays[name], arrays[name].shape, counts[letter])
    for name in ("body_parents", "head_parents"):
        check_parents(name, arrays[name])
    if (arrays["head_parents"][NUM_FIXED_HEAD_JOINTS:] >= NUM_FIXED_HEAD_JOINTS).any():
        raise BrokenFileError(
            "head_parents is not FLAME's, where the parent of jaw and eyes is joint 0 or 1"
        )
    return BodyAssets(**{name: np.ascontiguousarray(array) for name, array in arrays.items()})


def check_lengths(name: str, array: Array) -> None:
    """Checks that all numbers are finite and at most LARGEST_M, in magnitude.

    Raises:
        BrokenFileError: If they are not.
    """
    if not -LARGEST_M <= array.min() <= array.max() <= LARGEST_M:  # also if one is NaN
        raise BrokenFileError(
            f"{name} has numbers from {array.min():g} to {array.max():g}, not within "
            f"{-LARGEST_M:g} to {LARGEST_M:g}"
        )


def check_parents(name: str, parents: Array) -> None:
    """Checks that `parents` (J,) is a tree with one root and parents before their children.

    Raises:
        BrokenFileError: If it is not.
    """
    joints = np.arange(len(parents))
    if parents[0] != -1 or (parents[1:] < 0).any() or (parents >= joints).any():
        raise BrokenFileError(f"{name} is not a tree with one root and parents before children")
