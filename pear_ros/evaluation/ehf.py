"""Errors on EHF, people with known hands and faces: `pear-ros evaluate --ehf DIR`.

The protocol is that of Hand4Whole, which OSX, SMPLer-X and others share, for 100 images of one
person with a mesh of SMPL-X:

- PVE of all vertices after moving pelvis to pelvis; of each hand after moving wrist to wrist, mean
  of both; of the head after moving neck to neck. The joints are regressed from the posed meshes.
- PA-PVE of the same sets of vertices, each after its own best similarity transform.
- PA-MPJPE of 14 joints that a regressor gives; their MPJPE after moving pelvis to pelvis.

The hands are the vertices of MANO_SMPLX_vertex_ids.pkl, the "face" the whole head of
SMPL-X__FLAME_vertex_ids.npy. The box is around the true mesh in the image.

Pavlakos et al., Expressive Body Capture: 3D Hands, Face, and Body from a Single Image, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from pear_ros.assets.arrays import Array, BrokenFileError
from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.config import Config
from pear_ros.errors import AssetError, PearError
from pear_ros.evaluation.extra_files import (
    HAND_VERTEX_IDS,
    J14_REGRESSOR,
    find_files,
    read_hand_vertex_ids,
    read_j14_regressor,
)
from pear_ros.evaluation.given_boxes import View, estimates, in_crop_axes, load_judged_pipeline
from pear_ros.evaluation.metrics import procrustes_error, root_aligned_error
from pear_ros.evaluation.ply import read_vertices
from pear_ros.evaluation.report import (
    Errors,
    Metric,
    dataset_markdown,
    make_folder,
    network_facts,
    summary,
    write_report,
)
from pear_ros.geometry.camera import project
from pear_ros.images.encoded import read_picture
from pear_ros.people import JOINT, Camera, FloatArray
from pear_ros.problems import Problems

# The file EHF_camera.txt of the dataset: one camera for all images.
CAMERA = Camera(1498.22426237, 1498.22426237, 790.263706, 578.90334)
OPTICAL_FROM_MESH = Rotation.from_rotvec((-2.98747896, 0.01172457, -0.05704687)).as_matrix()
TRANSLATION = np.array((-0.03609917, 0.43416458, 2.37101226))  # m

METRICS = (
    Metric("pve", "mm", "mean", "PVE, all vertices, pelvis-aligned"),
    Metric("pve_hands", "mm", "mean", "PVE, hands, each wrist-aligned"),
    Metric("pve_face", "mm", "mean", "PVE, head, neck-aligned"),
    Metric("pa_pve", "mm", "mean", "PA-PVE, all vertices"),
    Metric("pa_pve_hands", "mm", "mean", "PA-PVE, hands, each aligned"),
    Metric("pa_pve_face", "mm", "mean", "PA-PVE, head"),
    Metric("mpjpe", "mm", "mean", "MPJPE, 14 joints, pelvis-aligned"),
    Metric("pa_mpjpe", "mm", "mean", "PA-MPJPE, 14 joints"),
    Metric("pve_camera", "mm", "mean", "PVE, all vertices, turned to the camera"),
    Metric("mpjpe_camera", "mm", "mean", "MPJPE, 14 joints, turned to the camera"),
)


class Judge:
    """Compares meshes of SMPL-X.

    Args:
        assets: The body model, for its joints and the vertices of its head.
        hands: Ids of the vertices of the left and the right hand.
        j14: (14, V) the 14 joints from the vertices.
    """

    def __init__(self, assets: BodyAssets, hands: tuple[Array, Array], j14: Array) -> None:
        self._regressor = assets.body_joint_regressor.astype(np.float64)  # (55, V)
        self._parts = (
            ("hands", hands[0], JOINT["left_wrist"]),
            ("hands", hands[1], JOINT["right_wrist"]),
            ("face", assets.head_vertex_ids, JOINT["neck"]),
        )
        self._j14 = j14.astype(np.float64)

    def __call__(self, vertices: FloatArray, truth: FloatArray) -> Errors:
        """Returns the errors, mm, of N meshes (N, V, 3), m, in the axes of the truth (N, V, 3)."""
        joints, true_joints = self._regressor @ vertices, self._regressor @ truth  # (N, 55, 3)
        roots = joints[:, 0], true_joints[:, 0]
        j14 = self._j14 @ vertices, self._j14 @ truth  # (N, 14, 3)
        errors = {
            "pve": root_aligned_error(vertices, truth, *roots),
            "pa_pve": procrustes_error(vertices, truth),
            "mpjpe": root_aligned_error(*j14, *roots),
            "pa_mpjpe": procrustes_error(*j14),
        }
        for name in ("hands", "face"):
            parts = [(ids, joint) for part, ids, joint in self._parts if part == name]
            errors[f"pve_{name}"] = np.mean(
                [
                    root_aligned_error(
                        vertices[:, ids], truth[:, ids], joints[:, joint], true_joints[:, joint]
                    )
                    for ids, joint in parts
                ],
                axis=0,
            )
            errors[f"pa_pve_{name}"] = np.mean(
                [procrustes_error(vertices[:, ids], truth[:, ids]) for ids, _ in parts], axis=0
            )
        return {name: 1e3 * values for name, values in errors.items()}


def views(folder: Path, numbers: list[str], vertices: int) -> Iterator[View[FloatArray]]:
    """Yields the images with the box and the true mesh (V, 3), m, in the camera's frame.

    Raises:
        PearError: If a file is missing or damaged, or has another number of vertices.
    """
    for number in tqdm(numbers, unit="image", disable=None):
        path = folder / f"{number}_align.ply"
        try:
            mesh = read_vertices(path)
        except BrokenFileError as error:
            raise AssetError(f"{path}: {error}; unpack EHF again") from error
        except OSError as error:
            raise AssetError(f"{path}: cannot be read: {error.strerror}") from error
        if len(mesh) != vertices:
            raise PearError(
                f"{path}: has {len(mesh)} vertices, the body model {vertices}: give PEAR's "
                "--checkpoint and --assets, as EHF needs SMPL-X"
            )
        placed = (mesh @ OPTICAL_FROM_MESH.T + TRANSLATION).astype(np.float32)
        pixels = project(placed, CAMERA)
        xyxy = np.concatenate((pixels.min(0), pixels.max(0)))[None]
        yield View(_read_image(folder, number), CAMERA, xyxy, placed)


def _read_image(folder: Path, number: str) -> NDArray[np.uint8]:
    for suffix in ("jpg", "png"):
        image = read_picture(folder / f"{number}_img.{suffix}")
        if image is not None:
            return image
    raise PearError(
        f"{folder / number}_img.jpg: is missing or not a picture, and there is no .png; unpack EHF "
        "again"
    )


def evaluate_ehf(folder: Path, models: Path, config: Config, output: Path | None) -> int:
    """Evaluates on EHF and prints a table; writes ehf.json to the folder `output`.

    Args:
        folder: Has NN_img.jpg (or .png) and NN_align.ply.
        models: Folder of the files that the protocol needs.
        config: Settings.
        output: Folder of the report.

    Returns:
        0.

    Raises:
        PearError: If a file is missing or cannot be read, the body model is not SMPL-X, the weights
            cannot be used, or the folder cannot be written.
    """
    numbers = sorted(path.name.partition("_")[0] for path in folder.glob("*_align.ply"))
    if not numbers:
        raise PearError(
            f"{folder}: has no NN_align.ply; unpack EHF.zip of "
            "https://smpl-x.is.tue.mpg.de/download.php there"
        )
    files = find_files(models, (HAND_VERTEX_IDS, J14_REGRESSOR))
    if output is not None:
        make_folder(output)
    assets = load_assets(Path(config.body.assets))
    count = len(assets.body_template)
    judge = Judge(
        assets,
        read_hand_vertex_ids(files[HAND_VERTEX_IDS], count),
        read_j14_regressor(files[J14_REGRESSOR], count),
    )
    problems = Problems(lambda message: tqdm.write(message))
    pipeline = load_judged_pipeline(config, problems)
    errors: list[Errors] = []
    for view, found in estimates(pipeline, views(folder, numbers, count)):
        if found.rows[0] < 0:
            continue
        people = found.people.rows(found.rows[:1])
        assert people.vertices is not None
        truth = view.truth[None]
        turned = judge(people.vertices, truth)
        errors.append(
            {
                **judge(in_crop_axes(people.vertices, people, view.camera), truth),
                **{f"{name}_camera": turned[name] for name in ("pve", "mpjpe")},
            }
        )
    if not errors:
        raise PearError(f"{folder}: the pipeline left out everybody; check the weights")
    report = {
        "dataset": "EHF",
        "images": len(numbers),
        "people": len(numbers),
        "missed": len(numbers) - len(errors),
        **network_facts(pipeline, config),
        "metrics": summary(errors),
    }
    print(dataset_markdown(report, METRICS))
    for kind, total in problems.counts().items():
        print(f"{kind}: {total}")
    if output is not None:
        write_report(output / "ehf.json", report)
    return 0
