"""Finding and converting the files that users download."""

import os
import pickle
import shutil
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import make_assets
import numpy as np
import pytest
import scipy.sparse
from damage import read_npz, read_pickle

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

# --- Conversion ----------------------------------------------------------------------------------


def assert_same(assets: BodyAssets, folder: Path) -> None:
    """The assets are the arrays of the files in the folder, reduced to what PEAR uses."""
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


@pytest.mark.slow
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
        pytest.param(np.int64, np.float64, "F", id="int64, float64, columns first"),
        pytest.param(np.int32, np.float32, "F", id="int32, float32, columns first"),
        pytest.param(np.uint64, np.float64, "C", id="uint64, float64"),
        pytest.param(np.uint32, ">f8", "C", id="uint32, big-endian"),
    ],
)
def test_types_and_layout_of_the_files_do_not_matter(
    kintree: Any, real: Any, order: Any, small_downloads: Path, downloads: Path, tmp_path: Path
) -> None:
    body, head = read_npz(downloads / BODY.name), read_pickle(downloads / HEAD.name)
    for model in (body, head):
        # The root is -1, or the largest number of an unsigned type.
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


def test_arrays_written_by_python_2(downloads: Path) -> None:
    """Numpy warns about the long integer in their header; users cannot change it."""
    path = downloads / VERTEX_IDS.name
    path.write_bytes(path.read_bytes().replace(b"(60,), }  ", b"(60L,), } "))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_assets(downloads).is_complete


def test_objects_under_other_keys_are_not_read(downloads: Path, tmp_path: Path) -> None:
    """SMPL-X's file contains pickled objects beside the arrays."""
    body = read_npz(downloads / BODY.name)
    np.savez(downloads / BODY.name, **body, joint2num=np.array({"pelvis": 0}, dtype=object))
    head = read_pickle(downloads / HEAD.name)
    head["names"] = np.array(["a", None], dtype=object)
    (downloads / HEAD.name).write_bytes(pickle.dumps(head, protocol=2))
    assert check_assets(downloads).is_complete


# --- Finding files -------------------------------------------------------------------------------


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


def test_a_path_that_is_not_a_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", Path(__file__)):
        with pytest.raises(AssetError, match="is not a directory"):
            check_assets(path)


def test_the_report_lists_missing_files_and_their_sources(tmp_path: Path) -> None:
    report = check_assets(tmp_path)
    assert report.missing == FILES
    for file in FILES:
        assert f"MISSING  {file.name}" in str(report)
        assert file.source in str(report)
    assert "6 of 6 files" in str(report)


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
