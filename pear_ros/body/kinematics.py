"""The chain of joints: rotations relative to the parents -> posed joints."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class KinematicChain:
    """A tree of joints, posed in as many rounds as doubling takes to reach its depth."""

    def __init__(
        self,
        parents: NDArray[np.int64],  # (J,), -1 at the root
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        count = len(parents)
        # One joint more, which never moves, is the root's parent and its own.
        ancestors = np.append(np.where(parents < 0, count, parents), count)
        rounds = []
        while (ancestors < count).any():
            rounds.append(torch.as_tensor(ancestors, device=device))
            ancestors = ancestors[ancestors]
        self._ancestors = rounds  # (J + 1,) each, in the first round parents, then theirs, ...
        # Times joints: their offsets from their parents, the root's from the origin.
        offset = np.eye(count)
        offset[parents >= 0, parents[parents >= 0]] = -1
        self._offset = torch.as_tensor(offset, device=device, dtype=dtype)  # (J, J)
        self._still = torch.eye(4, device=device, dtype=dtype)

    def pose(self, rest: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Joints at rest (N, J, 3) and their rotations (N, J, 3, 3) relative to their parents.

        Gives posed joints (N, J, 3) and their rotations (N, J, 3, 3).
        """
        count, num_joints, _ = rest.shape
        offsets = self._offset @ rest  # (N, J, 3)
        rows = torch.cat((rotations, offsets[..., None]), -1)  # (N, J, 3, 4)
        last_row = self._still[3].expand(count, num_joints, 1, 4)
        still = self._still.expand(count, 1, 4, 4)
        world = torch.cat((torch.cat((rows, last_row), 2), still), 1)  # (N, J + 1, 4, 4)
        # A joint that its ancestors up to one of them have moved, moved as that one is.
        for ancestors in self._ancestors:
            world = world.index_select(1, ancestors) @ world
        return world[:, :-1, :3, 3], world[:, :-1, :3, :3]


def about(rest: Tensor, rotations: Tensor, posed: Tensor) -> Tensor:
    """Transforms (N, J, 3, 4) that turn by (N, J, 3, 3) and take `rest` to `posed`, (N, J, 3)."""
    translation = posed[..., None] - rotations @ rest[..., None]
    return torch.cat((rotations, translation), -1)
