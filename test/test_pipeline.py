"""The step from frames to people, with a fake network and the real body model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from devices import NO_CUDA
from samples import DATA, project_to_crop, random_parameters, replaced
from torch import Tensor, nn

from pear_ros.body.body_model import BodyModel
from pear_ros.config import Config
from pear_ros.detection.detector import given_boxes
from pear_ros.errors import AssetError, CheckpointError, SettingError
from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.crop_camera import camera_from_crop, rotated
from pear_ros.images.crop import cut_crop
from pear_ros.people import (
    Boxes,
    Camera,
    EhmParameters,
    FloatArray,
    Frame,
    People,
    map_tensors,
)
from pear_ros.pipeline import Pipeline, load_pipeline
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.problems import Problems
from pear_ros.tracking.contacts import BALL

NAN, INF = float("nan"), float("inf")
CAMERA = Camera(600, 600, 320, 240)
PEOPLE = random_parameters(8, seed=2)
# The joints of random people are turned in impossible ways.
CONFIG = Config.of(
    {
        "detection.min_plausibility": 0.0,
        "tracking.confirm_score": 0.0,
        "tracking.predict_s": 0.0,
        "tracking.timeout_s": 1.0,
    }
)


class FakeNetwork(nn.Module):
    """Returns the first N of some people; `seen` are the crops of the last call."""

    device = torch.device("cpu")
    description = "fake"

    def __init__(self, people: EhmParameters = PEOPLE) -> None:
        super().__init__()
        self.people = people
        self.seen = torch.zeros(0)

    def forward(self, crops: Tensor) -> EhmParameters:
        assert crops.dtype == torch.uint8
        self.seen = crops
        return map_tensors(self.people, lambda rows: rows[: len(crops)])


@dataclasses.dataclass
class Setup:
    pipeline: Pipeline
    network: FakeNetwork
    body_model: BodyModel
    problems: Problems
    messages: list[str]


@pytest.fixture
def setup(small_body_model: BodyModel) -> Setup:
    messages: list[str] = []
    problems = Problems(messages.append)
    network = FakeNetwork()
    pipeline = Pipeline(network, small_body_model, given_boxes, CONFIG, problems)
    return Setup(pipeline, network, small_body_model, problems, messages)


IMAGE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
SPOTS = [(10, 10, 110, 310), (200, 20, 320, 400), (400, 30, 500, 200), (500, 200, 620, 460)]


def boxes(*xyxy: Sequence[float], scores: Sequence[float] | None = None) -> Boxes:
    found = np.array(xyxy, np.float32).reshape(-1, 4)
    return Boxes(found, np.array(scores or [1.0] * len(found), np.float32))


def frame(found: Boxes, source: str = "", stamp_s: float = 0.0, camera: Camera = CAMERA) -> Frame:
    return Frame(IMAGE, camera, stamp_s, source, found)


def step(setup: Setup, found: Boxes, mesh: bool = False) -> People:
    (people,) = setup.pipeline.step([frame(found)], mesh)
    return people


def in_cameras_axes(
    predicted: EhmParameters, squares: FloatArray, camera: Camera = CAMERA
) -> EhmParameters:
    intrinsics = intrinsics_of([camera] * len(squares))
    return rotated(predicted, camera_from_crop(torch.from_numpy(squares), intrinsics))


# --- A step --------------------------------------------------------------------------------------

COUNTS = {
    "no frame": [],
    "nobody": [0],
    "one": [1],
    "three": [3],
    "several cameras": [2, 0, 1],
    "nobody anywhere": [0, 0],
}


@pytest.mark.parametrize("mesh", [True, False], ids=["mesh", "joints"])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_people_of_each_frame(setup: Setup, counts: list[int], mesh: bool) -> None:
    cameras = [Camera(600 + 100 * i, 600, 320, 240, i % 2 == 0) for i in range(len(counts))]
    frames = [
        frame(boxes(*SPOTS[:count]), f"cam{i}", camera=cameras[i]) for i, count in enumerate(counts)
    ]
    everyone = setup.pipeline.step(frames, mesh)
    assert len(everyone) == len(counts)
    assert setup.network.seen.shape == (sum(counts), 256, 256, 3)
    first = 0
    for i, (people, count) in enumerate(zip(everyone, counts, strict=True)):
        rows = slice(first, first + count)
        first += count
        predicted = map_tensors(PEOPLE, lambda tensor, rows=rows: tensor[rows])
        assert people.ids == tuple(f"cam{i}_p{k + 1:04d}" for k in range(count))
        assert len(people) == count
        assert people.is_metric is cameras[i].is_metric
        np.testing.assert_array_equal(people.boxes.xyxy, boxes(*SPOTS[:count]).xyxy)
        squares = square_boxes(people.boxes.xyxy, 640, 480)
        np.testing.assert_array_equal(people.crop_xywh, squares)
        for crop, square in zip(setup.network.seen[rows].numpy(), squares, strict=True):
            np.testing.assert_array_equal(crop, cut_crop(IMAGE, square))
        expected = in_cameras_axes(predicted, squares, cameras[i])
        for name in (f.name for f in dataclasses.fields(EhmParameters)):
            torch.testing.assert_close(
                getattr(people.parameters, name), getattr(expected, name), rtol=0, atol=2e-6
            )
        bodies = setup.body_model(expected, mesh=True)
        translation = place_in_camera(
            bodies.joints,
            predicted.camera_t,
            torch.from_numpy(squares),
            intrinsics_of([cameras[i]] * count),
        )
        np.testing.assert_allclose(people.translation, translation, rtol=0, atol=1e-5)
        np.testing.assert_allclose(people.joints, bodies.joints, rtol=0, atol=1e-6)
        np.testing.assert_allclose(people.rotations, bodies.rotations, rtol=0, atol=1e-6)
        if mesh:
            assert people.vertices is not None
            np.testing.assert_allclose(people.vertices, bodies.vertices, rtol=0, atol=1e-6)
        else:
            assert people.vertices is None
    assert setup.problems.counts() == {}


def test_results_need_no_gradients(setup: Setup) -> None:
    people = step(setup, boxes(*SPOTS[:2]), mesh=True)
    assert not people.parameters.betas.requires_grad
    assert people.joints.dtype == people.translation.dtype == np.float32


def test_people_are_projected_to_where_the_crop_shows_them(setup: Setup) -> None:
    """At 8 m, where perspective moves the joints of this 3 m deep body by only a few pixels."""
    setup.network.people = dataclasses.replace(
        PEOPLE, camera_t=torch.tensor((0.1, -0.2, 60)).repeat(8, 1)
    )
    people = step(setup, boxes(*SPOTS))
    assert people.translation[:, 2].min() > 5
    bodies = setup.body_model(map_tensors(PEOPLE, lambda rows: rows[:4]))
    camera_t = people.parameters.camera_t.numpy()
    side = people.crop_xywh[:, None, 2:]
    seen = project_to_crop(bodies.joints.numpy(), camera_t, 1) * side
    seen += people.crop_xywh[:, None, :2]  # (4, 55, 2) px
    found = project(people.joints + people.translation[:, None], CAMERA)
    spread = seen.std(1).max(-1)
    assert (np.linalg.norm(found - seen, axis=-1).mean(1) < 0.15 * spread).all()


# --- People who are left out ---------------------------------------------------------------------

BAD_BOXES = {
    "outside": (700, 10, 800, 300),
    "empty": (10, 10, 10, 300),
    "inverted": (300, 300, 10, 10),
    "NaN": (10, NAN, 100, 300),
    "infinite": (10, 10, INF, 300),
}


@pytest.mark.parametrize("bad", BAD_BOXES.values(), ids=BAD_BOXES)
def test_bad_boxes_are_counted(setup: Setup, bad: Sequence[float]) -> None:
    people = step(setup, boxes(bad, SPOTS[1], bad))
    assert people.ids == ("p0001",)
    np.testing.assert_array_equal(people.boxes.xyxy, [SPOTS[1]])
    assert setup.problems.counts() == {"bad_boxes": 2}
    assert "640x480 image" in setup.messages[0]
    assert len(setup.network.seen) == 1


@pytest.mark.parametrize("score", [NAN, INF, 90.0, -0.1])
def test_scores_that_are_not_within_0_and_1(setup: Setup, score: float) -> None:
    people = step(setup, boxes(*SPOTS[:2], scores=[score, 0.9]))
    np.testing.assert_array_equal(people.boxes.xyxy, [SPOTS[1]])
    assert setup.problems.counts() == {"bad_boxes": 1}


# Scores, max_people, the rows that are kept (min_score is 0.5).
SELECTED = {
    "low scores": ([0.4, 0.9, 0.1, 0.5], 16, [1, 3]),
    "all low": ([0.1, 0.2, 0.3, 0.4], 16, []),
    "the best, in the order of the boxes": ([0.8, 0.6, 0.9, 0.7], 2, [0, 2]),
    "first of equals": ([0.7, 0.7, 0.7, 0.7], 3, [0, 1, 2]),
    "one": ([0.6, 0.7, 0.9, 0.8], 1, [2]),
}


@pytest.mark.parametrize(("scores", "most", "rows"), SELECTED.values(), ids=SELECTED)
def test_selection(setup: Setup, scores: list[float], most: int, rows: list[int]) -> None:
    setup.pipeline.config = CONFIG.replaced(
        {"detection.min_score": 0.5, "detection.max_people": most}
    )
    people = step(setup, boxes(*SPOTS, scores=scores))
    np.testing.assert_array_equal(people.boxes.xyxy, boxes(*(SPOTS[i] for i in rows)).xyxy)
    np.testing.assert_array_equal(people.boxes.scores, np.array(scores, np.float32)[rows])
    over = sum(score >= 0.5 for score in scores) - most
    assert setup.problems.counts() == ({"people_over_limit": over} if over > 0 else {})


LOST = {
    "tz negative": ({"camera_t": (0.1, 0.2, -5)}, "not_placeable"),
    "tz zero": ({"camera_t": (0.1, 0.2, 0)}, "not_placeable"),
    "tz NaN": ({"camera_t": (0.1, 0.2, NAN)}, "network_not_finite"),
    "tx infinite": ({"camera_t": (INF, 0.2, 5)}, "network_not_finite"),
    "betas NaN": ({"betas": NAN}, "network_not_finite"),
    "a hand infinite": ({"left_hand_pose": INF}, "network_not_finite"),
    "body pose of zeros": ({"body_pose": 0}, "network_not_finite"),
    "head scale NaN, and behind": (
        {"head_scale": NAN, "camera_t": (0, 0, -5)},
        "network_not_finite",
    ),
}


@pytest.mark.parametrize(("values", "kind"), LOST.values(), ids=LOST)
@pytest.mark.parametrize("row", [0, 1, 2], ids=["first", "second", "third"])
def test_lost_people_are_counted(setup: Setup, values: dict, kind: str, row: int) -> None:
    setup.network.people = replaced(PEOPLE, row, **values)
    people = step(setup, boxes(*SPOTS[:3]), mesh=True)
    kept = [i for i in range(3) if i != row]
    assert people.ids == ("p0001", "p0002")
    np.testing.assert_array_equal(people.boxes.xyxy, boxes(*(SPOTS[i] for i in kept)).xyxy)
    assert torch.equal(people.parameters.betas, PEOPLE.betas[kept])
    expected = map_tensors(PEOPLE, lambda rows: rows[kept])
    bodies = setup.body_model(in_cameras_axes(expected, people.crop_xywh), mesh=True)
    np.testing.assert_allclose(people.vertices, bodies.vertices, rtol=0, atol=1e-6)
    np.testing.assert_allclose(people.joints, bodies.joints, rtol=0, atol=1e-6)
    assert len(people.translation) == len(people.crop_xywh) == len(people.rotations) == 2
    assert setup.problems.counts() == {kind: 1}


def test_lost_people_are_counted_in_their_frame(setup: Setup) -> None:
    changed = replaced(PEOPLE, 0, camera_t=(0, 0, -1))
    setup.network.people = replaced(changed, 3, betas=NAN)
    left, right = setup.pipeline.step(
        [frame(boxes(*SPOTS[:2]), "left"), frame(boxes(*SPOTS[:3]), "right")]
    )
    assert left.ids == ("left_p0001",)
    assert right.ids == ("right_p0001", "right_p0002")
    assert setup.problems.counts() == {"not_placeable": 1, "network_not_finite": 1}
    assert [message.startswith("left: ") for message in setup.messages] == [True, False]


def test_each_lost_person_is_counted_once(setup: Setup) -> None:
    changed = replaced(PEOPLE, 0, camera_t=(0, 0, -1))
    setup.network.people = replaced(changed, 1, camera_t=(NAN, 0, -1))
    assert step(setup, boxes(*SPOTS[:3])).ids == ("p0001",)
    assert setup.problems.counts() == {"not_placeable": 1, "network_not_finite": 1}


def test_a_person_who_is_estimated_again_keeps_its_id(setup: Setup) -> None:
    step(setup, boxes(SPOTS[0]))
    setup.network.people = replaced(PEOPLE, 0, betas=NAN)
    assert step(setup, boxes(SPOTS[0])).ids == ()
    setup.network.people = PEOPLE
    assert step(setup, boxes(SPOTS[0])).ids == ("p0001",)


# --- Sequences of images -------------------------------------------------------------------------


def test_each_camera_has_ids_of_its_own(setup: Setup) -> None:
    """Everybody looks the same, so the places tell who is who."""
    setup.network.people = map_tensors(PEOPLE, lambda rows: rows[:1].expand_as(rows))
    pipeline = setup.pipeline

    def ids(stamp_s: float, left: Boxes, right: Boxes) -> list[tuple[str, ...]]:
        frames = [frame(left, "left", stamp_s), frame(right, "right", stamp_s)]
        return [people.ids for people in pipeline.step(frames)]

    one, two = boxes(SPOTS[0]), boxes(SPOTS[1], SPOTS[0])
    assert ids(0.0, one, two) == [("left_p0001",), ("right_p0001", "right_p0002")]
    assert ids(0.1, two, one) == [("left_p0002", "left_p0001"), ("right_p0002",)]
    pipeline.forget("left")
    assert ids(0.0, one, one) == [("left_p0003",), ("right_p0002",)]
    assert ids(9.0, one, one) == [("left_p0004",), ("right_p0003",)]  # tracking.timeout_s is 1


def test_motion_of_people(setup: Setup) -> None:
    """Of who stands still; a person seen once is at rest."""
    found = boxes((100, 100, 300, 400))
    for stamp_s in (0.0, 0.1, 0.2):
        (people,) = setup.pipeline.step([frame(found, stamp_s=stamp_s)])
        np.testing.assert_allclose(people.velocity, np.zeros((1, 3)), atol=1e-4)
        np.testing.assert_allclose(people.joint_velocity, np.zeros((1, 55, 3)), atol=1e-4)
        assert people.contact.shape == (1, 2)
        assert ((people.contact >= 0) & (people.contact <= 1)).all()


@pytest.mark.parametrize("is_locked", [True, False])
def test_foot_locking(setup: Setup, is_locked: bool) -> None:
    """A person whose box drifts a little keeps the foot that stands where it is."""
    config = setup.pipeline.config
    placement = dataclasses.replace(config.placement, foot_locking=is_locked)
    setup.pipeline.config = dataclasses.replace(config, placement=placement)
    feet = []
    for i in range(20):
        moved = boxes(np.array((100, 100, 300, 400)) + 2 * i)
        (people,) = setup.pipeline.step([frame(moved, stamp_s=i / 10)])
        feet.append(people.joints[0, BALL] + people.translation[0])
        posed = setup.pipeline.body_model(people.parameters)  # with the legs that were bent
        np.testing.assert_allclose(people.joints, posed.joints, atol=1e-5)
    assert (people.contact[0] > 0.5).any()
    slide = np.abs(np.diff(feet, axis=0))[5:, :, 0].max(0).min()  # along x, of the steadier foot
    assert (slide < 0.001) == is_locked


def test_forgetting_an_unknown_camera(setup: Setup) -> None:
    setup.pipeline.forget("left")
    assert step(setup, boxes(SPOTS[0])).ids == ("p0001",)


def test_pictures_of_their_own_are_forgotten(setup: Setup) -> None:
    """Who is in them is unsure, but nobody will see them again."""
    setup.pipeline.config = CONFIG.replaced({"tracking.confirm_score": 5.0})
    for i in range(3):
        still = dataclasses.replace(frame(boxes(SPOTS[0]), f"i{i}"), is_still=True)
        (people,) = setup.pipeline.step([still])
        assert people.ids == (f"i{i}_p0001",)
    assert setup.pipeline._followers == {}


# --- Loading -------------------------------------------------------------------------------------


def test_loaded_pipeline(config: Config) -> None:
    problems = Problems(pytest.fail)
    pipeline = load_pipeline(config, problems)
    (people,) = pipeline.step([frame(boxes())], mesh=True)
    assert people.ids == ("p0001",)  # full_frame
    assert people.vertices is not None
    assert people.vertices.shape == (1, 150, 3)
    assert people.parameters.camera_t[0].tolist() == pytest.approx([0, 0, 16])
    assert "backbone in float32 on cpu" in pipeline.description


BROKEN = {
    "no checkpoint": ({"network.checkpoint": ""}, SettingError, "checkpoint is not set"),
    "no assets": ({"body.assets": ""}, SettingError, "assets is not set"),
    "missing checkpoint": (
        {"network.checkpoint": "/no/c.pt"},
        CheckpointError,
        "no checkpoint at /no",
    ),
    "missing assets": ({"body.assets": "/no/a.npz"}, AssetError, "/no/a.npz"),
    "missing sizes": ({"network.config": "/no/c.json"}, CheckpointError, "/no/c.json"),
    "published sizes": ({"network.config": ""}, CheckpointError, "does not fit the network"),
    "device": ({"network.device": "tpu9"}, SettingError, "device 'tpu9' cannot be used"),
}


@pytest.mark.parametrize(("changes", "error", "message"), BROKEN.values(), ids=BROKEN)
def test_files_and_devices_that_cannot_be_used(
    config: Config, changes: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_pipeline(config.replaced(changes), Problems(pytest.fail))


@NO_CUDA
@pytest.mark.parametrize("mesh", [False, True], ids=["joints", "mesh"])
def test_a_gpu_agrees_with_the_cpu(
    front_checkpoint: Path, small_assets_path: Path, mesh: bool
) -> None:
    """Two cameras, loaded from files; float32 on the CPU, float16 on the GPU."""
    config = Config.of(
        {
            "network.checkpoint": str(front_checkpoint),
            "network.config": str(DATA / "network_tiny.json"),
            "body.assets": str(small_assets_path),
            "detection.detector": "topic",
            "camera.names": ("front", "rear"),
        }
    )
    frames = [
        Frame(IMAGE, CAMERA, 0.0, "front", boxes(*SPOTS[:3])),
        Frame(IMAGE[:, ::-1], CAMERA, 0.0, "rear", boxes(*SPOTS[2:])),
    ]
    found, expected = (
        load_pipeline(config.replaced(where), Problems(pytest.fail)).step(frames, mesh)
        for where in (
            {"network.device": "cuda"},
            {"network.device": "cpu", "network.dtype": "float32"},
        )
    )
    for a, b in zip(found, expected, strict=True):
        assert a.ids == b.ids
        np.testing.assert_allclose(a.joints, b.joints, rtol=0, atol=0.03)
        np.testing.assert_allclose(a.translation, b.translation, rtol=0.03, atol=0.03)
        assert (a.vertices is None) == (b.vertices is None) == (not mesh)
