"""The published files of the body model, which users download: checks and conversion.

The files come in three formats and contain unused parts. Some are pickles, which are never
executed:

    check_assets(directory)            which files are found, missing or broken
    convert_assets(directory, output)  the files -> the .npz of `pear_ros.assets.body_assets`
"""

from __future__ import annotations

import filecmp
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pear_ros.assets.arrays import (
    Array,
    BrokenFileError,
    floats,
    ids_below,
    numbers,
    read_npy,
    read_npz,
)
from pear_ros.assets.body_assets import (
    BODY_SHAPES,
    HEAD_SHAPES,
    BodyAssets,
    check_parents,
    checked,
    save_assets,
)
from pear_ros.assets.unpickle import load_pickle
from pear_ros.errors import AssetError

EXPRESSIONS = slice(300, 350)  # of the columns of shapedirs, in SMPL-X as in FLAME

T = TypeVar("T")


@dataclass(frozen=True)
class AssetFile:
    """One of the files that a user downloads."""

    name: str
    what: str
    source: str  # where to get it
    licence: str


_SMPLX_SITE = "https://smpl-x.is.tue.mpg.de/download.php (free registration)"
_SMPLX_LICENCE = "SMPL-X licence: non-commercial"
_FLAME_SITE = "https://flame.is.tue.mpg.de/download.php (free registration)"
_FLAME_LICENCE = "FLAME licence: non-commercial"
_EYELIDS_SITE = "https://github.com/Zielon/metrical-tracker, flame/blendshapes"
_EYELIDS_LICENCE = "MICA licence (in that repository): non-commercial"

BODY = AssetFile(
    "SMPLX_NEUTRAL_2020.npz",
    "SMPL-X 2020, the body model",
    f"{_SMPLX_SITE}: SMPL-X 2020",
    _SMPLX_LICENCE,
)
HEAD = AssetFile(
    "generic_model.pkl",
    "FLAME 2020, the head model",
    f"{_FLAME_SITE}: FLAME 2020",
    _FLAME_LICENCE,
)
VERTEX_IDS = AssetFile(
    "SMPL-X__FLAME_vertex_ids.npy",
    "the vertex of SMPL-X for each vertex of FLAME",
    f"{_SMPLX_SITE}: MANO and FLAME vertex indices",
    _SMPLX_LICENCE,
)
MASKS = AssetFile(
    "FLAME_masks.pkl",
    "FLAME's regions, of which neck and boundary are used",
    f"{_FLAME_SITE}: FLAME Vertex Masks",
    _FLAME_LICENCE,
)
LEFT_EYELID = AssetFile(
    "l_eyelid.npy", "FLAME's blend shape of the left eyelid", _EYELIDS_SITE, _EYELIDS_LICENCE
)
RIGHT_EYELID = AssetFile(
    "r_eyelid.npy", "FLAME's blend shape of the right eyelid", _EYELIDS_SITE, _EYELIDS_LICENCE
)
FILES = (BODY, HEAD, VERTEX_IDS, MASKS, LEFT_EYELID, RIGHT_EYELID)


@dataclass(frozen=True)
class AssetReport:
    """The result of `check_assets`. Keys are the names of `FILES`."""

    directory: Path
    found: Mapping[str, Path]  # files that can be read and fit each other
    missing: tuple[AssetFile, ...]
    broken: Mapping[str, str]  # the reason for each broken file

    @property
    def is_complete(self) -> bool:
        return len(self.found) == len(FILES)

    def __str__(self) -> str:
        lines = []
        for file in FILES:
            if file.name in self.found:
                lines.append(f"found    {self.found[file.name]}")
            elif file.name in self.broken:
                lines.append(f"BROKEN   {self.broken[file.name]}")
                lines.append(f"         it comes from {file.source}")
            else:
                lines.append(f"MISSING  {file.name}: {file.what}")
                lines.append(f"         get it from {file.source}")
                lines.append(f"         {file.licence}")
        lines.append(
            f"All {len(FILES)} files are there and fit each other."
            if self.is_complete
            else f"{len(FILES) - len(self.found)} of {len(FILES)} files are missing or broken "
            f"in {self.directory} and its subfolders."
        )
        return "\n".join(lines)


def check_assets(directory: Path) -> AssetReport:
    """Reads the downloaded files in `directory` and its subfolders and checks that they fit.

    Raises:
        AssetError: If `directory` is not a directory.
    """
    return _read_directory(directory)[0]


def convert_assets(directory: Path, output: Path) -> None:
    """Converts the downloaded files in `directory` and its subfolders to one `.npz` file.

    Raises:
        AssetError: If `directory` is not a directory, a file is missing or broken, `output` is one
            of the downloads, or `output` cannot be written.
    """
    report, assets = _read_directory(directory)
    if assets is None:
        raise AssetError(str(report))
    if any(output.resolve() == path.resolve() for path in report.found.values()):
        raise AssetError(f"{output}: is one of the downloads; give another name for the output")
    save_assets(assets, output)


# --- Reading -------------------------------------------------------------------------------------


def _read_directory(directory: Path) -> tuple[AssetReport, BodyAssets | None]:
    paths = _find(directory)
    broken: dict[str, str] = {}

    def read(file: AssetFile, reader: Callable[[Path], T]) -> T | None:
        """None if the file is missing, or broken, which is added to `broken`."""
        candidates = paths[file.name]
        if not candidates:
            return None
        first, *others = candidates
        try:
            for other in others:
                if not filecmp.cmp(first, other, shallow=False):
                    raise BrokenFileError(f"differs from {other}: keep only the right one")
            with warnings.catch_warnings():  # numpy warns that Python 2 wrote the file
                warnings.simplefilter("ignore", UserWarning)
                return reader(first)
        except AssetError as error:
            broken[file.name] = str(error)
        except BrokenFileError as error:
            broken[file.name] = f"{first}: {error}"
        except OSError as error:
            broken[file.name] = f"{first}: cannot be read: {error.strerror or error}"
        return None

    body = read(BODY, _read_body)
    head = read(HEAD, _read_head)
    body_count = None if body is None else len(body["body_template"])
    head_count = None if head is None else len(head["head_template"])
    ids = read(VERTEX_IDS, lambda path: _read_vertex_ids(path, head_count, body_count))
    pasted = read(MASKS, lambda path: _read_pasted(path, head_count))
    left = read(LEFT_EYELID, lambda path: _read_eyelid(path, head_count))
    right = read(RIGHT_EYELID, lambda path: _read_eyelid(path, head_count))

    report = AssetReport(
        directory,
        found={n: found[0] for n, found in paths.items() if found and n not in broken},
        missing=tuple(file for file in FILES if not paths[file.name]),
        broken=broken,
    )
    if body is None or head is None or ids is None or pasted is None:
        return report, None
    if left is None or right is None:
        return report, None
    arrays = {
        **body,
        **head,
        "head_vertex_ids": ids,
        "head_is_pasted": pasted,
        "left_eyelid": left,
        "right_eyelid": right,
    }
    return report, checked(arrays)


def _find(directory: Path) -> dict[str, list[Path]]:
    """The paths of each file in the directory and its subfolders, the shallowest first."""
    if not directory.is_dir():
        raise AssetError(f"{directory}: is not a directory; give the folder of the downloads")
    paths: dict[str, list[Path]] = {file.name: [] for file in FILES}
    for folder, _, names in os.walk(directory):
        for name in names:
            if name in paths:
                paths[name].append(Path(folder, name))
    return {
        name: sorted(found, key=lambda path: (len(path.parts), path))
        for name, found in paths.items()
    }


def _read_body(path: Path) -> dict[str, Array]:
    model = _model(read_npz(path, _MODEL_KEYS), joints=55, shapes=BODY_SHAPES)
    return {f"body_{name}": array for name, array in model.items()}


def _read_head(path: Path) -> dict[str, Array]:
    model = _model(load_pickle(path), joints=5, shapes=HEAD_SHAPES)
    return {f"head_{name}": array for name, array in model.items()}


_MODEL_KEYS = (
    "v_template",
    "f",
    "shapedirs",
    "posedirs",
    "J_regressor",
    "kintree_table",
    "weights",
)


def _model(content: Mapping[str, Any], joints: int, shapes: int) -> dict[str, Array]:
    """The arrays of SMPL-X or FLAME with our names, types and order of columns."""
    missing = [key for key in _MODEL_KEYS if key not in content]
    if missing:
        raise BrokenFileError(f"has no {', '.join(missing)}: is it the right file?")

    template = floats("v_template", content["v_template"], (None, 3))
    count = len(template)
    shapedirs = floats("shapedirs", content["shapedirs"], (count, 3, None))
    if shapedirs.shape[2] < EXPRESSIONS.stop:
        raise BrokenFileError(
            f"has {shapedirs.shape[2]} blend shapes, {EXPRESSIONS.stop} are needed: is it the "
            "model of 2020?"
        )
    weights = floats("weights", content["weights"], (count, joints))
    if np.abs(weights.sum(axis=1, dtype=np.float64) - 1).max(initial=0) > 1e-3:
        raise BrokenFileError("weights: a vertex's weights do not sum to 1")
    return {
        "template": template,
        "faces": ids_below("f", content["f"], (None, 3), count).astype(np.int32),
        "shapedirs": np.ascontiguousarray(shapedirs[:, :, :shapes]),
        "expressiondirs": np.ascontiguousarray(shapedirs[:, :, EXPRESSIONS]),
        "posedirs": floats("posedirs", content["posedirs"], (count, 3, 9 * (joints - 1))),
        "joint_regressor": floats("J_regressor", content["J_regressor"], (joints, count)),
        "weights": weights,
        "parents": read_parents(content["kintree_table"], joints),
    }


def _read_vertex_ids(path: Path, head_count: int | None, body_count: int | None) -> Array:
    ids = ids_below("the vertex ids", read_npy(path), (None,), body_count)
    if head_count not in (None, len(ids)):
        raise BrokenFileError(f"has {len(ids)} vertices, {HEAD.name} has {head_count}")
    return ids


def _read_pasted(path: Path, head_count: int | None) -> Array:
    """(U,) whether a head vertex replaces a body vertex: all but those of neck and boundary."""
    masks = load_pickle(path)
    kept = []
    for name in ("neck", "boundary"):
        if name not in masks:
            raise BrokenFileError(f"has no mask {name!r}: is it the right file?")
        kept.append(ids_below(name, masks[name], (None,), head_count))
    is_pasted = np.ones(head_count or 0, dtype=np.bool_)
    if head_count is not None:
        is_pasted[np.concatenate(kept)] = False
    return is_pasted


def _read_eyelid(path: Path, head_count: int | None) -> Array:
    return floats("the blend shape", read_npy(path), (head_count, 3))


def read_parents(value: Any, joints: int) -> Array:
    """(J,) from the (2, J) table of parents and joints, in which the root is -1 or 2**32 - 1.

    Raises:
        BrokenFileError: If it is no such table, or parents do not come before their children.
    """
    table = numbers("kintree_table", value, "iu", (2, joints)).astype(np.int64)
    if (table[1] != np.arange(joints)).any():
        raise BrokenFileError("kintree_table does not list the joints in order")
    parents: Array = np.where(table[0] == 2**32 - 1, -1, table[0])
    check_parents("kintree_table", parents)
    return parents
