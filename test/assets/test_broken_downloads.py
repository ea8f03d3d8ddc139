"""Missing and broken downloads are reported and not converted."""

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from damage import changed, entry, objects, read_npz, read_pickle

from pear_ros.assets.downloads import (
    BODY,
    FILES,
    HEAD,
    LEFT_EYELID,
    MASKS,
    RIGHT_EYELID,
    VERTEX_IDS,
    check_assets,
    convert_assets,
)
from pear_ros.errors import AssetError

# --- Files that are missing or broken ------------------------------------------------------------


def change_body(**changes: Any) -> Callable[[Path], None]:
    """Changes arrays of the body's file, as `changed` does."""

    def change(folder: Path) -> None:
        body = changed(read_npz(folder / BODY.name), changes)
        np.savez(folder / BODY.name, **body)

    return change


def change_head(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        head = changed(read_pickle(folder / HEAD.name), changes)
        (folder / HEAD.name).write_bytes(pickle.dumps(head, protocol=2))

    return change


def change_masks(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        masks = changed(read_pickle(folder / MASKS.name), changes)
        (folder / MASKS.name).write_bytes(pickle.dumps(masks, protocol=2))

    return change


def save(name: str, array: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


def zip_bomb(folder: Path) -> None:
    """Makes an archive whose header announces more data than fits into memory."""
    path = folder / BODY.name
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("padding.npy", b"")
    content = path.read_bytes()
    entry_at = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: entry_at + 24] + b"\xff\xff\xff\xf0" + content[entry_at + 28 :])


FOREIGN_PICKLE = pickle.dumps({"weights": np.eye(3)})

# A change of the files, the file that is reported, and a part of the report.
BROKEN: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "key is missing": (change_body(weights=None), BODY.name, "has no weights"),
    "head's key is missing": (change_head(v_template=None), HEAD.name, "has no v_template"),
    "objects": (change_body(shapedirs=objects), BODY.name, "never unpickled"),
    "head's objects": (change_head(v_template=objects), HEAD.name, "array of type O8"),
    "template is flat": (change_body(v_template=lambda v: v.ravel()), BODY.name, "(450,)"),
    "template is text": (change_body(v_template=np.array("x")), BODY.name, "v_template"),
    "template is complex": (change_body(v_template=lambda v: v * 1j), BODY.name, "complex128"),
    "template is empty": (change_body(v_template=np.zeros((0, 3))), BODY.name, "empty"),
    "template with NaN": (change_body(v_template=entry((7, 1), np.nan)), BODY.name, "finite"),
    "template beyond float32": (change_body(v_template=entry((7, 1), 1e300)), BODY.name, "finite"),
    "head has an infinity": (change_head(posedirs=entry((3, 1), np.inf)), HEAD.name, "finite"),
    "another count of vertices": (
        change_body(v_template=lambda v: v[:-1]),
        BODY.name,
        "shapedirs has shape (150, 3, 400), not (149, 3, any)",
    ),
    "model of 2019, with fewer shapes": (
        change_body(shapedirs=lambda s: s[:, :, :20]),
        BODY.name,
        "has 20 blend shapes, 350 are needed",
    ),
    "pose blend shapes of another model": (
        change_body(posedirs=lambda p: p[:, :, :207]),
        BODY.name,
        "posedirs has shape (150, 3, 207), not (150, 3, 486)",
    ),
    "joints of another model": (change_body(weights=lambda w: w[:, :24]), BODY.name, "weights"),
    "regressor is transposed": (change_body(J_regressor=lambda j: j.T), BODY.name, "J_regressor"),
    "regressor is huge": (
        change_head(J_regressor=scipy.sparse.coo_matrix((10**9, 10**9))),
        HEAD.name,
        "J_regressor has shape (1000000000, 1000000000)",
    ),
    "weights do not sum to 1": (change_body(weights=lambda w: w * 1.1), BODY.name, "sum to 1"),
    "face beyond the vertices": (change_body(f=entry((5, 2), 150)), BODY.name, "f has ids"),
    "face is negative": (
        change_head(f=lambda f: f.astype(np.int64) - 60),
        HEAD.name,
        "f has ids from -60",
    ),
    "faces are not integers": (change_head(f=lambda f: f * 1.5), HEAD.name, "f holds float64"),
    "faces have four corners": (change_body(f=np.zeros((9, 4), int)), BODY.name, "f has shape"),
    "two roots": (change_body(kintree_table=entry((0, 5), 2**32 - 1)), BODY.name, "one root"),
    "no root": (change_body(kintree_table=entry((0, 0), 0)), BODY.name, "one root"),
    "parent after child": (change_head(kintree_table=entry((0, 2), 4)), HEAD.name, "one root"),
    "own parent": (change_head(kintree_table=entry((0, 2), 2)), HEAD.name, "one root"),
    "joints in another order": (
        change_body(kintree_table=lambda k: k[:, ::-1]),
        BODY.name,
        "in order",
    ),
    "vertex ids beyond the body": (
        save(VERTEX_IDS.name, np.arange(100, 160)),
        VERTEX_IDS.name,
        "from 100 to 159 for 150 vertices",
    ),
    "vertex ids are negative": (save(VERTEX_IDS.name, np.arange(-1, 59)), VERTEX_IDS.name, "-1"),
    "too few vertex ids": (
        save(VERTEX_IDS.name, np.arange(59)),
        VERTEX_IDS.name,
        "has 59 vertices, generic_model.pkl has 60",
    ),
    "vertex ids are reals": (save(VERTEX_IDS.name, np.zeros(60)), VERTEX_IDS.name, "float64"),
    "header of the vertex ids is damaged": (
        lambda folder: (folder / VERTEX_IDS.name).write_bytes(
            (folder / VERTEX_IDS.name).read_bytes().replace(b"(60,), }", b"(60,(, }")
        ),
        VERTEX_IDS.name,
        "truncated or not an .npy file",
    ),
    "vertex ids are objects": (
        save(VERTEX_IDS.name, np.array([None] * 60)),
        VERTEX_IDS.name,
        "never unpickled",
    ),
    "masks beyond the head": (change_masks(neck=np.array([60])), MASKS.name, "for 60 vertices"),
    "masks lack the boundary": (change_masks(boundary=None), MASKS.name, "no mask 'boundary'"),
    "mask is a list": (change_masks(neck=[1, 2]), MASKS.name, "neck is not an array"),
    "mask of booleans": (change_masks(neck=np.ones(60, bool)), MASKS.name, "neck holds bool"),
    "eyelid of another head": (
        save(LEFT_EYELID.name, np.zeros((61, 3))),
        LEFT_EYELID.name,
        "(61, 3), not (60, 3)",
    ),
    "eyelid with NaN": (
        save(RIGHT_EYELID.name, np.full((60, 3), np.nan)),
        RIGHT_EYELID.name,
        "finite",
    ),
    "eyelid is an archive": (
        lambda folder: shutil.copy(folder / BODY.name, folder / LEFT_EYELID.name),
        LEFT_EYELID.name,
        "is an archive",
    ),
    "body is a single array": (
        lambda folder: shutil.copy(folder / LEFT_EYELID.name, folder / BODY.name),
        BODY.name,
        "not a zip file",
    ),
    "body is a web page": (
        lambda folder: (folder / BODY.name).write_text("<!DOCTYPE html>Please sign in"),
        BODY.name,
        "not a zip file",
    ),
    "body would fill the memory": (zip_bomb, BODY.name, "larger than 1073741824 bytes"),
    "head is another pickle": (
        lambda folder: (folder / HEAD.name).write_bytes(FOREIGN_PICKLE),
        HEAD.name,
        "has no v_template, f, shapedirs",
    ),
    "head is malicious": (
        lambda folder: (folder / HEAD.name).write_bytes(b"cos\nsystem\n(S'true'\ntR."),
        HEAD.name,
        "names os.system",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_reported_and_not_converted(case: str, downloads: Path) -> None:
    break_files, name, message = BROKEN[case]
    break_files(downloads)
    report = check_assets(downloads)
    assert report.broken.keys() == {name}
    assert str(downloads / name) in report.broken[name]
    assert message in report.broken[name]
    assert f"BROKEN   {downloads / name}" in str(report)
    assert "1 of 6 files" in str(report)
    with pytest.raises(AssetError, match="BROKEN"):
        convert_assets(downloads, downloads / "assets.npz")
    assert not (downloads / "assets.npz").exists()


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_missing_file_is_reported_and_not_converted(name: str, downloads: Path) -> None:
    (downloads / name).unlink()
    report = check_assets(downloads)
    assert [file.name for file in report.missing] == [name]
    assert report.broken == {}
    with pytest.raises(AssetError, match=f"MISSING  {name}"):
        convert_assets(downloads, downloads / "assets.npz")


@pytest.mark.parametrize(
    "share",
    [0, 0.001, 0.1, 0.5, 0.99, "last byte"],
    ids=["empty", "0.1 %", "10 %", "50 %", "99 %", "without its last byte"],
)
@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_truncated_file_is_reported(name: str, share: float | str, downloads: Path) -> None:
    content = (downloads / name).read_bytes()
    length = len(content) - 1 if isinstance(share, str) else int(len(content) * share)
    (downloads / name).write_bytes(content[:length])
    assert check_assets(downloads).broken.keys() == {name}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_file_that_may_not_be_read_is_reported(downloads: Path) -> None:
    (downloads / BODY.name).chmod(0)
    assert "cannot be read" in check_assets(downloads).broken[BODY.name]


def test_all_problems_are_reported_at_once(downloads: Path) -> None:
    (downloads / MASKS.name).unlink()
    change_head(v_template=None)(downloads)
    save(VERTEX_IDS.name, np.arange(-1, 59))(downloads)
    report = check_assets(downloads)
    assert report.missing == (MASKS,)
    assert report.broken.keys() == {HEAD.name, VERTEX_IDS.name}
    assert report.found.keys() == {BODY.name, LEFT_EYELID.name, RIGHT_EYELID.name}
