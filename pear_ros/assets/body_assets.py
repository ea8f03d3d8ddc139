"""The body model's arrays, and the one file that holds them: an `.npz` without pickles.

`pear_ros.assets.downloads` makes it of the published files; the node loads nothing else:

    load_assets(path)             the .npz -> BodyAssets
    save_assets(assets, output)   BodyAssets -> the .npz

Vertex and face counts come from the files; 55 body joints and 5 head joints are fixed by the
layout of EHM's parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from pear_ros.assets.arrays import Array, BrokenFileError, ids_below, read_npz
from pear_ros.errors import AssetError
from pear_ros.system.files import replacing

FORMAT_VERSION = 1
_VERSION_KEY = "pear_ros_assets_version"

BODY_SHAPES = 200  # PEAR predicts 200 of SMPL-X's 300 shape coefficients, the others are zero
HEAD_SHAPES = 300
# FLAME's joints are global, neck, jaw, left eye, right eye; PEAR never turns the first two.
HEAD_STILL = 2


def _layout(dtype: str, *shape: int | str) -> dict[str, Any]:
    """Type and shape of an array; a letter is a count that the files decide."""
    return {"dtype": np.dtype(dtype), "shape": shape}


@dataclass(frozen=True, eq=False)
class BodyAssets:
    """SMPL-X's body and FLAME's head, C-contiguous, lengths in metres.

    V and F count the body's vertices and faces, U and G the head's. Faces and ids count from 0.
    Parents are -1 for the root, which is joint 0, and come before their children.
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
    # The body's vertex that each of the head's replaces, and whether it does: where FLAME's masks
    # say neck or boundary, the body keeps its own.
    head_vertex_ids: Array = field(metadata=_layout("i8", "U"))
    head_is_pasted: Array = field(metadata=_layout("b1", "U"))
    # Blend shapes of the eyelids, which FLAME itself does not have.
    left_eyelid: Array = field(metadata=_layout("f4", "U", 3))
    right_eyelid: Array = field(metadata=_layout("f4", "U", 3))


def load_assets(path: Path) -> BodyAssets:
    """Load the file that `save_assets` wrote.

    Raises AssetError when the file is missing, truncated, of another program or of an older
    version, or when an array has another type, shape or range than `BodyAssets` says.
    """
    if path.is_dir():
        raise AssetError(
            f"{path}: is a directory. If it holds the downloads, convert them once with "
            f"`pear-ros assets convert {path} OUT.npz` and give OUT.npz instead."
        )
    again = "Run `pear-ros assets convert DIR OUT.npz`, DIR being where the downloads lie."
    try:
        names = [spec.name for spec in fields(BodyAssets)]
        arrays = read_npz(path, [_VERSION_KEY, *names])
        if _VERSION_KEY not in arrays:
            raise BrokenFileError("was not written by `pear-ros assets convert`")
        version = arrays[_VERSION_KEY]
        if version.shape != () or version != FORMAT_VERSION:
            raise BrokenFileError(f"has format {version}, and {FORMAT_VERSION} is needed")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise BrokenFileError(f"has no {', '.join(missing)}")
        return checked({name: arrays[name] for name in names})
    except FileNotFoundError as error:
        raise AssetError(f"{path}: there is no such file. {again}") from error
    except PermissionError as error:
        raise AssetError(f"{path}: may not be read by this user.") from error
    except BrokenFileError as error:
        raise AssetError(f"{path}: {error}. {again}") from error


def save_assets(assets: BodyAssets, output: Path) -> None:
    """Write the `.npz` that `load_assets` reads; it replaces `output` whole or not at all.

    Raises AssetError when `output` cannot be written.
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
    """Build BodyAssets from arrays that agree with it and with each other."""
    counts: dict[str, int] = {}
    for spec in fields(BodyAssets):
        array, shape = arrays[spec.name], spec.metadata["shape"]
        if len(array.shape) == len(shape):
            for letter, size in zip(shape, array.shape, strict=True):
                if isinstance(letter, str):
                    counts.setdefault(letter, size)
        wanted = tuple(counts.get(size, size) for size in shape)
        if array.dtype != spec.metadata["dtype"] or array.shape != wanted:
            raise BrokenFileError(
                f"{spec.name} is {array.dtype} {array.shape}, not {spec.metadata['dtype']} {wanted}"
            )
    ranges: Iterable[tuple[str, str]] = (
        ("body_faces", "V"),
        ("head_faces", "U"),
        ("head_vertex_ids", "V"),
    )
    for name, letter in ranges:
        ids_below(name, arrays[name], arrays[name].shape, counts[letter])
    for name in ("body_parents", "head_parents"):
        check_parents(name, arrays[name])
    if (arrays["head_parents"][HEAD_STILL:] >= HEAD_STILL).any():
        raise BrokenFileError("head_parents is not FLAME's: its jaw and eyes follow joint 0 or 1")
    return BodyAssets(**{name: np.ascontiguousarray(array) for name, array in arrays.items()})


def check_parents(name: str, parents: Array) -> None:
    joints = np.arange(len(parents))
    if parents[0] != -1 or (parents[1:] < 0).any() or (parents >= joints).any():
        raise BrokenFileError(f"{name} is no tree with one root and parents before children")
