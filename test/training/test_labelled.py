"""Crops of labelled people: after cutting, turning and mirroring the labels fit the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_people import MARKS, PICTURE_PX, changed, pictures_of, rendered_labels, write_folder
from numpy.typing import NDArray
from torch import Tensor

from pear_ros.annotation.pseudo_labels import CROPS_FOLDER, Labels
from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.landmarks import LANDMARK, MIRRORED, Landmarks
from pear_ros.errors import LabelError
from pear_ros.geometry.crop_camera import CROP_FOCAL
from pear_ros.people import JOINT, ImageArray
from pear_ros.synthetic.scene import Cast
from training import labelled
from training.labelled import LabelledBatch, LabelledCrops, LabelledPairs
from training.losses import to_crop

COUNT = 6
DRAWN = 40
BLANK = np.zeros((PICTURE_PX, PICTURE_PX, 3), np.uint8)


@pytest.fixture(scope="module")
def landmarks(standin: BodyAssets) -> Landmarks:
    return Landmarks.of(standin)


@pytest.fixture(scope="module")
def cast(standin: BodyAssets) -> Cast:
    return Cast(standin)


@pytest.fixture(scope="module")
def labels(cast: Cast, landmarks: Landmarks) -> Labels:
    """Each person has another confidence, so that crops tell whom they show."""
    labels = rendered_labels(cast, landmarks, COUNT, seed=1)
    numbers = np.arange(1, COUNT + 1) / 10
    joints = labels.joint_confidence.copy()
    joints[:, JOINT["left_knee"]], joints[:, JOINT["right_knee"]] = 0.25, 0.75
    return changed(
        labels,
        confidence_body=numbers,
        confidence_left_hand=np.full(COUNT, 0.2),
        confidence_right_hand=np.full(COUNT, 0.4),
        joint_confidence=joints,
    )


@pytest.fixture(scope="module")
def folder(cast: Cast, labels: Labels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "out"
    return write_folder(path, labels, pictures_of(cast, labels))


class Drawn:
    """A batch without errors of the camera, and how its crops were cut."""

    def __init__(self, folder: Path, count: int = DRAWN, seed: int = 3) -> None:
        self.cuts: list[labelled._Cut] = []
        random_cut = labelled._random_cut

        def record(labels: Labels, i: int, random: np.random.Generator) -> labelled._Cut:
            self.cuts.append(random_cut(labels, i, random))
            return self.cuts[-1]

        def same(image: ImageArray, *_: object) -> ImageArray:
            return image

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(labelled, "_random_cut", record)
            monkeypatch.setattr(labelled, "with_camera_effects", same)
            self.batch: LabelledBatch = LabelledCrops(folder, seed).batch(count)
        self.is_mirrored = np.array([cut.is_mirrored for cut in self.cuts])
        self.rows = (self.batch.body_confidence * 10).round().long().numpy() - 1


@pytest.fixture(scope="module")
def drawn(folder: Path) -> Drawn:
    return Drawn(folder)


def discs(crop: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.float64] | None:
    """Where the middle of a disc is in the whole crop, px; None unless all of it is visible."""
    near = (np.abs(crop.astype(int) - color) < 60).all(-1)
    rows, columns = np.nonzero(near)
    if len(rows) < 40 or np.ptp(rows) > 40 or np.ptp(columns) > 40:
        return None
    low, high = (rows.min(), columns.min()), (rows.max(), columns.max())
    round_enough = 0.85 < (high[0] - low[0] + 1) / (high[1] - low[1] + 1) < 1.18
    inside = min(low) > 0 and high[0] < 255 and high[1] < 191
    return np.array((columns.mean() + 32, rows.mean())) if inside and round_enough else None


def test_cuts_are_varied(drawn: Drawn) -> None:
    assert set(drawn.rows) == set(range(COUNT))
    assert 10 < drawn.is_mirrored.sum() < 30
    turns = np.degrees([cut.turn_rad for cut in drawn.cuts])
    assert (turns == 0).any()
    assert np.abs(turns).max() > 8
    zooms = [256 / cut.square[2] for cut in drawn.cuts]
    assert max(zooms) / min(zooms) > 1.5
    for cut in drawn.cuts:  # the square's middle is in the middle of the crop
        middle = cut.crop_from_picture @ np.append(cut.square[:2] + cut.square[2:] / 2, 1)
        np.testing.assert_allclose(middle, 128, atol=0.01)
    heights = [np.ptp(cut.box_xyxy[1::2]) for cut in drawn.cuts]
    assert min(heights) < 0.6 * max(heights)


def test_landmarks_fall_on_what_is_marked(drawn: Drawn) -> None:
    """Discs of known colours; of a mirrored person, the left wrist is the right one's image."""
    found = dict.fromkeys(MARKS, 0)
    for i, crop in enumerate(drawn.batch.crops.numpy()):
        for name, color in MARKS.items():
            place = discs(crop, color)
            if place is None:
                continue
            point = MIRRORED[LANDMARK[name]] if drawn.is_mirrored[i] else LANDMARK[name]
            expected = 128 * (1 + drawn.batch.landmarks_uv[i, point].numpy())
            assert np.abs(place - expected).max() < 1.2, (i, name)
            found[name] += 1
    assert min(found.values()) > 5
    assert sum(found.values()) > 80


def landmarks_of(
    standin: BodyAssets, landmarks: Landmarks, batch: LabelledBatch
) -> tuple[Tensor, Tensor]:
    """The landmarks (N, 133, 3) and joints (N, 55, 3) of the labelled bodies, m."""
    bodies = BodyModel(standin, vertex_ids=landmarks.vertex_ids)(batch.parameters, mesh=True)
    assert bodies.vertices is not None
    return landmarks(bodies.joints, bodies.vertices), bodies.joints


def test_parameters_joints_and_landmarks_agree(
    standin: BodyAssets, landmarks: Landmarks, drawn: Drawn
) -> None:
    """Projected by the crop camera that fits best, also in mirrored crops."""
    batch = drawn.batch
    with torch.no_grad():
        points, joints = landmarks_of(standin, landmarks, batch)
    error_m = ((joints - joints[:, :1]) - batch.joints).norm(dim=-1)
    mirrored = torch.from_numpy(drawn.is_mirrored)
    assert error_m[~mirrored].max() < 1e-4
    assert error_m[mirrored].max() < 0.005  # the body is nearly symmetric

    known = torch.from_numpy(landmarks.available)
    truth = batch.landmarks_uv[:, known]

    def least_error(points: Tensor) -> Tensor:
        """(N,) mean distance from the labels, half crops, with the camera that fits best."""
        zero, focal = torch.zeros_like(truth), torch.full_like(truth, CROP_FOCAL)
        # u (z + tz) = f (x - tx), and v likewise: linear in the camera
        across = torch.stack((focal[..., 0], zero[..., 0], truth[..., 0]), -1)
        down = torch.stack((zero[..., 0], focal[..., 0], truth[..., 1]), -1)
        right = CROP_FOCAL * points[..., :2] - truth * points[..., 2:]  # (N, P, 2)
        camera_t = torch.linalg.lstsq(
            torch.cat((across, down), 1), right.mT.flatten(1)[..., None]
        ).solution[..., 0]
        return (to_crop(points, camera_t) - truth).norm(dim=-1).mean(1)

    # Measured: 0.007 of half a crop at most; the lens has a little perspective.
    right = least_error(points[:, known])
    assert right.max() < 0.012
    angle = torch.tensor(np.radians(8), dtype=torch.float32)
    turn = torch.tensor(((angle.cos(), 0, angle.sin()), (0, 1, 0), (-angle.sin(), 0, angle.cos())))
    for name, other in (("left", points @ turn), ("right", points @ turn.mT)):
        assert (least_error(other[:, known]) > 1.5 * right).float().mean() > 0.9, name
    wrong = {
        "not mirrored": points * torch.tensor((-1.0, 1, 1)),
        "sides swapped": points[:, torch.from_numpy(MIRRORED)],
    }
    for name, other in wrong.items():
        assert least_error(other[:, known]).median() > 0.05, name


def test_confidences_change_sides_with_the_picture(drawn: Drawn) -> None:
    batch, is_mirrored = drawn.batch, torch.from_numpy(drawn.is_mirrored)
    for mirrored, hands in ((False, (0.2, 0.4)), (True, (0.4, 0.2))):
        rows = is_mirrored == mirrored
        torch.testing.assert_close(
            batch.hand_confidence[rows], torch.tensor(hands).expand(int(rows.sum()), 2)
        )
        knees = batch.joint_confidence[rows][:, [JOINT["left_knee"], JOINT["right_knee"]]]
        expected = (0.75, 0.25) if mirrored else (0.25, 0.75)
        torch.testing.assert_close(knees, torch.tensor(expected).expand_as(knees))
    assert (batch.face_confidence[~is_mirrored] == 1).all()
    assert (batch.face_confidence[is_mirrored] == 0).all()  # expressions are not mirrored


def test_crops_are_black_beyond_the_borders(labels: Labels, tmp_path: Path) -> None:
    """And white where the picture is; the tokens that count are those in the box."""
    boxes = np.tile(np.array((150.0, 90, 290, 380)), (COUNT, 1))
    borders = labels.picture_xyxy.copy()
    borders[:, 2] = 260  # the right side of the box is beyond the image
    pictures = []
    for _ in range(COUNT):
        picture = np.full_like(BLANK, 255)
        picture[90:381, 150:291] = (255, 0, 0)
        pictures.append(picture)
    folder = write_folder(
        tmp_path / "out", changed(labels, box=boxes, picture_xyxy=borders), pictures
    )
    drawn = Drawn(folder)
    sure = 0
    for i, crop in enumerate(drawn.batch.crops.numpy().astype(int)):
        cut = drawn.cuts[i]
        assert cut.borders_xyxy[2] <= 260
        row, column = np.mgrid[8:256:16, 8:192:16]  # the tokens' middles
        around = np.stack([crop[row + a, column + b] for a in (-3, 2) for b in (-3, 2)])
        is_red = (around[..., 0] > 200) & (around[..., 1] < 60)
        is_bright, is_black = around[..., 1] > 200, around.max(-1) < 40
        near = drawn.batch.is_near[i].numpy().reshape(16, 12)
        assert near[is_red.all(0)].all()
        assert not near[is_bright.all(0)].any()
        assert not near[is_black.all(0)].any()
        sure += int(is_red.all(0).sum())
        linear, offset = cut.crop_from_picture[:, :2], cut.crop_from_picture[:, 2]
        beyond = linear @ np.array((265, 200)) + offset - (32, 0)  # 5 px right of the border
        u, v = beyond.round().astype(int)
        if 0 <= u < 192 and 0 <= v < 256:
            assert crop[v, u].max() < 40
    assert sure > 20 * DRAWN


def test_clips_count_equally(
    labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blank(*_: object) -> ImageArray:
        return np.zeros((256, 192, 3), np.uint8)

    monkeypatch.setattr(labelled, "_cut_crop", blank)
    clips = changed(labels, source_input=np.array(["a", *["b"] * (COUNT - 1)]))
    folder = write_folder(tmp_path / "out", clips, [BLANK] * COUNT)
    batch = LabelledCrops(folder, seed=0).batch(600)
    assert 0.43 < float((batch.body_confidence < 0.15).float().mean()) < 0.57


def test_rejected_people_are_not_used(
    labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_accepted = np.arange(COUNT) % 2 == 0
    some = changed(labels, is_accepted=is_accepted)
    crops = LabelledCrops(write_folder(tmp_path / "out", some, [BLANK] * COUNT), seed=0)
    assert len(crops) == is_accepted.sum()
    used = (crops.batch(60).body_confidence * 10).round().long() - 1
    assert set(used.tolist()) == set(np.flatnonzero(is_accepted).tolist())


def test_the_same_seed_draws_the_same_crops(folder: Path) -> None:
    crops = LabelledCrops(folder, seed=3)
    first = crops.batch(4)
    crops.restart(3)
    again = crops.batch(4)
    for batch in (again, LabelledCrops(folder, seed=3).batch(4)):
        torch.testing.assert_close(batch.crops, first.crops, rtol=0, atol=0)
        torch.testing.assert_close(batch.landmarks_uv, first.landmarks_uv, rtol=0, atol=0)
    assert not torch.equal(crops.batch(4).landmarks_uv, first.landmarks_uv)
    assert not torch.equal(LabelledCrops(folder, seed=4).batch(4).crops, first.crops)


def test_folders_that_cannot_be_used(labels: Labels, tmp_path: Path) -> None:
    nobody = changed(labels, is_accepted=np.zeros(COUNT, bool))
    folder = write_folder(tmp_path / "nobody", nobody, [BLANK] * COUNT)
    with pytest.raises(LabelError, match="none of its 6 labels is accepted: annotate other"):
        LabelledCrops(folder, seed=0)
    with pytest.raises(LabelError, match="does not exist"):
        LabelledCrops(tmp_path / "elsewhere", seed=0)
    folder = write_folder(tmp_path / "damaged", labels, [BLANK] * COUNT)
    picture = folder / CROPS_FOLDER / str(labels.file[2])
    for content in (b"", b"no picture"):
        picture.write_bytes(content)
        with pytest.raises(LabelError, match=f"{picture.name} is not a picture"):
            LabelledCrops(folder, seed=0)
    picture.unlink()
    with pytest.raises(LabelError, match=f"names the picture {picture.name}"):
        LabelledCrops(folder, seed=0)


# --- Pairs of frames ------------------------------------------------------------------------------

CLIPS = {  # rows: video, person, frame
    0: ("a", "p1", 0),
    1: ("a", "p1", 3),
    2: ("a", "p1", 33),
    3: ("a", "p2", 10),
    4: ("b", "p1", 10),
    5: ("a", "p1", 35),
}
PAIRS = {(0, 1), (1, 2)}  # others have other people, videos, or are too near or too far


@pytest.fixture(scope="module")
def clips(labels: Labels) -> Labels:
    inputs, people, frames = (np.array(values) for values in zip(*CLIPS.values(), strict=True))
    return changed(labels, source_input=inputs, source_person=people, source_frame=frames)


@pytest.fixture(scope="module")
def clips_folder(cast: Cast, clips: Labels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "out"
    return write_folder(path, clips, pictures_of(cast, clips))


def drawn_rows(pairs: LabelledPairs, count: int) -> list[tuple[int, int]]:
    """The rows of the labels that a batch shows: no two boxes are equal."""
    batch = pairs.batch(count)
    squares = np.stack([labelled._square(box.astype(float)) for box in pairs._labels.box])
    distance = np.abs(batch.cameras.squares.numpy()[:, None] - squares).max(-1)
    assert (distance.min(1) < 1e-3).all()
    first, second = distance.argmin(1).reshape(2, count).tolist()
    return list(zip(first, second, strict=True))


def test_pairs_show_one_person_a_moment_later(clips_folder: Path) -> None:
    assert set(drawn_rows(LabelledPairs(clips_folder, seed=1), 60)) == PAIRS


def test_pairs_are_cut_as_the_node_cuts_them(
    standin: BodyAssets, landmarks: Landmarks, clips: Labels, clips_folder: Path
) -> None:
    """Neither turned nor mirrored: landmarks, projected by the true cameras, are on their discs."""
    pairs = LabelledPairs(clips_folder, seed=1)
    batch = pairs.batch(12)
    rows = np.array(drawn_rows(LabelledPairs(clips_folder, seed=1), 12)).T.flatten()
    assert batch.masks is None
    assert batch.known.all()
    bodies = BodyModel(standin, vertex_ids=landmarks.vertex_ids)(
        clips.rows(rows).parameters, mesh=True
    )
    assert bodies.vertices is not None
    points = landmarks(bodies.joints, bodies.vertices)
    placed = points + torch.from_numpy(clips.translation[rows])[:, None]
    uv = batch.cameras.project(placed).numpy()
    keypoints = clips.keypoints[rows][..., :2]
    squares = batch.cameras.squares.numpy()[:, None]
    in_crop = (keypoints - squares[..., :2]) * 256 / squares[..., 2:]
    known = landmarks.available
    np.testing.assert_allclose(uv[:, known], in_crop[:, known], atol=0.1)
    found = 0
    for i, crop in enumerate(batch.crops.numpy()):
        for name, color in MARKS.items():
            place = discs(crop, color)
            if place is not None:
                assert np.abs(place - uv[i, LANDMARK[name]]).max() < 1.2, (i, name)
                found += 1
        u, v = (uv[i, LANDMARK["nose"]] // 16).astype(int)
        assert batch.is_near[i].reshape(16, 12)[v, u - 2]
    assert found > 30
    assert not batch.is_near.all(1).any()


def test_pairs_do_not_know_what_is_outside_of_the_image(clips: Labels, tmp_path: Path) -> None:
    borders = clips.picture_xyxy.copy()
    borders[:, 0] = (clips.box[:, 0] + clips.box[:, 2]) / 2  # half of each person
    white = [np.full_like(BLANK, 255)] * COUNT
    folder = write_folder(tmp_path / "out", changed(clips, picture_xyxy=borders), white)
    batch = LabelledPairs(folder, seed=0).batch(4)
    assert (batch.crops[batch.known] > 250).all()
    assert (batch.crops[~batch.known] == 0).all()
    assert not batch.known[:, :, :94].any()
    assert batch.known[:, :, 98:].all()


def test_the_same_seed_draws_the_same_pairs(clips_folder: Path) -> None:
    pairs = LabelledPairs(clips_folder, seed=3)
    first = pairs.batch(8)
    pairs.restart(3)
    assert torch.equal(pairs.batch(8).crops, first.crops)
    assert not torch.equal(pairs.batch(8).crops, first.crops)


def test_folders_without_pairs(folder: Path, clips: Labels, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="nobody is in two frames; annotate videos for --clips"):
        LabelledPairs(folder, seed=0)  # everybody is of another video
    names = np.array([f"p{i}" for i in range(COUNT)])
    single = changed(clips, source_input=np.array(["pictures"] * COUNT), source_person=names)
    pictures = write_folder(tmp_path / "pictures", single, [BLANK] * COUNT)
    with pytest.raises(LabelError, match="nobody is in two frames"):
        LabelledPairs(pictures, seed=0)
    damaged = write_folder(tmp_path / "damaged", clips, [BLANK] * COUNT)
    (damaged / CROPS_FOLDER / str(clips.file[2])).write_bytes(b"no picture")
    with pytest.raises(LabelError, match="is not a picture"):
        LabelledPairs(damaged, seed=0)
