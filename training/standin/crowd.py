"""Random people of many phenotypes in the T-pose, and the principal components of their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.standin.makehuman import Array, Mesh, Person, Rig, read_details, read_phenotypes
from training.standin.surface import Surface, bone_of_joints
from training.standin.tpose import smooth_weights, t_pose

CHILDREN = 0.15  # fraction of the people
DETAIL_SPREAD = 0.3  # standard deviation of a detail; 1 is MakeHuman's maximum
BODY_DETAILS = {
    "arms": ("measure-upperarm-length-decr-incr", "measure-lowerarm-length-decr-incr"),
    "legs": ("measure-upperleg-height-decr-incr", "measure-lowerleg-height-decr-incr"),
    "torso": ("measure-shoulder-dist-decr-incr", "measure-napetowaist-dist-decr-incr",
              "measure-hips-circ-decr-incr", "measure-waist-circ-decr-incr"),
    "neck": ("measure-neck-height-decr-incr",),
    "hands": ("hand-scale-decr-incr",),
    "feet": ("foot-scale-decr-incr",),
}  # fmt: skip


def random_person(random: np.random.Generator) -> Person:
    """Draws a person, mostly adults. The spreads give heights similar to those of real people."""

    def around(mean: float, spread: float) -> float:
        return float(np.clip(random.normal(mean, spread), 0, 1))

    is_child = random.random() < CHILDREN
    return Person(
        gender=around(int(random.integers(2)), 0.15),
        age=random.uniform(0.35, 0.6) if is_child else min(1, 2 / 3 + abs(random.normal(0, 0.12))),
        muscle=around(0.5, 0.18),
        weight=around(0.5, 0.2),
        height=around(0.5, 0.045),
        proportions=around(0.6, 0.2),
        races=random.dirichlet((0.5, 0.5, 0.5)),
    )


@dataclass(frozen=True)
class Crowd:
    """N people in the T-pose with the pelvis at the origin."""

    vertices: Array  # (N, V, 3) m
    joints: Array  # (N, 55, 3) m

    def __getitem__(self, rows: slice) -> Crowd:
        return Crowd(self.vertices[rows], self.joints[rows])


def crowd_of(
    count: int, data: Path, mesh: Mesh, rig: Rig, surface: Surface, random: np.random.Generator
) -> Crowd:
    """Draws `count` people with MakeHuman's targets in the folder `data`."""
    people = [random_person(random) for _ in range(count)]
    available = read_details(data, BODY_DETAILS)
    details = [available[name] for names in BODY_DETAILS.values() for name in names]
    joints = [rig.names.index(bone) for bone in bone_of_joints()]
    weights = smooth_weights(rig, mesh)
    crowd = []
    for shape in read_phenotypes(data).shapes(mesh, people):
        for detail in details:
            shape = shape + random.normal(0, DETAIL_SPREAD) * detail
        vertices, heads = t_pose(shape, rig, weights)
        crowd.append((vertices[surface.ids] - heads[joints[0]], heads[joints] - heads[joints[0]]))
    return Crowd(*(np.stack(arrays) for arrays in zip(*crowd, strict=True)))


def principal(
    samples: Array,  # (N, V, 3) m
    areas: Array,  # (V,) of the surface around each vertex
    share: float,
    at_most: int,
) -> tuple[Array, Array, float]:
    """Principal component analysis, weighted by the vertices' areas.

    Keeps as many components as are needed for the fraction `share` of the variance, but no more
    than `at_most`.

    Returns:
        The mean (V, 3), the components (V, 3, K) scaled to coefficients of standard deviation 1,
        and the fraction of the variance that they explain.
    """
    mean = samples.mean(0)
    metric = np.sqrt(areas / areas.sum())[:, None]
    centred = ((samples - mean) * metric).reshape(len(samples), -1)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    explained = np.cumsum(values) / values.sum()
    count = min(at_most, int(np.searchsorted(explained, share)) + 1)
    # Regression on the coefficients gives the components at vertices without area as well.
    coefficients = vectors[:, :count] * np.sqrt(len(samples))  # (N, K), each of variance 1
    flat = (samples - mean).reshape(len(samples), -1)
    directions = flat.T @ coefficients / len(samples)
    return mean, directions.reshape(*mean.shape, count), float(explained[count - 1])


def principal_of_sums(details: Array, areas: Array, share: float, at_most: int) -> Array:
    """Principal components (V, 3, K) of sums of details (D, V, 3) with normal coefficients.

    `areas`, `share` and `at_most` are those of `principal`.
    """
    metric = np.sqrt(areas / areas.sum())[:, None]
    flat = (details * metric).reshape(len(details), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    explained = np.cumsum(values) / values.sum()
    count = min(at_most, int(np.searchsorted(explained, share)) + 1)
    return np.einsum("dhi,dk->hik", details, vectors[:, :count])
