"""NanoDet-g, the person detector that is installed with pear_ros, in PyTorch.

NanoDet by RangiLyu, https://github.com/RangiLyu/nanodet: a CSP backbone, a feature pyramid and
heads that predict the distances from a cell to the four sides of a box as distributions (Li et al.,
Generalized Focal Loss, NeurIPS 2020). assets/detector/LICENSE.md names the origin of the weights.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pear_ros.errors import SettingError
from pear_ros.system.files import read_file

MOST_BYTES = 1 << 24
WEIGHTS_SHA256 = "613b8140acbeceb66342780f42f5b53188362eefae793c875281fffaecacf91a"
STRIDES = (8, 16, 32)  # px of the input per cell
NUM_CLASSES = 80  # of COCO
PERSON = 0
NUM_BINS = 11  # of a distance's distribution: 0 to 10 strides


class Convolution(nn.Conv2d):
    """3x3, padded to keep the size, followed by a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), 0.1, inplace=True)


class SplitBlock(nn.Module):
    """Two convolutions of half the channels in a row, whose results are concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels // 2)
        self.second = Convolution(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.cat((self.second(first), first), 1)


class Stage(nn.Module):
    """(N, C, H, W) -> (N, 2 C, H / stride, W / stride): a cross-stage partial block."""

    def __init__(self, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.enter = Convolution(channels, channels, stride)
        self.blocks = nn.Sequential(*(SplitBlock(channels) for _ in range(blocks)))
        self.leave = Convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        return torch.cat((self.leave(self.blocks(entered)), entered), 1)


class Head(nn.Module):
    """The predictions of one level of the pyramid, each cell of which is `stride` px wide.

    Only persons are computed, and their boxes only in cells with a sufficient score, which saves a
    tenth of the time.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.feature = Convolution(128, 128)
        self.output = nn.Conv2d(128, NUM_CLASSES + 4 * NUM_BINS, 1)

    def forward(self, level: Tensor, least_score: float) -> Tensor:
        """(N, 128, h, w) -> (K, 6): image index, box xyxy in px of the input, NanoDet's score."""
        feature = self.feature(level)
        weight, bias = self.output.weight, self.output.bias
        assert bias is not None
        # From here in float32: in bfloat16, a score of 0.5 has steps of 0.004.
        feature, weight, bias = feature.float(), weight.float(), bias.float()
        scores = F.conv2d(feature, weight[[PERSON]], bias[[PERSON]])[:, 0].sigmoid()  # (N, h, w)
        image, row, column = (scores >= least_score).nonzero(as_tuple=True)  # K cells
        sides = F.linear(
            feature[image, :, row, column], weight[NUM_CLASSES:, :, 0, 0], bias[NUM_CLASSES:]
        )
        distribution = sides.unflatten(1, (4, NUM_BINS)).softmax(-1)  # (K, 4, 11)
        bins = torch.arange(NUM_BINS, dtype=sides.dtype, device=sides.device)
        distances = self.stride * (distribution @ bins)  # (K, 4) px: left, top, right, bottom
        centres = self.stride * (torch.stack((column, row), 1) + 0.5)  # (K, 2) px
        boxes = torch.cat((centres - distances[:, :2], centres + distances[:, 2:]), 1)
        return torch.cat((image[:, None], boxes, scores[image, row, column][:, None]), 1)


class NanoDet(nn.Module):
    """Normalised images -> the people in them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Convolution(3, 32, 2), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList(
            (Stage(32, 1, 1), Stage(64, 2, 2), Stage(128, 2, 2), Stage(256, 3, 2))
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, 128, 1) for c in (128, 256, 512))
        self.heads = nn.ModuleList(Head(stride) for stride in STRIDES)

    def forward(self, images: Tensor, least_score: float) -> Tensor:
        """Returns the cells that see a person, see `Head`; `images` are (N, 3, H, W) BGR."""
        levels = zip(self.heads, self.pyramid(images), strict=True)
        return torch.cat([head(level, least_score) for head, level in levels])

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> a level (N, 128, H / stride, W / stride) for each stride."""
        x = self.stages[0](self.stem(images))
        laterals = []
        for stage, lateral in zip(self.stages[1:], self.laterals, strict=True):
            x = stage(x)
            laterals.append(lateral(x))
        fine, middle, coarse = laterals
        # Path aggregation: down to the finest level, and up again.
        middle = middle + _resized(coarse, middle)
        fine = fine + _resized(middle, fine)
        middle = middle + _resized(fine, middle)
        coarse = coarse + _resized(middle, coarse)
        return [fine, middle, coarse]


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


def load_nanodet(path: Path) -> NanoDet:
    """Returns the network with the weights of `path`, on the CPU, in float32.

    Raises:
        SettingError: If the file cannot be read or is not the one that pear_ros installs.
    """
    try:
        content = read_file(path, MOST_BYTES)
    except OSError as error:
        raise SettingError(f"the detector's weights {path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise SettingError(f"the detector's weights {path} are damaged; install pear_ros again")
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    network = NanoDet()
    network.load_state_dict({n: torch.from_numpy(arrays[n].astype(np.float32)) for n in arrays})
    return network.requires_grad_(False).eval()
