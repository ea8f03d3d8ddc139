"""The body model's files: which ones a user downloads, whether they fit, and their conversion.

The published files come in three formats, with unused parts and pickles. `convert_assets` reads
them once and writes one `.npz` without pickles, which is all that the node loads:

    check_assets(directory)            what is there, missing or broken
    convert_assets(directory, output)  the files -> one .npz
    load_assets(path)                  the .npz -> BodyAssets
    save_assets(assets, output)        BodyAssets -> the .npz

Vertex and face counts come from the files; 55 body joints and 5 head joints are fixed by the
layout of EHM's parameters.
"""

from __future__ import annotations

import filecmp
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from pear_ros.errors import AssetError
from pear_ros.unpickle import Unread, load_pickle

FORMAT_VERSION = 1
_VERSION_KEY = "pear_ros_assets_version"

BODY_SHAPES = 200  # PEAR predicts 200 of SMPL-X's 300 shape coefficients, the others are zero
HEAD_SHAPES = 300
EXPRESSIONS = slice(300, 350)  # of the columns of shapedirs, in SMPL-X as in FLAME

MAX_ARCHIVE_BYTES = 1 << 31  # unpacked

Array = NDArray[Any]
T = TypeVar("T")


# --- What is loaded ------------------------------------------------------------------------------


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
    """Load the file that `convert_assets` wrote.

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
        arrays = _read_npz(path, [_VERSION_KEY, *names])
        if _VERSION_KEY not in arrays:
            raise _BrokenError("was not written by `pear-ros assets convert`")
        version = arrays[_VERSION_KEY]
        if version.shape != () or version != FORMAT_VERSION:
            raise _BrokenError(f"has format {version}, and {FORMAT_VERSION} is needed")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise _BrokenError(f"has no {', '.join(missing)}")
        return _checked({name: arrays[name] for name in names})
    except FileNotFoundError as error:
        raise AssetError(f"{path}: there is no such file. {again}") from error
    except PermissionError as error:
        raise AssetError(f"{path}: may not be read by this user.") from error
    except _BrokenError as error:
        raise AssetError(f"{path}: {error}. {again}") from error


# --- What is downloaded --------------------------------------------------------------------------


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
    """What `check_assets` found; files are named as in `FILES`."""

    directory: Path
    found: Mapping[str, Path]  # readable and fitting each other
    missing: tuple[AssetFile, ...]
    broken: Mapping[str, str]  # and the reason

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
            f"in {self.directory} and below."
        )
        return "\n".join(lines)


def check_assets(directory: Path) -> AssetReport:
    """Read the downloaded files in `directory` and below, and check them against each other.

    Raises AssetError when `directory` is not a directory that can be read.
    """
    return _read_directory(directory)[0]


def convert_assets(directory: Path, output: Path) -> None:
    """Read the downloaded files in `directory` and below and write them into one `.npz`.

    Raises AssetError when a file is missing or broken, or `output` cannot be written.
    """
    report, assets = _read_directory(directory)
    if assets is None:
        raise AssetError(str(report))
    if any(output.resolve() == path.resolve() for path in report.found.values()):
        raise AssetError(f"{output}: is one of the downloads; give another name for the output")
    save_assets(assets, output)


def save_assets(assets: BodyAssets, output: Path) -> None:
    """Write the `.npz` that `load_assets` reads; it replaces `output` whole or not at all.

    Raises AssetError when `output` cannot be written.
    """
    arrays = {spec.name: getattr(assets, spec.name) for spec in fields(BodyAssets)}
    arrays[_VERSION_KEY] = np.array(FORMAT_VERSION)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, output)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise AssetError(f"{output}: cannot be written: {error.strerror or error}") from error


# --- Reading the downloads -----------------------------------------------------------------------


class _BrokenError(Exception):
    """What is wrong with a file, to follow its path."""


# What numpy and zipfile raise where a file's bytes make no sense; found by damaging files.
_UNREADABLE = (
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def _read_directory(directory: Path) -> tuple[AssetReport, BodyAssets | None]:
    paths = _find(directory)
    broken: dict[str, str] = {}

    def read(file: AssetFile, reader: Callable[[Path], T]) -> T | None:
        """None where the file is missing or broken, which is noted."""
        candidates = paths[file.name]
        if not candidates:
            return None
        first, *others = candidates
        try:
            for other in others:
                if not filecmp.cmp(first, other, shallow=False):
                    raise _BrokenError(f"differs from {other}: leave only the one that is meant")
            with warnings.catch_warnings():  # numpy's, that Python 2 wrote the file
                warnings.simplefilter("ignore", UserWarning)
                return reader(first)
        except AssetError as error:
            broken[file.name] = str(error)
        except _BrokenError as error:
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
    return report, _checked(arrays)


def _find(directory: Path) -> dict[str, list[Path]]:
    """Where each of the files lies: in the directory or below, the shallowest first."""
    if not directory.is_dir():
        raise AssetError(f"{directory}: is not a directory; give the one with the downloads")
    paths: dict[str, list[Path]] = {file.name: [] for file in FILES}
    for folder, _, names in os.walk(directory):
        for name in names:
            if name in paths:
                paths[name].append(Path(folder, name))
    return {
        name: sorted(found, key=lambda path: (len(path.parts), path))
        for name, found in paths.items()
    }


def _read_npz(path: Path, names: Iterable[str]) -> dict[str, Array]:
    """Those of the arrays that the archive has; no others are touched, and no pickles read."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_ARCHIVE_BYTES:
                raise ValueError("unpacked it would be larger than any body model")
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in names if name in file}
    except (FileNotFoundError, PermissionError):
        raise
    except _UNREADABLE as error:
        raise _BrokenError(f"is truncated or damaged ({error})") from error


def _read_body(path: Path) -> dict[str, Array]:
    model = _model(_read_npz(path, _MODEL_KEYS), joints=55, shapes=BODY_SHAPES)
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
    """The arrays of SMPL-X or FLAME in our names, types and order."""
    missing = [key for key in _MODEL_KEYS if key not in content]
    if missing:
        raise _BrokenError(f"has no {', '.join(missing)}: is it the right file?")

    template = _floats("v_template", content["v_template"], (None, 3))
    count = len(template)
    shapedirs = _floats("shapedirs", content["shapedirs"], (count, 3, None))
    if shapedirs.shape[2] < EXPRESSIONS.stop:
        raise _BrokenError(
            f"has {shapedirs.shape[2]} blend shapes, {EXPRESSIONS.stop} are needed: is it the "
            "model of 2020?"
        )
    weights = _floats("weights", content["weights"], (count, joints))
    if np.abs(weights.sum(axis=1, dtype=np.float64) - 1).max(initial=0) > 1e-3:
        raise _BrokenError("weights: a vertex's weights do not sum to 1")
    return {
        "template": template,
        "faces": _ids("f", content["f"], (None, 3), count).astype(np.int32),
        "shapedirs": np.ascontiguousarray(shapedirs[:, :, :shapes]),
        "expressiondirs": np.ascontiguousarray(shapedirs[:, :, EXPRESSIONS]),
        "posedirs": _floats("posedirs", content["posedirs"], (count, 3, 9 * (joints - 1))),
        "joint_regressor": _floats("J_regressor", content["J_regressor"], (joints, count)),
        "weights": weights,
        "parents": _parents(content["kintree_table"], joints),
    }


def _read_vertex_ids(path: Path, head_count: int | None, body_count: int | None) -> Array:
    ids = _ids("the vertex ids", _load_npy(path), (None,), body_count)
    if head_count not in (None, len(ids)):
        raise _BrokenError(f"has {len(ids)} vertices, {HEAD.name} has {head_count}")
    return ids


def _read_pasted(path: Path, head_count: int | None) -> Array:
    """(U,) whether a head's vertex replaces the body's: not on the neck nor on its boundary."""
    masks = load_pickle(path)
    kept = []
    for name in ("neck", "boundary"):
        if name not in masks:
            raise _BrokenError(f"has no mask {name!r}: is it the right file?")
        kept.append(_ids(name, masks[name], (None,), head_count))
    is_pasted = np.ones(head_count or 0, dtype=np.bool_)
    if head_count is not None:
        is_pasted[np.concatenate(kept)] = False
    return is_pasted


def _read_eyelid(path: Path, head_count: int | None) -> Array:
    return _floats("the blend shape", _load_npy(path), (head_count, 3))


def _load_npy(path: Path) -> Array:
    try:
        content = np.load(path, allow_pickle=False)
    except PermissionError:
        raise
    except _UNREADABLE as error:
        raise _BrokenError(f"is truncated or not an .npy file of numbers ({error})") from error
    if not isinstance(content, np.ndarray):
        content.close()
        raise _BrokenError("is an archive, not an .npy file")
    return content


# --- Checks --------------------------------------------------------------------------------------


def _numbers(name: str, value: Any, kinds: str, shape: tuple[int | None, ...]) -> Array:
    """`value` as an array, of the kinds of numbers and the shape wanted; None is any length."""
    if isinstance(value, Unread):
        raise _BrokenError(f"{name} is {value.what}, which is not read")
    if scipy.sparse.issparse(value):
        if value.shape != shape:  # before it is filled up with zeros
            raise _BrokenError(f"{name} has shape {value.shape}, not {shape}")
        value = value.toarray()
    if not isinstance(value, np.ndarray):
        raise _BrokenError(f"{name} is no array")
    array: Array = value
    if array.dtype.kind not in kinds:
        raise _BrokenError(f"{name} holds {array.dtype}, not numbers of the right kind")
    if len(array.shape) != len(shape) or any(
        want not in (None, size) for size, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise _BrokenError(f"{name} has shape {array.shape}, not ({wanted})")
    if array.size == 0:
        raise _BrokenError(f"{name} is empty")
    return array


def _floats(name: str, value: Any, shape: tuple[int | None, ...]) -> Array:
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        array: Array = np.ascontiguousarray(_numbers(name, value, "fiu", shape), np.float32)
    if not np.isfinite(array).all():
        raise _BrokenError(f"{name} has numbers that are not finite")
    return array


def _ids(name: str, value: Any, shape: tuple[int | None, ...], count: int | None) -> Array:
    """Ids below `count`, where it is known, as int64."""
    array = _numbers(name, value, "iu", shape)
    if array.min() < 0 or (count is not None and array.max() >= count):
        raise _BrokenError(
            f"{name} has ids from {array.min()} to {array.max()} for {count} vertices"
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def _parents(value: Any, joints: int) -> Array:
    """(J,) from the (2, J) table of parents and joints, whose root has -1 or 2**32 - 1."""
    table = _numbers("kintree_table", value, "iu", (2, joints)).astype(np.int64)
    if (table[1] != np.arange(joints)).any():
        raise _BrokenError("kintree_table does not list the joints in order")
    parents: Array = np.where(table[0] == 2**32 - 1, -1, table[0])
    _check_parents("kintree_table", parents)
    return parents


def _check_parents(name: str, parents: Array) -> None:
    joints = np.arange(len(parents))
    if parents[0] != -1 or (parents[1:] < 0).any() or (parents >= joints).any():
        raise _BrokenError(f"{name} is no tree with one root and parents before children")


def _checked(arrays: Mapping[str, Array]) -> BodyAssets:
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
            raise _BrokenError(
                f"{spec.name} is {array.dtype} {array.shape}, not {spec.metadata['dtype']} {wanted}"
            )
    ranges: Iterable[tuple[str, str]] = (
        ("body_faces", "V"),
        ("head_faces", "U"),
        ("head_vertex_ids", "V"),
    )
    for name, letter in ranges:
        _ids(name, arrays[name], arrays[name].shape, counts[letter])
    for name in ("body_parents", "head_parents"):
        _check_parents(name, arrays[name])
    return BodyAssets(**{name: np.ascontiguousarray(array) for name, array in arrays.items()})
