"""3DPW: folders in its layout with known errors, and what is wrong with folders and files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from constant_network import Constant
from datasets import h36m_regressor, smpl_arrays, write_sequence, write_smpl
from numpy.typing import NDArray
from reference_body import reference_skin
from scipy.spatial.transform import Rotation

from pear_ros.cli.main import main
from pear_ros.evaluation.smpl import Smpl, matrices_of
from pear_ros.evaluation.three_dpw import BODY_J14, H36M_J14, METRICS, Judge, Truth
from pear_ros.evaluation.three_dpw_data import keypoints_box, read_sequence
from pear_ros.people import JOINT_NAMES

Array = NDArray[Any]

COUNT = 40  # vertices of the small SMPL
TURN = Rotation.from_euler("yx", (70, 10), degrees=True)
FILES = ("SMPL_MALE.pkl", "SMPL_FEMALE.pkl", "J_regressor_h36m.npy", "smplx_to_smpl.pkl")


def mapping() -> Array:
    """(40, 150): each vertex of SMPL is the mean of two of SMPL-X."""
    matrix = np.zeros((COUNT, 150))
    rows = np.arange(COUNT)
    matrix[rows, 3 * rows] = matrix[rows, 3 * rows + 1] = 0.5
    return matrix


def keypoints(*boxes: tuple[float, float, float, float]) -> Array:
    """(P, 1, 3, 18): two opposite corners of each box are seen, the other keypoints are not."""
    points = np.zeros((len(boxes), 1, 3, 18))
    for i, (left, top, right, bottom) in enumerate(boxes):
        points[i, 0, :, 4] = left, top, 0.9
        points[i, 0, :, 9] = right, bottom, 0.4
    return points


class Folder:
    """A dataset of one image with a man and a woman, whose meshes the test chooses."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, man: Array, woman: Array, **changes: Any) -> None:
        models = [smpl_arrays(man, 1), smpl_arrays(woman, 2)]
        for model, name in zip(models, FILES, strict=False):
            write_smpl(self.path / "models/smpl" / name, model)
        np.save(self.path / "models" / FILES[2], h36m_regressor(COUNT))
        with (self.path / "models" / FILES[3]).open("wb") as file:
            pickle.dump({"matrix": mapping().astype(np.float32)}, file, protocol=2)
        boxes = keypoints((100, 80, 220, 400), (400, 100, 600, 420))
        arguments = {"keypoints": boxes, "valid": np.ones((2, 1))} | changes
        write_sequence(self.path, "walk_00", models, "mf", TURN, **arguments)

    def evaluate(self, constant: Constant, *options: str) -> dict[str, Any]:
        command = ["evaluate", "--3dpw", str(self.path), *constant.options, *options]
        assert main([*command, "--output", str(self.path / "out")]) == 0
        report: dict[str, Any] = json.loads((self.path / "out/3dpw.json").read_text())
        return report


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def estimate(constant: Constant) -> Array:
    """(40, 3) m, what the network says, as SMPL's vertices."""
    return mapping() @ constant.vertices


def means(report: dict[str, Any]) -> dict[str, float]:
    return {name: values["mean"] for name, values in report["metrics"].items()}


# --- Known errors --------------------------------------------------------------------------------


def test_the_truth_has_no_error(folder: Folder, constant: Constant, estimate: Array) -> None:
    folder.write(estimate, estimate)
    report = folder.evaluate(constant)
    assert report["images"] == 1
    assert (report["people"], report["missed"], report["without_box"]) == (2, 0, 0)
    assert set(report["metrics"]) == {metric.name for metric in METRICS}
    found = means(report)
    for name in ("mpjpe", "pa_mpjpe", "pve"):
        assert found[name] == pytest.approx(0, abs=0.01), name
    # Two people beside each other are turned by some degrees.
    assert found["mpjpe_camera"] > 1
    assert found["pve_camera"] > 1


def test_one_joint_that_is_off(folder: Folder, constant: Constant, estimate: Array) -> None:
    """Of the man vertex 12, one of the 14 joints, is off by 14 cm, of the woman by 28 cm."""
    man, woman = estimate.copy(), estimate.copy()
    man[12] += (0, 0.14, 0)
    woman[12] += (0.28, 0, 0)
    folder.write(man, woman)
    report = folder.evaluate(constant)
    assert means(report)["mpjpe"] == pytest.approx((10 + 20) / 2, abs=0.01)
    assert means(report)["pve"] == pytest.approx((140 + 280) / 2 / COUNT, abs=0.01)


def test_errors_are_relative_to_the_pelvis(
    folder: Folder, constant: Constant, estimate: Array
) -> None:
    """The pelvis is the mean of vertices 17 and 18: all others are off if these two are."""
    other = estimate.copy()
    other[17:19] += (0, 0, 0.05)
    folder.write(other, other)
    report = folder.evaluate(constant)
    assert means(report)["mpjpe"] == pytest.approx(50, abs=0.01)
    assert means(report)["pve"] == pytest.approx(50 * (COUNT - 2) / COUNT, abs=0.01)


def test_alignment_removes_rotation_and_scale(
    folder: Folder, constant: Constant, estimate: Array
) -> None:
    other = 1.2 * Rotation.from_euler("z", 30, degrees=True).apply(estimate) + (1, 2, 3)
    folder.write(other, other)
    found = means(folder.evaluate(constant))
    assert found["pa_mpjpe"] == pytest.approx(0, abs=0.01)
    assert found["mpjpe"] > 50


def test_joints_only_needs_the_dataset_alone(
    folder: Folder, constant: Constant, estimate: Array
) -> None:
    """The dataset's joints are the estimated ones, but for an elbow that is off by 7 cm."""
    folder.write(estimate, estimate)
    joints = constant.joints[:24].copy()
    joints[18] += (0.07, 0, 0)
    in_world = TURN.inv().apply(joints)
    shift = (0.5, 0.6, 0.7)
    folder.write(estimate, estimate, jointPositions=[(in_world + shift).reshape(1, 72)] * 2)
    for name in FILES:
        for path in folder.path.rglob(name):
            path.unlink()
    report = folder.evaluate(constant, "--joints-only")
    assert set(report["metrics"]) == {"mpjpe_body", "pa_mpjpe_body", "mpjpe_body_camera"}
    assert means(report)["mpjpe_body"] == pytest.approx(70 / 14, abs=0.01)
    assert means(report)["pa_mpjpe_body"] > 1


def test_only_valid_people_with_keypoints_count(
    folder: Folder, constant: Constant, estimate: Array
) -> None:
    wrong = estimate + np.random.default_rng(0).standard_normal(estimate.shape)
    folder.write(estimate, wrong, valid=np.array([[1], [0]]))
    report = folder.evaluate(constant)
    assert report["people"] == 1
    assert means(report)["mpjpe"] == pytest.approx(0, abs=0.01)
    unseen = keypoints((100, 80, 220, 400), (400, 100, 600, 420))
    unseen[1, :, 2] = 0
    folder.write(estimate, wrong, keypoints=unseen)
    report = folder.evaluate(constant)
    assert (report["people"], report["without_box"]) == (1, 1)
    assert means(report)["mpjpe"] == pytest.approx(0, abs=0.01)


def test_every_nth_image(folder: Folder, constant: Constant, estimate: Array) -> None:
    boxes = np.repeat(keypoints((100, 80, 220, 400), (400, 100, 600, 420)), 5, axis=1)
    folder.write(estimate, estimate, keypoints=boxes, valid=np.ones((2, 5)))
    report = folder.evaluate(constant, "--every", "2")
    assert (report["images"], report["people"]) == (3, 6)


def test_judge_by_hand() -> None:
    """Human3.6M's joint 11, a shoulder, is off by 2.8 cm; SMPL's knee, joint 4, by 4.2 cm."""
    random = np.random.default_rng(3)
    vertices, joints = random.standard_normal((1, COUNT, 3)), random.standard_normal((1, 55, 3))
    true_vertices, true_joints = vertices.copy(), joints[:, :24].copy()
    true_vertices[0, 11] += (0, 0, 0.028)
    true_joints[0, 4] += (0, 0.042, 0)
    judge = Judge(h36m_regressor(COUNT), scipy.sparse.eye(COUNT).tocsr())
    errors = judge(joints, vertices, Truth(true_joints, true_vertices))
    assert errors["mpjpe"] == pytest.approx(28 / 14)
    assert errors["pve"] == pytest.approx(28 / COUNT)
    assert errors["mpjpe_body"] == pytest.approx(42 / 14)


def test_the_14_joints() -> None:
    assert [JOINT_NAMES[i] for i in BODY_J14[:8]] == [
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "neck",
        "head",
    ]  # fmt: skip
    assert len(set(BODY_J14)) == len(set(H36M_J14)) == 14
    assert max(BODY_J14) < 22
    assert not {0, 7, 9} & set(H36M_J14)  # pelvis, spine and nose


def test_boxes_are_around_the_seen_keypoints() -> None:
    points = keypoints((100, 80, 220, 400))[0, 0]
    np.testing.assert_allclose(keypoints_box(points), (88, 48, 232, 432))
    points[2, 4] = 0  # one keypoint is left
    assert keypoints_box(points) is None


# --- SMPL ----------------------------------------------------------------------------------------


def test_smpl_is_posed_as_its_paper_says(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    arrays = smpl_arrays(random.standard_normal((COUNT, 3)), 6)
    write_smpl(tmp_path / "SMPL_MALE.pkl", arrays)
    pose, betas = 0.5 * random.standard_normal((2, 72)), random.standard_normal((2, 10))
    joints, vertices = Smpl(tmp_path / "SMPL_MALE.pkl")(matrices_of(pose), betas)
    parents = arrays["kintree_table"][0].astype(np.int64)
    parents[0] = -1
    for i in range(2):
        rest = arrays["v_template"] + arrays["shapedirs"] @ betas[i]
        expected = reference_skin(
            rest,
            arrays["J_regressor"] @ rest,
            parents,
            Rotation.from_rotvec(pose[i].reshape(24, 3)).as_matrix(),
            arrays["weights"],
            arrays["posedirs"],
        )
        np.testing.assert_allclose(joints[i], expected.joints, atol=1e-5)
        np.testing.assert_allclose(vertices[i], expected.vertices, atol=1e-5)


# --- What is wrong with a folder -----------------------------------------------------------------


def failure(folder: Folder, constant: Constant, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of an evaluation that must fail."""
    assert main(["evaluate", "--3dpw", str(folder.path), *constant.options]) == 1
    return capsys.readouterr().err


def test_missing_files_are_named_with_their_sources(
    folder: Folder, constant: Constant, estimate: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(estimate, estimate)
    for name in (FILES[1], FILES[3]):
        next(folder.path.rglob(name)).unlink()
    message = failure(folder, constant, capsys)
    assert "lack 2 of 4 files" in message
    assert "SMPL_FEMALE.pkl or " in message
    assert "https://smpl.is.tue.mpg.de" in message
    assert "smplx_to_smpl.pkl or " in message
    assert "https://smpl-x.is.tue.mpg.de" in message
    assert "--joints-only" in message
    assert "J_regressor" not in message


def swap_smpl(folder: Folder) -> None:
    first, second = (next(folder.path.rglob(name)) for name in FILES[:2])
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def change_model(name: str, value: Any) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        path = next(folder.path.rglob(FILES[3]))
        path.write_bytes(pickle.dumps({name: value}, protocol=2))

    return change


def truncate(name: str) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        path = next(folder.path.rglob(name))
        path.write_bytes(path.read_bytes()[:-40])

    return change


def overwrite(name: str, content: bytes) -> Callable[[Folder], None]:
    return lambda folder: next(folder.path.rglob(name)).write_bytes(content) and None


# A pickle that would make a file if it were unpickled.
MALICIOUS = b"\x80\x02c__builtin__\nopen\nX\x06\x00\x00\x00pwned!X\x01\x00\x00\x00w\x86R."

WRONG = {
    "swapped models": (swap_smpl, "mm off the joints that 3DPW states"),
    "no image": (
        lambda folder: next(folder.path.rglob("image_00000.jpg")).unlink(),
        "image_00000.jpg: is missing or not a picture",
    ),
    "damaged image": (overwrite("image_00000.jpg", b"text"), "is missing or not a picture"),
    "malicious sequence": (overwrite("walk_00.pkl", MALICIOUS), "names __builtin__.open"),
    "malicious model": (overwrite("SMPL_MALE.pkl", MALICIOUS), "names __builtin__.open"),
    "malicious mapping": (overwrite("smplx_to_smpl.pkl", MALICIOUS), "names __builtin__.open"),
    "truncated sequence": (truncate("walk_00.pkl"), "is truncated or not a sequence of 3DPW"),
    "truncated regressor": (truncate("J_regressor_h36m.npy"), "is truncated"),
    "regressor of something else": (
        lambda folder: np.save(folder.path / "models/J_regressor_h36m.npy", np.eye(17, 9)),
        "not (17, 40)",
    ),
    "mapping of another name": (change_model("m", mapping()), "neither `matrix` nor `mtx`"),
    "mapping without a sum of 1": (change_model("matrix", 2 * mapping()), "do not sum to 1"),
    "mapping that is text": (change_model("matrix", "x"), "is not a matrix of numbers"),
    "mapping to another SMPL": (change_model("matrix", mapping()[:30]), "has 40 vertices"),
    "mapping from another SMPL-X": (
        change_model("matrix", mapping()[:, :140]),
        "the body model has 150 vertices, SMPL-X 140",
    ),
    "no sequence": (
        lambda folder: next(folder.path.rglob("walk_00.pkl")).unlink(),
        "has no sequenceFiles/test/*.pkl",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_folders(
    case: str,
    folder: Folder,
    constant: Constant,
    estimate: Array,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.path)
    folder.write(estimate, estimate + np.random.default_rng(0).standard_normal(estimate.shape))
    change, expected = WRONG[case]
    change(folder)
    assert expected in failure(folder, constant, capsys)
    assert not (folder.path / "pwned!").exists()


WRONG_SEQUENCES = {
    "cam_poses": (None, "has no cam_poses"),
    "cam_intrinsics": (np.zeros((3, 3)), "no calibration"),
    "genders": ([np.bytes_(b"x"), np.bytes_(b"m")], "genders has 'x'"),
    "poses": ([np.zeros((1, 72))], "poses has 1 people, genders 2"),
    "betas": ([np.zeros(3)] * 2, "betas has 3 values"),
    "jointPositions": ([np.full((1, 72), np.nan)] * 2, "not finite"),
    "poses2d": (None, "has no list poses2d"),
    "campose_valid": ([np.ones(7)] * 2, "campose_valid has shape (7,)"),
}


@pytest.mark.parametrize("name", WRONG_SEQUENCES)
def test_wrong_sequences(
    name: str,
    folder: Folder,
    constant: Constant,
    estimate: Array,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value, expected = WRONG_SEQUENCES[name]
    folder.write(estimate, estimate, **{name: value})
    message = failure(folder, constant, capsys)
    assert expected in message
    assert "walk_00.pkl" in message


def test_the_mapping_of_model_transfer_has_normals_too(
    folder: Folder, constant: Constant, estimate: Array
) -> None:
    folder.write(estimate, estimate)
    next(folder.path.rglob(FILES[3])).unlink()
    both = scipy.sparse.csc_matrix(np.hstack((mapping(), np.ones((COUNT, 150)))))
    path = folder.path / "models/smplx2smpl_deftrafo_setup.pkl"
    path.write_bytes(pickle.dumps({"mtx": both}, protocol=2))
    assert means(folder.evaluate(constant))["pve"] == pytest.approx(0, abs=0.01)


def test_a_sequence_as_it_is_read(folder: Folder, estimate: Array) -> None:
    folder.write(estimate, estimate)
    sequence = read_sequence(folder.path / "sequenceFiles/test/walk_00.pkl")
    assert sequence.name == "walk_00"
    assert [track.gender for track in sequence.tracks] == ["m", "f"]
    np.testing.assert_allclose(sequence.optical_from_world[0], TURN.as_matrix(), atol=1e-6)
    assert (sequence.camera.fx, sequence.camera.cy) == (600, 240)
