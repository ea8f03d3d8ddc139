"""Errors on 3DPW, people outdoors with known poses: `pear-ros evaluate --3dpw DIR`.

The protocol is the field's usual one (SPIN, 4D-Humans, Multi-HMR): the test split; every person and
image whose camera pose is valid; the true mesh from SMPL of the person's gender; 14 joints of both
meshes by the regressor of Human3.6M; MPJPE and PVE after moving pelvis to pelvis, PA-MPJPE after
the best similarity transform. The estimated mesh is converted to SMPL's vertices first.

The boxes are those of the dataset's 2D keypoints, 1.2 times as large, and the crop is 1.25 times as
large as the box, as in PEAR's own code.

von Marcard et al., Recovering Accurate 3D Human Pose in The Wild Using IMUs and a Moving Camera,
ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from tqdm import tqdm

from pear_ros.config import Config
from pear_ros.errors import AssetError, PearError
from pear_ros.evaluation.extra_files import (
    H36M_REGRESSOR,
    SMPL_FEMALE,
    SMPL_MALE,
    SMPLX_TO_SMPL,
    find_files,
    read_h36m_regressor,
    read_smpl_from_smplx,
)
from pear_ros.evaluation.given_boxes import View, estimates, in_crop_axes, load_judged_pipeline
from pear_ros.evaluation.metrics import procrustes_error, root_aligned_error
from pear_ros.evaluation.report import (
    Errors,
    Metric,
    dataset_markdown,
    make_folder,
    network_facts,
    summary,
    write_report,
)
from pear_ros.evaluation.smpl import Smpl, matrices_of
from pear_ros.evaluation.three_dpw_data import (
    Sequence3dpw,
    Track,
    keypoints_box,
    read_sequence,
)
from pear_ros.images.encoded import read_picture
from pear_ros.people import JOINT, FloatArray
from pear_ros.problems import Problems

# The 14 joints among Human3.6M's 17: right and left leg, right and left arm, neck, head's top.
H36M_J14 = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
# The 14 joints among SMPL's 24, which have the same index in SMPL-X.
BODY_J14 = [
    JOINT[name]
    for name in (
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "neck",
        "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
        "right_wrist",
    )
]  # fmt: skip
LARGEST_JOINT_ERROR_M = 0.01  # of SMPL's joints to those that the dataset states

METRICS = (
    Metric("mpjpe", "mm", "mean", "MPJPE, 14 joints of Human3.6M, pelvis-aligned"),
    Metric("pa_mpjpe", "mm", "mean", "PA-MPJPE, 14 joints of Human3.6M"),
    Metric("pve", "mm", "mean", "PVE, SMPL's vertices, pelvis-aligned"),
    Metric("mpjpe_camera", "mm", "mean", "MPJPE, turned to the camera"),
    Metric("pve_camera", "mm", "mean", "PVE, turned to the camera"),
    Metric("mpjpe_body", "mm", "mean", "MPJPE, 14 joints of SMPL and SMPL-X, pelvis-aligned"),
    Metric("pa_mpjpe_body", "mm", "mean", "PA-MPJPE, 14 joints of SMPL and SMPL-X"),
    Metric("mpjpe_body_camera", "mm", "mean", "MPJPE, 14 joints of SMPL and SMPL-X, turned"),
)


@dataclass(frozen=True)
class Truth:
    """The B people of an image, m, in the camera's axes; translation is of no account."""

    joints: FloatArray  # (B, 24, 3) of SMPL
    vertices: FloatArray | None  # (B, V, 3) of SMPL


class Truths:
    """Poses the true people; `smpl` by gender, None if only the joints are compared."""

    def __init__(self, smpl: Mapping[str, Smpl] | None) -> None:
        self._smpl = smpl

    def check(self, sequence: Sequence3dpw) -> None:
        """Checks that SMPL gives the joints that the dataset states, in one image of each person.

        Raises:
            AssetError: If it does not: the files of SMPL are others than the dataset's.
        """
        for track in sequence.tracks:
            rows = np.flatnonzero(track.is_valid)[:1]
            if self._smpl is None or not len(rows):
                continue
            smpl = self._smpl[track.gender]
            joints, _ = smpl(matrices_of(track.pose[rows]), track.betas[None])
            stated = track.joints[rows] - track.translation[rows, None]
            error_m = float(np.linalg.norm(joints - stated, axis=-1).mean())
            if error_m > LARGEST_JOINT_ERROR_M:
                raise AssetError(
                    f"{sequence.name}: SMPL ({track.gender}) is {1000 * error_m:.0f} mm off the "
                    "joints that 3DPW states; are the files of SMPL those for men and women?"
                )

    def __call__(self, sequence: Sequence3dpw, image: int, tracks: Sequence[Track]) -> Truth:
        """The true people of one image."""
        turn = sequence.optical_from_world[image]  # (3, 3)
        joints = np.stack([track.joints[image] for track in tracks]) @ turn.T
        if self._smpl is None:
            return Truth(joints, None)
        vertices = []
        for track in tracks:
            rotations = matrices_of(track.pose[image][None])
            rotations[:, 0] = turn @ rotations[:, 0]
            vertices.append(self._smpl[track.gender](rotations, track.betas[None])[1][0])
        return Truth(joints, np.stack(vertices))


class Judge:
    """Compares people with the truth.

    Args:
        regressor: (17, V) joints of Human3.6M from SMPL's vertices; None compares joints only.
        smpl_from_smplx: (V, X) SMPL's vertices from the estimated ones.
    """

    def __init__(
        self,
        regressor: NDArray[Any] | None = None,
        smpl_from_smplx: scipy.sparse.csr_matrix | None = None,
    ) -> None:
        self._regressor = regressor
        self._smpl_from_smplx = smpl_from_smplx

    def __call__(
        self, joints: FloatArray, vertices: FloatArray, truth: Truth, suffix: str = ""
    ) -> Errors:
        """Returns the errors, mm, of N people whose axes are those of the truth.

        Args:
            joints: (N, 55, 3) m.
            vertices: (N, X, 3) m.
            truth: Of the same N people.
            suffix: Appended to the metrics' names; errors after Procrustes alignment are left out
                if there is one, as they do not depend on the axes.
        """
        roots = joints[:, 0], truth.joints[:, 0]
        pair = joints[:, BODY_J14], truth.joints[:, BODY_J14]
        errors = {"mpjpe_body": root_aligned_error(*pair, *roots)}
        aligned = {"pa_mpjpe_body": procrustes_error(*pair)}
        if self._regressor is not None:
            assert truth.vertices is not None
            mesh = np.stack([self._smpl_from_smplx @ person for person in vertices])  # (N, V, 3)
            ours, true = (self._regressor @ v for v in (mesh, truth.vertices))  # (N, 17, 3)
            roots = ours[:, 0], true[:, 0]
            pair = ours[:, H36M_J14], true[:, H36M_J14]
            errors["mpjpe"] = root_aligned_error(*pair, *roots)
            errors["pve"] = root_aligned_error(mesh, truth.vertices, *roots)
            aligned["pa_mpjpe"] = procrustes_error(*pair)
        named = {f"{name}{suffix}": values for name, values in errors.items()}
        return {name: 1e3 * v for name, v in (named if suffix else named | aligned).items()}


class Views:
    """The images with their people; counts people whose keypoints give no box."""

    def __init__(self, folder: Path, sequences: Sequence[Path], truths: Truths, every: int) -> None:
        self._folder = folder
        self._sequences = sequences
        self._truths = truths
        self._every = every
        self.without_box = 0

    def __iter__(self) -> Iterator[View[Truth]]:
        for path in tqdm(self._sequences, unit="sequence", disable=None):
            sequence = read_sequence(path)
            self._truths.check(sequence)
            for image in range(0, len(sequence.optical_from_world), self._every):
                tracks = [track for track in sequence.tracks if track.is_valid[image]]
                boxes = [keypoints_box(track.keypoints[image]) for track in tracks]
                self.without_box += sum(box is None for box in boxes)
                tracks = [t for t, box in zip(tracks, boxes, strict=True) if box is not None]
                xyxy = [box for box in boxes if box is not None]
                if xyxy:
                    yield View(
                        self._read(sequence, image),
                        sequence.camera,
                        np.stack(xyxy),
                        self._truths(sequence, image, tracks),
                    )

    def _read(self, sequence: Sequence3dpw, image: int) -> NDArray[np.uint8]:
        path = self._folder / "imageFiles" / sequence.name / f"image_{image:05d}.jpg"
        picture = read_picture(path)
        if picture is None:
            raise PearError(f"{path}: is missing or not a picture; unpack imageFiles.zip again")
        return picture


def evaluate_3dpw(
    folder: Path, models: Path | None, config: Config, every: int, output: Path | None
) -> int:
    """Evaluates on the test split and prints a table; writes 3dpw.json to the folder `output`.

    Args:
        folder: Has imageFiles and sequenceFiles.
        models: Folder of the files that the protocol needs; None compares the bodies' joints only.
        config: Settings.
        every: Takes every n-th image of a sequence.
        output: Folder of the report.

    Returns:
        0.

    Raises:
        PearError: If a file is missing or cannot be read, the body model is not SMPL-X, the weights
            cannot be used, or the folder cannot be written.
    """
    sequences = sorted((folder / "sequenceFiles" / "test").glob("*.pkl"))
    if not sequences:
        raise PearError(
            f"{folder}: has no sequenceFiles/test/*.pkl; unpack sequenceFiles.zip and "
            "imageFiles.zip of https://virtualhumans.mpi-inf.mpg.de/3DPW there"
        )
    if output is not None:
        make_folder(output)
    truths, judge, vertices = _protocol(models)
    problems = Problems(lambda message: tqdm.write(message))
    pipeline = load_judged_pipeline(config, problems)
    if vertices not in (None, pipeline.body_model.num_vertices):
        raise PearError(
            f"the body model has {pipeline.body_model.num_vertices} vertices, SMPL-X {vertices}: "
            "give PEAR's --checkpoint and --assets, or --joints-only"
        )
    views = Views(folder, sequences, truths, every)
    errors: list[Errors] = []
    images = people = 0
    for view, found in estimates(pipeline, views):
        images += 1
        people += len(found.rows)
        seen = np.flatnonzero(found.rows >= 0)
        if not len(seen):
            continue
        ours = found.people.rows(found.rows[seen])
        assert ours.vertices is not None
        true = Truth(
            view.truth.joints[seen],
            None if view.truth.vertices is None else view.truth.vertices[seen],
        )
        # Published evaluations do not turn people from the crop's axes into the camera's.
        joints, mesh = (in_crop_axes(x, ours, view.camera) for x in (ours.joints, ours.vertices))
        turned = judge(ours.joints, ours.vertices, true, "_camera")
        errors.append({**judge(joints, mesh, true), **turned})
    if not errors:
        raise PearError(f"{folder}: has no person to evaluate")
    report = {
        "dataset": "3DPW, test split" + ("" if every == 1 else f", every {every}th image"),
        "images": images,
        "people": people,
        "missed": people - sum(len(part["mpjpe_body"]) for part in errors),
        "without_box": views.without_box,
        **network_facts(pipeline, config),
        "metrics": summary(errors),
    }
    print(dataset_markdown(report, METRICS))
    if views.without_box:
        print(f"\n{views.without_box} more people have no 2D keypoints, so no box")
    for kind, count in problems.counts().items():
        print(f"{kind}: {count}")
    if output is not None:
        write_report(output / "3dpw.json", report)
    return 0


def _protocol(models: Path | None) -> tuple[Truths, Judge, int | None]:
    """The truth, the judge, and the number of vertices that the estimated mesh must have."""
    if models is None:
        return Truths(None), Judge(), None
    wanted = (SMPL_MALE, SMPL_FEMALE, H36M_REGRESSOR, SMPLX_TO_SMPL)
    hint = ", or give --joints-only, which is another measure"
    files = find_files(models, wanted, hint)
    smpl = {"m": Smpl(files[SMPL_MALE]), "f": Smpl(files[SMPL_FEMALE])}
    mapping = read_smpl_from_smplx(files[SMPLX_TO_SMPL])
    count, vertices = mapping.shape
    for model, file in ((smpl["m"], SMPL_MALE), (smpl["f"], SMPL_FEMALE)):
        if model.num_vertices != count:
            raise AssetError(
                f"{files[file]}: has {model.num_vertices} vertices, "
                f"{files[SMPLX_TO_SMPL].name} {count}"
            )
    regressor = read_h36m_regressor(files[H36M_REGRESSOR], count)
    return Truths(smpl), Judge(regressor, mapping), vertices
