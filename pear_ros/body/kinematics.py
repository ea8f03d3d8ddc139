"""Forward kinematics: rotations relative to the parents -> posed joints."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class KinematicChain:
    """A tree of joints, posed by pointer doubling in ceil(log2(levels)) rounds."""

    def __init__(
        self,
        parents: NDArray[np.int64],  # (J,), -1 at the root
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        count = len(parents)
        # An extra joint that never moves is the parent of the root and of itself.
        ancestors = np.append(np.where(parents < 0, count, parents), count)
        rounds = []
        while (ancestors < count).any():
            rounds.append(torch.as_tensor(ancestors, device=device))
            ancestors = ancestors[ancestors]
        self._ancestors = rounds  # (J + 1,) each: the ancestors 1, 2, 4, ... levels above
        # Multiplied by joints, it gives their offsets from the parents, the root's from the origin.
        offset = np.eye(count)
        offset[parents >= 0, parents[parents >= 0]] = -1
        self._offset = torch.as_tensor(offset, device=device, dtype=dtype)  # (J, J)
        self._identity = torch.eye(4, device=device, dtype=dtype)

    def pose(self, rest: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Poses N people.

        Args:
            rest: (N, J, 3) m, joints at rest.
            rotations: (N, J, 3, 3) relative to the parents.

        Returns:
            Posed joints (N, J, 3) m and their rotations (N, J, 3, 3) in the axes of the root's
            parent.
        """
        count, num_joints, _ = rest.shape
        offsets = self._offset @ rest  # (N, J, 3)
        rows = torch.cat((rotations, offsets[..., None]), -1)  # (N, J, 3, 4)
        last_row = self._identity[3].expand(count, num_joints, 1, 4)
        fixed = self._identity.expand(count, 1, 4, 4)
        world = torch.cat((torch.cat((rows, last_row), 2), fixed), 1)  # (N, J + 1, 4, 4)
        # After each round a transform includes twice as many ancestors as before.
        for ancestors in self._ancestors:
            world = world.index_select(1, ancestors) @ world
        return world[:, :-1, :3, 3], world[:, :-1, :3, :3]


def about(rest: Tensor, rotations: Tensor, posed: Tensor) -> Tensor:
    """Transforms (N, J, 3, 4) with `rotations` (N, J, 3, 3) that move `rest` to `posed` (N, J, 3).

    Lengths in m.
    """
    translation = posed[..., None] - rotations @ rest[..., None]
    return torch.cat((rotations, translation), -1)
