"""The files that users download: what is said of missing and broken ones, and conversion."""

import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import make_assets
import numpy as np
import pytest
import scipy.sparse
from damage import changed, entry, objects, read_npz

from pear_ros.assets.body_assets import BodyAssets, load_assets
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


@pytest.fixture
def downloads(small_downloads: Path, tmp_path: Path) -> Path:
    """A copy, which a test may break."""
    folder = tmp_path / "downloads"
    shutil.copytree(small_downloads, folder)
    return folder


def read_pickle(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = pickle.loads(path.read_bytes())
    return content


# --- What is converted ---------------------------------------------------------------------------


def assert_same(assets: BodyAssets, folder: Path) -> None:
    """The assets are what the files in the folder hold, cut to what PEAR uses."""
    raw = {"body": read_npz(folder / BODY.name), "head": read_pickle(folder / HEAD.name)}
    raw["head"]["J_regressor"] = raw["head"]["J_regressor"].toarray()
    for part, shapes in (("body", 200), ("head", 300)):
        expected = {
            "template": raw[part]["v_template"],
            "faces": raw[part]["f"],
            "shapedirs": raw[part]["shapedirs"][:, :, :shapes],
            "expressiondirs": raw[part]["shapedirs"][:, :, 300:350],
            "posedirs": raw[part]["posedirs"],
            "joint_regressor": raw[part]["J_regressor"],
            "weights": raw[part]["weights"],
        }
        for name, array in expected.items():
            loaded = getattr(assets, f"{part}_{name}")
            np.testing.assert_array_equal(loaded, array.astype(loaded.dtype), err_msg=name)
    assert assets.body_parents.tolist() == make_assets.SMPLX_PARENTS
    assert assets.head_parents.tolist() == make_assets.FLAME_PARENTS
    np.testing.assert_array_equal(assets.head_vertex_ids, np.load(folder / VERTEX_IDS.name))
    left, right = np.load(folder / LEFT_EYELID.name), np.load(folder / RIGHT_EYELID.name)
    np.testing.assert_array_equal(assets.left_eyelid, left.astype(np.float32))
    np.testing.assert_array_equal(assets.right_eyelid, right.astype(np.float32))
    masks = read_pickle(folder / MASKS.name)
    kept = {*masks["neck"], *masks["boundary"]}
    assert [i for i, pasted in enumerate(assets.head_is_pasted) if not pasted] == sorted(kept)


def test_files_of_the_real_size_convert(tmp_path: Path) -> None:
    make_assets.write(tmp_path, 3)
    assert check_assets(tmp_path).is_complete
    convert_assets(tmp_path, tmp_path / "assets.npz")
    assets = load_assets(tmp_path / "assets.npz")
    assert_same(assets, tmp_path)
    assert assets.body_posedirs.shape == (10475, 3, 486)
    assert assets.head_posedirs.shape == (5023, 3, 36)


def test_body_of_other_counts_converts(small_downloads: Path, tmp_path: Path) -> None:
    convert_assets(small_downloads, tmp_path / "assets.npz")
    assets = load_assets(tmp_path / "assets.npz")
    assert_same(assets, small_downloads)
    assert assets.body_faces.shape == (70, 3)
    for spec in fields(assets):
        assert getattr(assets, spec.name).flags.c_contiguous, spec.name
    with pytest.raises(AttributeError):
        assets.body_faces = assets.head_faces  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kintree", "real", "order"),
    [
        (np.int64, np.float64, "F"),
        (np.int32, np.float32, "F"),
        (np.uint64, np.float64, "C"),
        (np.uint32, ">f8", "C"),
    ],
)
def test_types_and_layout_of_the_files_do_not_matter(
    kintree: Any, real: Any, order: Any, small_downloads: Path, downloads: Path, tmp_path: Path
) -> None:
    body, head = read_npz(downloads / BODY.name), read_pickle(downloads / HEAD.name)
    for model in (body, head):
        # A root of -1, or the largest number where the type has no sign.
        model["kintree_table"] = np.where(
            model["kintree_table"] == 2**32 - 1, -1, model["kintree_table"].astype(np.int64)
        ).astype(kintree)
        for key in ("shapedirs", "posedirs"):
            model[key] = np.asarray(model[key], dtype=real, order=order)
    head["J_regressor"] = scipy.sparse.csr_matrix(head["J_regressor"])
    np.savez_compressed(downloads / BODY.name, **body)
    (downloads / HEAD.name).write_bytes(pickle.dumps(head))
    convert_assets(downloads, tmp_path / "assets.npz")
    assert_same(load_assets(tmp_path / "assets.npz"), small_downloads)


def test_array_that_python_2_wrote(downloads: Path) -> None:
    """Its header has a long integer, of which numpy warns; the user can do nothing about that."""
    path = downloads / VERTEX_IDS.name
    path.write_bytes(path.read_bytes().replace(b"(60,), }  ", b"(60L,), } "))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_assets(downloads).is_complete


def test_objects_under_other_keys_are_not_touched(downloads: Path, tmp_path: Path) -> None:
    """SMPL-X's file holds pickled objects beside the arrays."""
    body = read_npz(downloads / BODY.name)
    np.savez(downloads / BODY.name, **body, joint2num=np.array({"pelvis": 0}, dtype=object))
    head = read_pickle(downloads / HEAD.name)
    head["names"] = np.array(["a", None], dtype=object)
    (downloads / HEAD.name).write_bytes(pickle.dumps(head, protocol=2))
    assert check_assets(downloads).is_complete


# --- Where the files lie -------------------------------------------------------------------------


def test_files_are_found_in_folders_below(downloads: Path) -> None:
    for name, folder in ((HEAD.name, "FLAME2020"), (BODY.name, "SMPLX/models")):
        (downloads / folder).mkdir(parents=True)
        (downloads / name).rename(downloads / folder / name)
    report = check_assets(downloads)
    assert report.is_complete
    assert report.found[HEAD.name] == downloads / "FLAME2020" / HEAD.name


def test_same_file_twice_is_no_problem(downloads: Path) -> None:
    (downloads / "copy").mkdir()
    shutil.copy(downloads / HEAD.name, downloads / "copy")
    report = check_assets(downloads)
    assert report.is_complete
    assert report.found[HEAD.name] == downloads / HEAD.name


def test_two_different_files_of_one_name_are_reported(downloads: Path) -> None:
    (downloads / "FLAME2017").mkdir()
    other = downloads / "FLAME2017" / HEAD.name
    other.write_bytes(b"another model")
    report = check_assets(downloads)
    assert not report.is_complete
    assert str(other) in report.broken[HEAD.name]
    assert str(downloads / HEAD.name) in report.broken[HEAD.name]


def test_directory_that_is_none_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", Path(__file__)):
        with pytest.raises(AssetError, match="is not a directory"):
            check_assets(path)


def test_empty_directory_lists_all_files_and_where_to_get_them(tmp_path: Path) -> None:
    report = check_assets(tmp_path)
    assert report.missing == FILES
    for file in FILES:
        assert f"MISSING  {file.name}" in str(report)
        assert file.source in str(report)
    assert "6 of 6 files" in str(report)


# --- Files that are missing or broken ------------------------------------------------------------


def change_body(**changes: Any) -> Callable[[Path], None]:
    """Replace arrays of the body's file by new ones, or by functions of the old; None removes."""

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
    """An archive that says it unpacks to more than memory should be given to."""
    path = folder / BODY.name
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("padding.npy", b"")
    content = path.read_bytes()
    entry_at = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: entry_at + 24] + b"\xff\xff\xff\xf0" + content[entry_at + 28 :])


FOREIGN_PICKLE = pickle.dumps({"weights": np.eye(3)})

# What is done to the files, which of them is reported then, and a part of what is said of it.
BROKEN: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "key is missing": (change_body(weights=None), BODY.name, "has no weights"),
    "head's key is missing": (change_head(v_template=None), HEAD.name, "has no v_template"),
    "objects": (change_body(shapedirs=objects), BODY.name, "allow_pickle=False"),
    "head's objects": (change_head(v_template=objects), HEAD.name, "array of type O8"),
    "template is flat": (change_body(v_template=lambda v: v.ravel()), BODY.name, "(450,)"),
    "template is text": (change_body(v_template=np.array("x")), BODY.name, "v_template"),
    "template is complex": (change_body(v_template=lambda v: v * 1j), BODY.name, "complex128"),
    "template is empty": (change_body(v_template=np.zeros((0, 3))), BODY.name, "empty"),
    "template has a nan": (change_body(v_template=entry((7, 1), np.nan)), BODY.name, "finite"),
    "template beyond float32": (change_body(v_template=entry((7, 1), 1e300)), BODY.name, "finite"),
    "head has an infinity": (change_head(posedirs=entry((3, 1), np.inf)), HEAD.name, "finite"),
    "another count of vertices": (
        change_body(v_template=lambda v: v[:-1]),
        BODY.name,
        "shapedirs has shape (150, 3, 400), not (149, 3, any)",
    ),
    "model of 2019": (
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
    "regressor is turned": (change_body(J_regressor=lambda j: j.T), BODY.name, "J_regressor"),
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
    "faces are no integers": (change_head(f=lambda f: f * 1.5), HEAD.name, "f holds float64"),
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
        "allow_pickle=False",
    ),
    "masks beyond the head": (change_masks(neck=np.array([60])), MASKS.name, "for 60 vertices"),
    "masks lack the boundary": (change_masks(boundary=None), MASKS.name, "no mask 'boundary'"),
    "mask is a list": (change_masks(neck=[1, 2]), MASKS.name, "neck is no array"),
    "mask of booleans": (change_masks(neck=np.ones(60, bool)), MASKS.name, "neck holds bool"),
    "eyelid of another head": (
        save(LEFT_EYELID.name, np.zeros((61, 3))),
        LEFT_EYELID.name,
        "(61, 3), not (60, 3)",
    ),
    "eyelid with a nan": (
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
    "body would fill the memory": (zip_bomb, BODY.name, "larger than any body model"),
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


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.99, "last byte"])
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


# --- Writing the converted file ------------------------------------------------------------------


def test_output_replaces_what_was_there_and_makes_its_folder(
    small_downloads: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "folder" / "assets.npz"
    for _ in range(2):
        convert_assets(small_downloads, output)
        load_assets(output)
    assert os.listdir(output.parent) == [output.name]


def test_output_never_replaces_a_download(downloads: Path) -> None:
    with pytest.raises(AssetError, match="is one of the downloads"):
        convert_assets(downloads, downloads / BODY.name)
    assert check_assets(downloads).is_complete


def test_output_that_is_a_directory_is_an_error(small_downloads: Path, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="cannot be written"):
        convert_assets(small_downloads, tmp_path)
