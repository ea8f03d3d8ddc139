"""EHF: folders in its layout with known errors, and what is wrong with folders and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from constant_network import Constant
from datasets import ply, write_ehf, write_hand_vertex_ids, write_j14_regressor
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import BodyAssets
from pear_ros.cli.main import main
from pear_ros.evaluation.ehf import CAMERA, METRICS, OPTICAL_FROM_MESH, TRANSLATION, views
from pear_ros.people import JOINT

Array = NDArray[Any]

LEFT, RIGHT = np.arange(20, 30), np.arange(40, 52)
IDS, J14 = "MANO_SMPLX_vertex_ids.pkl", "SMPLX_to_J14.pkl"


class Folder:
    """A dataset of two images, whose mesh the test chooses, in the axes of the camera."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, mesh: Array) -> None:
        write_ehf(self.path, mesh @ OPTICAL_FROM_MESH)
        write_hand_vertex_ids(self.path / "models" / IDS, LEFT, RIGHT)
        write_j14_regressor(self.path / "models" / J14, len(mesh))

    def evaluate(self, constant: Constant) -> dict[str, float]:
        command = ["evaluate", "--ehf", str(self.path), *constant.options]
        assert main([*command, "--output", str(self.path / "out")]) == 0
        report = json.loads((self.path / "out/ehf.json").read_text())
        assert (report["images"], report["people"], report["missed"]) == (2, 2, 0)
        return {name: values["mean"] for name, values in report["metrics"].items()}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def free(small_assets: BodyAssets) -> Array:
    """Vertices that belong to the whole only: of no root, hand, head, and not one of the joints."""
    roots = [JOINT[name] for name in ("pelvis", "neck", "left_wrist", "right_wrist")]
    used = small_assets.body_joint_regressor[roots].any(0)
    used[:14] = used[LEFT] = used[RIGHT] = used[small_assets.head_vertex_ids] = True
    return np.flatnonzero(~used)


def shifted(mesh: Array, ids: Array | int, by: tuple[float, float, float]) -> Array:
    mesh = mesh.astype(np.float64)
    mesh[ids] += by
    return mesh


# --- Known errors --------------------------------------------------------------------------------


def test_the_truth_has_no_error(folder: Folder, constant: Constant) -> None:
    folder.write(constant.vertices)
    found = folder.evaluate(constant)
    assert set(found) == {metric.name for metric in METRICS}
    for name in set(found) - {"pve_camera", "mpjpe_camera"}:
        assert found[name] == pytest.approx(0, abs=0.02), name


def test_vertices_that_are_off(folder: Folder, constant: Constant, free: Array) -> None:
    """One vertex of the body by 15 cm: of 150 vertices, the mean is 1 mm."""
    folder.write(shifted(constant.vertices, free[0], (0, 0.09, 0.12)))
    found = folder.evaluate(constant)
    assert found["pve"] == pytest.approx(1, abs=0.02)
    for name in ("pve_hands", "pve_face", "pa_pve_hands", "pa_pve_face", "mpjpe", "pa_mpjpe"):
        assert found[name] == pytest.approx(0, abs=0.02), name


def test_a_joint_that_is_off(folder: Folder, constant: Constant, small_assets: BodyAssets) -> None:
    """A vertex that is one of the 14 joints, and that the pelvis does not depend on."""
    pelvis = small_assets.body_joint_regressor[0]
    joint = next(i for i in range(14) if pelvis[i] == 0)
    folder.write(shifted(constant.vertices, joint, (0.14, 0, 0)))
    found = folder.evaluate(constant)
    assert found["mpjpe"] == pytest.approx(10, abs=0.02)
    assert found["pa_mpjpe"] > 1


def test_a_scaled_hand_is_aligned(
    folder: Folder, constant: Constant, small_assets: BodyAssets
) -> None:
    """The left hand is twice as large, turned and elsewhere; the right one is right."""
    mesh = constant.vertices.astype(np.float64)
    mesh[LEFT] = 2 * Rotation.from_euler("x", 1).apply(mesh[LEFT]) + (0, 0.3, 0)
    folder.write(mesh)
    found = folder.evaluate(constant)
    assert found["pa_pve_hands"] == pytest.approx(0, abs=0.02)
    regressor = small_assets.body_joint_regressor.astype(np.float64)
    errors = []
    for ids, joint in ((LEFT, "left_wrist"), (RIGHT, "right_wrist")):
        wrist, true_wrist = (regressor[JOINT[joint]] @ m for m in (constant.vertices, mesh))
        off = (constant.vertices[ids] - wrist) - (mesh[ids] - true_wrist)
        errors.append(1e3 * np.linalg.norm(off, axis=1).mean())
    assert errors[0] > 50
    assert found["pve_hands"] == pytest.approx(np.mean(errors), rel=1e-3)


def test_the_head_is_relative_to_the_neck(
    folder: Folder, constant: Constant, small_assets: BodyAssets
) -> None:
    ids = small_assets.head_vertex_ids
    mesh = shifted(constant.vertices, ids, (0.05, 0, 0))
    folder.write(mesh)
    found = folder.evaluate(constant)
    assert found["pa_pve_face"] == pytest.approx(0, abs=0.02)
    share = small_assets.body_joint_regressor[JOINT["neck"]].astype(np.float64)[ids].sum()
    assert found["pve_face"] == pytest.approx(50 * abs(1 - share), abs=0.05)


def test_a_rigid_motion_of_all(folder: Folder, constant: Constant) -> None:
    turned = 0.9 * Rotation.from_euler("y", 40, degrees=True).apply(constant.vertices)
    folder.write(turned + np.array((0.1, 0, 0.2)))
    found = folder.evaluate(constant)
    for name in ("pa_pve", "pa_pve_hands", "pa_pve_face", "pa_mpjpe"):
        assert found[name] == pytest.approx(0, abs=0.02), name
    assert found["pve"] > 50
    assert found["mpjpe"] > 50


def test_boxes_are_around_the_mesh_in_the_image(folder: Folder) -> None:
    """A square of 20 cm, 1 m in front of the camera and on its optical axis."""
    corners = np.array([(-0.1, -0.1, 1), (0.1, -0.1, 1), (0.1, 0.1, 1), (-0.1, 0.1, 1)])
    write_ehf(folder.path, (corners - TRANSLATION) @ OPTICAL_FROM_MESH, ("07",))
    (view,) = views(folder.path, ["07"], 4)
    np.testing.assert_allclose(view.truth, corners, atol=1e-5)
    half = 0.1 * CAMERA.fx
    expected = [CAMERA.cx - half, CAMERA.cy - half, CAMERA.cx + half, CAMERA.cy + half]
    np.testing.assert_allclose(view.xyxy, [expected], atol=1e-2)
    assert view.image.shape == (1200, 1600, 3)


def test_an_image_may_be_a_png(folder: Folder) -> None:
    write_ehf(folder.path, np.eye(3), ("07",))
    image = cv2.imread(str(folder.path / "07_img.jpg"))
    (folder.path / "07_img.jpg").unlink()
    assert cv2.imwrite(str(folder.path / "07_img.png"), image)
    (view,) = views(folder.path, ["07"], 3)
    np.testing.assert_array_equal(view.image, image[..., ::-1])


# --- What is wrong with a folder -----------------------------------------------------------------

MALICIOUS = b"\x80\x02cposix\nsystem\nX\x0d\x00\x00\x00touch pwned!\n\x85R."


def write_small_ids(folder: Folder) -> None:
    write_hand_vertex_ids(folder.path / "models" / IDS, LEFT, np.array([3, 150]))


def overwrite(name: str, content: bytes) -> Callable[[Folder], object]:
    return lambda folder: next(folder.path.rglob(name)).write_bytes(content)


def remove(*names: str) -> Callable[[Folder], object]:
    return lambda folder: [next(folder.path.rglob(name)).unlink() for name in names]


WRONG: dict[str, tuple[Callable[[Folder], object], list[str]]] = {
    "no files of the protocol": (
        remove(IDS, J14),
        ["lack 2 of 2 files", IDS, "smpl-x.is.tue.mpg.de", J14, "expose.is.tue.mpg.de"],
    ),
    "no image": (remove("02_img.jpg"), ["02_img.jpg: is missing or not a picture"]),
    "no meshes": (remove("01_align.ply", "02_align.ply"), ["has no NN_align.ply"]),
    "mesh that is text": (overwrite("02_align.ply", b"text"), ["02_align.ply: is not a PLY file"]),
    "truncated mesh": (
        overwrite("02_align.ply", ply(np.eye(3))[:-30]),
        ["02_align.ply: is truncated"],
    ),
    "mesh of another model": (
        overwrite("02_align.ply", ply(np.eye(3))),
        ["has 3 vertices, the body model 150", "--checkpoint and --assets"],
    ),
    "malicious ids": (overwrite(IDS, MALICIOUS), [IDS, "names posix.system"]),
    "malicious regressor": (overwrite(J14, MALICIOUS), [J14, "names posix.system"]),
    "ids of another model": (write_small_ids, [IDS, "ids from 3 to 150"]),
    "ids without hands": (overwrite(IDS, b"\x80\x02}."), [IDS, "left_hand is missing"]),
    "regressor of another model": (
        lambda folder: write_j14_regressor(folder.path / "models" / J14, 20),
        [J14, "(14, 20), not (14, 150)"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_folders(
    case: str,
    folder: Folder,
    constant: Constant,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.path)
    folder.write(constant.vertices)
    change, expected = WRONG[case]
    change(folder)
    assert main(["evaluate", "--ehf", str(folder.path), *constant.options]) == 1
    message = capsys.readouterr().err
    for text in expected:
        assert text in message
    assert not (folder.path / "pwned!").exists()
