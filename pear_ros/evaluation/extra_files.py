"""Files that the protocols of 3DPW and EHF need, and where users get them.

They are for non-commercial use, and pear_ros neither contains nor downloads them. Pickles among
them are read without running code (`pear_ros.assets.unpickle`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from pear_ros.assets.arrays import Array, BrokenFileError, floats, ids_below, read_npy
from pear_ros.assets.pickle_values import Unread
from pear_ros.assets.unpickle import load_pickle, load_value
from pear_ros.errors import AssetError

MAX_MATRIX_BYTES = 1 << 30  # a dense matrix of 6890 x 10475 float64 has 577 MB


@dataclass(frozen=True)
class ExtraFile:
    """A file of a protocol; it may have any of `names`."""

    names: tuple[str, ...]
    what: str
    source: str  # where to get it


_SMPL_SITE = "https://smpl.is.tue.mpg.de/download.php (free registration): SMPL for Python"
_SMPLX_SITE = "https://smpl-x.is.tue.mpg.de/download.php (free registration)"

SMPL_MALE = ExtraFile(
    (
        "SMPL_MALE.pkl",
        "basicmodel_m_lbs_10_207_0_v1.1.0.pkl",
        "basicmodel_m_lbs_10_207_0_v1.0.0.pkl",
    ),
    "the SMPL model of a man",
    _SMPL_SITE,
)
SMPL_FEMALE = ExtraFile(
    (
        "SMPL_FEMALE.pkl",
        "basicmodel_f_lbs_10_207_0_v1.1.0.pkl",
        "basicModel_f_lbs_10_207_0_v1.0.0.pkl",
    ),
    "the SMPL model of a woman",
    _SMPL_SITE,
)
H36M_REGRESSOR = ExtraFile(
    ("J_regressor_h36m.npy",),
    "the joints of Human3.6M from SMPL's vertices",
    "https://github.com/nkolot/SPIN, its fetch_data.sh: data.tar.gz",
)
SMPLX_TO_SMPL = ExtraFile(
    ("smplx_to_smpl.pkl", "smplx2smpl.pkl", "smplx2smpl_deftrafo_setup.pkl"),
    "SMPL's vertices from those of SMPL-X",
    f"{_SMPLX_SITE}: Model transfer",
)
HAND_VERTEX_IDS = ExtraFile(
    ("MANO_SMPLX_vertex_ids.pkl",),
    "which vertices of SMPL-X are hands",
    f"{_SMPLX_SITE}: MANO and FLAME vertex indices",
)
J14_REGRESSOR = ExtraFile(
    ("SMPLX_to_J14.pkl",),
    "the 14 joints from SMPL-X's vertices",
    "https://expose.is.tue.mpg.de/download.php (free registration): ExPose data",
)


def find_files(folder: Path, wanted: Sequence[ExtraFile], hint: str = "") -> dict[ExtraFile, Path]:
    """Finds files in a folder and its subfolders.

    Args:
        folder: Where to search.
        wanted: All of them must be there.
        hint: What else the user can do if a file is missing.

    Raises:
        AssetError: If a file is missing: names all that are, and where they come from.
    """
    paths: dict[str, Path] = {}
    for parent, _, names in sorted(os.walk(folder)):
        for name in names:
            paths.setdefault(name, Path(parent, name))
    found: dict[ExtraFile, Path] = {}
    for file in wanted:
        path = next((paths[name] for name in file.names if name in paths), None)
        if path is not None:
            found[file] = path
    missing = [file for file in wanted if file not in found]
    if missing:
        lines = [f"{' or '.join(file.names)}: {file.what}; {file.source}" for file in missing]
        raise AssetError(
            f"{folder} and its subfolders lack {len(missing)} of {len(wanted)} files; "
            f"get them and give their folder as --models{hint}\n  " + "\n  ".join(lines)
        )
    return found


def read_h36m_regressor(path: Path, vertices: int) -> Array:
    """Reads (17, V) weights of SMPL's vertices.

    Raises:
        AssetError: If the file is damaged or has not V columns.
    """
    try:
        return floats("the regressor", read_npy(path), (17, vertices))
    except (BrokenFileError, OSError) as error:
        raise AssetError(f"{path}: {error}; {H36M_REGRESSOR.source}") from error


def read_smpl_from_smplx(path: Path) -> scipy.sparse.csr_matrix:
    """Reads (V, X) weights: SMPL's V vertices from SMPL-X's X vertices.

    The weights are `matrix` of the file, or the first half of the columns of `mtx`; the other half
    is for normals.

    Raises:
        AssetError: If the file is damaged, refused, or something else.
    """
    content = load_value(path, "vertex mapping", MAX_MATRIX_BYTES)
    try:
        if not isinstance(content, dict) or not {"matrix", "mtx"} & content.keys():
            raise BrokenFileError("has neither `matrix` nor `mtx`: is it the right file?")
        value: Any = content.get("matrix", content.get("mtx"))
        if not scipy.sparse.issparse(value) and not isinstance(value, np.ndarray):
            raise BrokenFileError("`matrix` is not a matrix of numbers")
        matrix = scipy.sparse.csr_matrix(value, dtype=np.float64)
        if "matrix" not in content:
            matrix = matrix[:, : matrix.shape[1] // 2]
        if not np.isfinite(matrix.data).all() or np.abs(matrix.sum(1) - 1).max() > 1e-2:
            raise BrokenFileError("the weights of a vertex do not sum to 1")
    except (BrokenFileError, TypeError, ValueError) as error:
        raise AssetError(f"{path}: {error}; {SMPLX_TO_SMPL.source}") from error
    return matrix


def read_hand_vertex_ids(path: Path, vertices: int) -> tuple[Array, Array]:
    """Reads the ids of the vertices of the left and the right hand.

    Raises:
        AssetError: If the file is damaged, refused, or has ids that SMPL-X does not have.
    """
    content = load_pickle(path, "list of vertices")
    try:
        left, right = (
            ids_below(name, content.get(name, Unread("missing")), (None,), vertices)
            for name in ("left_hand", "right_hand")
        )
    except BrokenFileError as error:
        raise AssetError(f"{path}: {error}; {HAND_VERTEX_IDS.source}") from error
    return left, right


def read_j14_regressor(path: Path, vertices: int) -> Array:
    """Reads (14, V) weights of SMPL-X's vertices.

    Raises:
        AssetError: If the file is damaged, refused, or has not V columns.
    """
    try:
        return floats("the regressor", load_value(path, "regressor"), (14, vertices))
    except BrokenFileError as error:
        raise AssetError(f"{path}: {error}; {J14_REGRESSOR.source}") from error
