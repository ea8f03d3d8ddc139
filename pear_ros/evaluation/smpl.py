"""The body model SMPL, in which 3DPW states its ground truth. The network does not use it.

Loper et al., SMPL: A Skinned Multi-Person Linear Model, SIGGRAPH Asia 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pear_ros.assets.arrays import BrokenFileError, floats
from pear_ros.assets.downloads import read_parents
from pear_ros.assets.pickle_values import Unread
from pear_ros.assets.unpickle import load_pickle
from pear_ros.body.kinematics import KinematicChain, about
from pear_ros.body.skinning import Surface, blended, columns_first
from pear_ros.errors import AssetError
from pear_ros.geometry.rotation import matrix_from_axis_angle
from pear_ros.people import FloatArray

NUM_JOINTS = 24
NUM_SHAPES = 10  # that 3DPW uses


class Smpl:
    """SMPL of one gender, on the CPU: `smpl(pose, betas)`."""

    def __init__(self, path: Path) -> None:
        """Reads a published file, a pickle, without running code in it.

        Raises:
            AssetError: If the file is damaged, refused, or not SMPL.
        """
        content = load_pickle(path)
        try:

            def array(name: str, *shape: int | None) -> NDArray[np.float32]:
                return floats(name, content.get(name, Unread("missing")), shape)

            self._template = torch.from_numpy(array("v_template", None, 3))
            self.num_vertices = count = len(self._template)
            shapedirs = array("shapedirs", count, 3, None)[..., :NUM_SHAPES]
            if shapedirs.shape[2] < NUM_SHAPES:
                raise BrokenFileError(f"has fewer than {NUM_SHAPES} shapes")
            self._shapedirs = torch.from_numpy(columns_first(shapedirs))
            self._regressor = torch.from_numpy(array("J_regressor", NUM_JOINTS, count))
            posedirs = array("posedirs", count, 3, 9 * (NUM_JOINTS - 1))
            weights = array("weights", count, NUM_JOINTS)
            self._surface = Surface(posedirs, weights, torch.device("cpu"))
            parents = content.get("kintree_table", Unread("missing"))
            self._chain = KinematicChain(read_parents(parents, NUM_JOINTS))
        except BrokenFileError as error:
            raise AssetError(f"{path}: {error}; is it SMPL?") from error

    @torch.inference_mode()
    def __call__(self, rotations: FloatArray, betas: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Poses N bodies.

        Args:
            rotations: (N, 24, 3, 3) relative to the parents; the first is the orientation.
            betas: (N, 10).

        Returns:
            Joints (N, 24, 3) and vertices (N, V, 3), m, in the axes of the orientation.
        """
        matrices = torch.from_numpy(np.ascontiguousarray(rotations, np.float32))
        coefficients = torch.from_numpy(np.ascontiguousarray(betas, np.float32))
        shaped = blended(self._template, coefficients, self._shapedirs)  # (N, V, 3)
        rest = self._regressor @ shaped  # (N, 24, 3)
        joints, world = self._chain.pose(rest, matrices)
        feature = (matrices[:, 1:] - torch.eye(3)).flatten(1)  # (N, 207) of pose blend shapes
        vertices = self._surface(shaped, feature, about(rest, world, joints))
        return joints.numpy(), vertices.numpy()


def matrices_of(pose: FloatArray) -> FloatArray:
    """Axis-angle poses (N, 72) rad -> rotations (N, 24, 3, 3)."""
    vectors = torch.from_numpy(np.ascontiguousarray(pose, np.float32)).reshape(-1, NUM_JOINTS, 3)
    matrices: FloatArray = matrix_from_axis_angle(vectors).numpy()
    return matrices
