"""People with random values in all fields, for tests of what is made from them."""

from __future__ import annotations

import numpy as np
from samples import random_parameters
from scipy.spatial.transform import Rotation

from pear_ros.people import DISTANCE_SOURCES, Boxes, People, seen_now


def some_people(ids: tuple[str, ...], num_vertices: int = 30, seed: int = 0) -> People:
    random = np.random.default_rng(seed)
    n = len(ids)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal((n, *shape)).astype(np.float32)

    sources = [DISTANCE_SOURCES[i % len(DISTANCE_SOURCES)] for i in range(1, n + 1)]
    rotations = Rotation.random(n * 55 + 1, random).as_matrix()[1:].reshape(n, 55, 3, 3)
    return People(
        ids=ids,
        boxes=Boxes(
            np.abs(100 * normal(4)).cumsum(1).astype(np.float32),
            random.random(n).astype(np.float32),
        ),
        crop_xywh=100 + normal(4),
        parameters=random_parameters(n, seed),
        translation=normal(3),
        joints=normal(55, 3),
        rotations=rotations.astype(np.float32),
        vertices=normal(num_vertices, 3),
        is_metric=True,
        **seen_now(n)
        | {
            "velocity": normal(3),
            "joint_velocity": normal(55, 3),
            "contact": random.random((n, 2)).astype(np.float32),
            "covariance": normal(3, 3),
            "joint_sigma_m": np.abs(normal(55)),
            "distance_source": tuple(sources),
        },
    )
