"""Conversion of the downloads, and what is said of those that are missing or broken."""

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "data"))
import make_assets  # noqa: E402

from pear_ros.assets import BodyAssets, check_assets, convert_assets, load_assets  # noqa: E402


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downloads")
    make_assets.write(folder, 3)
    return folder


def test_full_size_files_convert_and_load(downloads: Path, tmp_path: Path) -> None:
    assert check_assets(downloads).is_complete
    convert_assets(downloads, tmp_path / "assets.npz")
    assets = load_assets(tmp_path / "assets.npz")
    with np.load(downloads / "SMPLX_NEUTRAL_2020.npz") as body:
        np.testing.assert_allclose(assets.body_template, body["v_template"], atol=1e-7)
        np.testing.assert_array_equal(assets.body_shapedirs, body["shapedirs"][..., :200])
        np.testing.assert_array_equal(assets.body_expressiondirs, body["shapedirs"][..., 300:350])
    assert assets.body_parents.tolist() == make_assets.SMPLX_PARENTS
    assert assets.head_parents.tolist() == make_assets.FLAME_PARENTS
    assert np.count_nonzero(~assets.head_is_pasted) == 600
    for field in fields(BodyAssets):
        assert getattr(assets, field.name).flags.c_contiguous, field.name
