"""Weights and bodies that are something else say what they are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from pear_ros.assets.body_assets import load_assets
from pear_ros.errors import AssetError, CheckpointError
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network_config import NetworkConfig
from pear_ros.system.file_kinds import what_else

FILES = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "HTML": (b"<!DOCTYPE html><html><body>Log in</body></html>", "HTML page"),
    "empty": (b"", "an empty file"),
    "zeros": (bytes(9000), "zeros"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_one_line_says_what_it_is(name: str, tmp_path: Path) -> None:
    content, words = FILES[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert words in what_else(path)
    for error, load in (
        (CheckpointError, lambda: load_network(path, NetworkConfig())),
        (CheckpointError, lambda: NetworkConfig.from_json(path)),
        (AssetError, lambda: load_assets(path)),
    ):
        with pytest.raises(error) as raised:
            load()
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)


def test_what_may_be_weights_is_left_to_their_reader(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"backbone": {}, "head": {}}, path)
    assert what_else(path) == ""
    (tmp_path / "sizes.json").write_text("{}")
    assert what_else(tmp_path / "sizes.json") == ""
    assert what_else(tmp_path / "missing") == ""


@pytest.mark.parametrize("protocol", [3, 4])
def test_torchs_advice_to_run_the_file_is_not_passed_on(tmp_path: Path, protocol: int) -> None:
    buffer = io.BytesIO()
    tree = {"backbone": {"x": torch.zeros(3)}, "head": {"y": torch.zeros(3)}}
    torch.save(tree, buffer, pickle_protocol=protocol)
    path = tmp_path / "weights.pt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError) as raised:
        load_network(path, NetworkConfig())
    assert "weights_only" not in str(raised.value)
