"""The kinematic chain against a reference that poses the joints one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_body import reference_skin
from scipy.spatial.transform import Rotation

from pear_ros.body.kinematics import KinematicChain, about
from pear_ros.body.skinning import skin

TREES = {
    "root alone": [-1],
    "line": [-1, 0, 1, 2],
    "star": [-1, 0, 0, 0],
    "last joints on a short branch": [-1, 0, 1, 2, 0, 4],
}


@pytest.mark.parametrize("parents", TREES.values(), ids=TREES)
def test_kinematic_chain(parents: list[int]) -> None:
    random = np.random.default_rng(2)
    count = len(parents)
    joints_at_rest, rest = random.standard_normal((count, 3)), random.standard_normal((7, 3))
    weights = random.dirichlet(np.ones(count), 7)
    rotations = Rotation.random(count, random).as_matrix()
    posedirs = np.zeros((7, 3, 9 * (count - 1)))
    expected = reference_skin(rest, joints_at_rest, np.array(parents), rotations, weights, posedirs)
    at_rest = torch.from_numpy(joints_at_rest)[None]
    chain = KinematicChain(np.array(parents), dtype=torch.float64)
    joints, world = chain.pose(at_rest, torch.from_numpy(rotations)[None])
    np.testing.assert_allclose(joints[0], expected.joints, atol=1e-12)
    np.testing.assert_allclose(world[0], expected.rotations, atol=1e-12)
    transforms = about(at_rest, world, joints)
    vertices = skin(torch.from_numpy(rest)[None], torch.from_numpy(weights), transforms)
    np.testing.assert_allclose(vertices[0], expected.vertices, atol=1e-12)
