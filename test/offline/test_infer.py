"""Inference on image and video files, with the tiny network."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pictures import png
from PIL import Image

from pear_ros.config import Config
from pear_ros.errors import PearError
from pear_ros.geometry.boxes import square_boxes
from pear_ros.geometry.camera import assumed_camera, intrinsics_of
from pear_ros.offline.image_files import list_inputs, read_images
from pear_ros.offline.infer import InferOptions, infer
from pear_ros.offline.people_file import PeopleWriter
from pear_ros.people import Camera
from pear_ros.placement.reprojection import place_in_camera

HEIGHT, WIDTH, FRAMES, RATE_HZ = 72, 96, 5, 10.0
BOX, OTHER_BOX = (10.0, 5.0, 40.0, 70.0), (50.0, 5.0, 90.0, 60.0)

# Array -> dtype and shape of a row.
ROWS: dict[str, tuple[str, tuple[int, ...]]] = {
    "image_index": ("i8", ()),
    "id": ("U", ()),
    "boxes_xyxy": ("f4", (4,)),
    "score": ("f4", ()),
    "crop_xywh": ("f4", (4,)),
    "intrinsics": ("f4", (4,)),
    "joints": ("f4", (55, 3)),
    "vertices": ("f4", (150, 3)),
    "translation": ("f4", (3,)),
    "is_metric": ("b1", ()),
    "visible": ("b1", ()),
    "age_s": ("f4", ()),
    "plausibility": ("f4", ()),
    "shape_confidence": ("f4", ()),
    "velocity": ("f4", (3,)),
    "joint_velocity": ("f4", (55, 3)),
    "contact": ("f4", (2,)),
    "covariance": ("f4", (3, 3)),
    "joint_sigma_m": ("f4", (55,)),
    "distance_source": ("U", ()),
    "global_orient": ("f4", (1, 3, 3)),
    "body_pose": ("f4", (21, 3, 3)),
    "left_hand_pose": ("f4", (15, 3, 3)),
    "right_hand_pose": ("f4", (15, 3, 3)),
    "betas": ("f4", (200,)),
    "expression": ("f4", (50,)),
    "hand_scale": ("f4", (3,)),
    "head_scale": ("f4", (3,)),
    "flame_eye_pose": ("f4", (6,)),
    "flame_global_pose": ("f4", (3,)),
    "flame_jaw_pose": ("f4", (3,)),
    "flame_eyelids": ("f4", (2,)),
    "flame_betas": ("f4", (300,)),
    "flame_expression": ("f4", (50,)),
    "camera_t": ("f4", (3,)),
}

Run = Callable[..., tuple[int, dict[str, np.ndarray]]]


@pytest.fixture
def run(config: Config, tmp_path: Path) -> Run:
    """Infers with some settings changed; returns the exit code and the written arrays."""

    def infer_and_read(
        *inputs: Path, settings: dict[str, Any] | None = None, **options: Any
    ) -> tuple[int, dict[str, np.ndarray]]:
        output = tmp_path / "out" / "people.npz"
        changed = config.replaced(settings or {})
        code = infer(inputs, changed, InferOptions(output=output, **options))
        with np.load(output, allow_pickle=False) as file:
            return code, dict(file)

    return infer_and_read


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    assert cv2.imwrite(str(path), noise(0))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, and files and folders that are ignored."""
    path = tmp_path / "folder"
    (path / "below").mkdir(parents=True)
    for seed, name in enumerate(("c.png", "a.JPG", "b.bmp", "below/d.png")):
        assert cv2.imwrite(str(path / name), noise(seed))
    (path / "notes.txt").write_text("no image")
    return path


@pytest.fixture(params=[("clip.avi", "MJPG"), ("clip.mp4", "mp4v")], ids=["avi", "mp4"])
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, codec = request.param
    path = tmp_path / name
    fourcc = cv2.VideoWriter_fourcc(*codec)
    writer = cv2.VideoWriter(str(path), fourcc, RATE_HZ, (WIDTH, HEIGHT))
    for i in range(FRAMES):
        writer.write(np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8))
    writer.release()
    assert path.stat().st_size > 1000
    return path


def assert_rows(arrays: dict[str, np.ndarray], count: int, without: tuple[str, ...] = ()) -> None:
    assert arrays.keys() == {"image_names", *ROWS} - set(without)
    for name, (dtype, shape) in ROWS.items():
        if name not in without:
            assert arrays[name].shape == (count, *shape), name
            assert arrays[name].dtype.str.lstrip("<|=").startswith(dtype), name


# --- Written files -------------------------------------------------------------------------------


def test_one_image(run: Run, image: Path) -> None:
    code, arrays = run(image)
    assert code == 0
    assert_rows(arrays, 1)
    assert arrays["image_names"].tolist() == ["00000_picture"]
    assert arrays["image_index"].tolist() == [0]
    assert arrays["boxes_xyxy"].tolist() == [[0, 0, WIDTH, HEIGHT]]
    assert arrays["score"].tolist() == [1]
    assert not arrays["is_metric"][0]
    assert np.isfinite(arrays["vertices"]).all()


def test_a_folder(run: Run, folder: Path) -> None:
    code, arrays = run(folder)
    assert code == 0
    assert_rows(arrays, 3)
    assert arrays["image_names"].tolist() == ["00000_a", "00001_b", "00002_c"]
    assert arrays["image_index"].tolist() == [0, 1, 2]
    assert len(set(arrays["id"])) == 3  # images are not tracked


def test_a_video(run: Run, video: Path) -> None:
    code, arrays = run(video)
    assert code == 0
    assert_rows(arrays, FRAMES)
    names = [f"00000_clip_{i:06d}" for i in range(FRAMES)]
    assert arrays["image_names"].tolist() == names
    assert all(id_.startswith("v0_p0") for id_ in arrays["id"])
    (file,) = list_inputs([video]).files
    assert file.images == FRAMES
    for i, entry in enumerate(read_images([file])):
        assert entry.stamp_s == pytest.approx(i / RATE_HZ)
        assert entry.image is not None
        # The codecs change a grey image by 2 (MJPG) and 4 (mp4v) levels; libraries differ.
        assert np.abs(entry.image.astype(int) - 40 * i).max() <= 6


def test_a_person_of_a_video_keeps_the_id(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "still.avi"
    fourcc = cv2.VideoWriter_fourcc(*"MJPG")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), fourcc, RATE_HZ, (WIDTH, HEIGHT))
    for _ in range(FRAMES):
        writer.write(noise(0))
    writer.release()
    _, arrays = run(path)
    assert arrays["id"].tolist() == ["v0_p0001"] * FRAMES
    assert arrays["visible"].all()
    np.testing.assert_allclose(arrays["age_s"], np.arange(FRAMES) / RATE_HZ, rtol=1e-6)
    assert (np.diff(arrays["shape_confidence"]) > 0).all()


def test_pictures_are_not_of_the_same_person(run: Run, folder: Path) -> None:
    """Not smoothed either: each picture is the first of its people."""
    _, arrays = run(folder)
    assert len(set(arrays["id"])) == 3
    assert not arrays["age_s"].any()


def test_colors_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    assert cv2.imwrite(str(tmp_path / "red.png"), red)
    (entry,) = read_images(list_inputs([tmp_path / "red.png"]).files)
    assert entry.image is not None
    assert (entry.image == (255, 0, 0)).all()


def test_several_inputs(run: Run, image: Path, folder: Path) -> None:
    """The same file twice has two names."""
    _, arrays = run(image, folder, image)
    expected = ["00000_picture", "00001_a", "00002_b", "00003_c", "00004_picture"]
    assert arrays["image_names"].tolist() == expected


def test_boxes(run: Run, image: Path, folder: Path) -> None:
    code, arrays = run(
        image,
        folder,
        boxes=[BOX, OTHER_BOX],
        settings={"detection.detector": "topic"},
        vertices=False,
    )
    assert code == 0
    assert_rows(arrays, 8, without=("vertices",))
    assert arrays["image_index"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_array_equal(arrays["boxes_xyxy"], [BOX, OTHER_BOX] * 4)
    squares = square_boxes(arrays["boxes_xyxy"], WIDTH, HEIGHT)
    np.testing.assert_array_equal(arrays["crop_xywh"], squares)


@pytest.mark.parametrize("intrinsics", [None, (80.0, 90.0, 40.0, 30.0)], ids=["assumed", "given"])
def test_cameras(run: Run, image: Path, intrinsics: tuple[float, ...] | None) -> None:
    _, arrays = run(image, intrinsics=intrinsics, settings={"camera.assumed_fov_deg": 40.0})
    camera = Camera(*intrinsics) if intrinsics else assumed_camera(WIDTH, HEIGHT, 40.0)
    np.testing.assert_array_equal(arrays["intrinsics"], intrinsics_of([camera]))
    names = ("joints", "camera_t", "crop_xywh", "intrinsics")
    expected = place_in_camera(*(torch.from_numpy(arrays[name]) for name in names))
    np.testing.assert_allclose(arrays["translation"], expected, rtol=1e-6)
    assert arrays["is_metric"].tolist() == [intrinsics is not None]


def test_nobody(run: Run, tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    assert cv2.imwrite(str(blank), np.full((200, 200, 3), 128, np.uint8))
    code, arrays = run(
        blank, settings={"detection.detector": "nanodet"}, overlay=tmp_path / "pictures"
    )
    assert code == 0
    assert_rows(arrays, 0)
    assert arrays["image_names"].tolist() == ["00000_blank"]
    picture = cv2.imread(str(tmp_path / "pictures" / "00000_blank.png"))
    assert (picture == 128).all()


@pytest.mark.parametrize("vertices", [True, False], ids=["vertices", "no vertices"])
def test_overlay(run: Run, folder: Path, tmp_path: Path, vertices: bool) -> None:
    pictures = tmp_path / "some" / "pictures"
    code, arrays = run(folder, overlay=pictures, vertices=vertices)
    assert code == 0
    assert ("vertices" in arrays) is vertices
    assert sorted(p.name for p in pictures.iterdir()) == [
        "00000_a.png",
        "00001_b.png",
        "00002_c.png",
    ]
    original, drawn = noise(0), cv2.imread(str(pictures / "00002_c.png"))
    changed = (original != drawn).any(-1)
    assert 0 < changed.sum() < changed.size  # only pixels of the mesh


# --- Files that cannot be read or written --------------------------------------------------------


def test_the_output_is_never_an_input(config: Config, image: Path, folder: Path) -> None:
    for inputs, output in (([image], image), ([folder], folder / "c.png")):
        before = output.read_bytes()
        with pytest.raises(PearError, match="is one of the inputs"):
            infer(inputs, config, InferOptions(output=output))
        assert output.read_bytes() == before


def test_an_overlay_never_replaces_an_input(
    config: Config, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be named after the first input; that input itself is in no danger."""
    second = image.rename(tmp_path / "00000_picture.png")
    assert cv2.imwrite(str(image), noise(1))
    before = second.read_bytes()
    monkeypatch.chdir(tmp_path)
    options = InferOptions(output=Path("people.npz"), overlay=Path())
    with pytest.raises(PearError, match=r"00000_picture.png is one of the inputs .* as --overlay"):
        infer([image, second], config, options)
    assert second.read_bytes() == before
    assert infer([image], config, options) == 0
    assert second.read_bytes() != before


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """An image with more pixels than OpenCV accepts."""
    path = tmp_path / "huge.png"
    path.write_bytes(png(60000, 60000, bytes(180000)))
    return path


@pytest.fixture
def broken(tmp_path: Path, image: Path) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no image")
    return path


@pytest.fixture
def no_video(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text("no video")
    return path


REASONS = {
    "huge": "it has more pixels than camera.max_pixels, 50000000",
    "broken": "the picture is truncated or damaged",
    "no_video": "it is a text file",
}


@pytest.mark.parametrize("name", REASONS)
def test_unreadable_files_are_skipped(
    run: Run,
    image: Path,
    folder: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    unreadable: Path = request.getfixturevalue(name)
    code, arrays = run(image, unreadable, folder)
    assert code == 1
    assert arrays["image_names"].tolist() == ["00000_picture", "00002_a", "00003_b", "00004_c"]
    assert_rows(arrays, 4)
    failed = [line for line in capfd.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    assert failed[0].startswith(f"failed: {unreadable}: {REASONS[name]}")


def test_only_unreadable_files_are_an_error(run: Run, broken: Path) -> None:
    with pytest.raises(PearError, match="none of the inputs can be read"):
        run(broken)


def test_input_that_does_not_exist(run: Run, image: Path, tmp_path: Path) -> None:
    with pytest.raises(PearError, match=r"nothing.png does not exist"):
        run(image, tmp_path / "nothing.png")


def test_folder_without_images(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PearError, match="empty has no pictures or videos"):
        run(tmp_path / "empty")


@pytest.mark.parametrize("where", ["file/people.npz", "folder"], ids=["below a file", "a folder"])
def test_output_that_cannot_be_written(
    config: Config, image: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    unread = config.replaced({"network.checkpoint": "the error is raised before loading"})
    with pytest.raises(PearError, match="cannot be written"):
        infer([image], unread, InferOptions(tmp_path / where))


def test_weights_that_cannot_be_read_leave_no_output(run: Run, image: Path, tmp_path: Path) -> None:
    with pytest.raises(PearError, match="no checkpoint"):
        run(image, settings={"network.checkpoint": str(tmp_path / "none.pt")})
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("old", [None, b"old"], ids=["no output yet", "an older output"])
def test_an_interrupted_run_writes_its_results(
    config: Config,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    old: bytes | None,
) -> None:
    def interrupted(*arguments: Any) -> Any:
        for i, entry in enumerate(read_images(*arguments)):
            if i == 1:
                signal.raise_signal(number)
            yield entry

    handler = signal.getsignal(number)
    monkeypatch.setattr("pear_ros.offline.infer.read_images", interrupted)
    output = tmp_path / "out" / "people.npz"
    if old is not None:
        output.parent.mkdir()
        output.write_bytes(old)
    assert infer([folder], config, InferOptions(output)) == 128 + number
    assert signal.getsignal(number) is handler
    written = output
    if old is not None:
        assert output.read_bytes() == old
        written = output.with_name("people.interrupted.npz")
    with np.load(written, allow_pickle=False) as arrays:
        assert_rows(dict(arrays), 2)
    assert not list(output.parent.glob("*.part"))


def test_a_second_signal_ends_at_once(
    config: Config,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Quietly: not by KeyboardInterrupt, which Python shows with a traceback."""

    def interrupted(*arguments: Any) -> Any:
        for i, entry in enumerate(read_images(*arguments)):
            if i == 1:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
            yield entry

    monkeypatch.setattr("pear_ros.offline.infer.read_images", interrupted)
    with pytest.raises(SystemExit) as caught:
        infer([folder], config, InferOptions(tmp_path / "people.npz"))
    assert caught.value.code == 128 + signal.SIGTERM
    (rows,) = tmp_path.glob("people.npz.*.part")
    assert len(np.load(rows / "joints.npy")) == 1
    assert f"the rows of 1 finished images are in {rows}" in capfd.readouterr().err


def test_a_killed_run_leaves_its_rows(config: Config, folder: Path, tmp_path: Path) -> None:
    """As `kill -9` does it, which no program can answer."""
    code = (
        "import os, sys, signal, pickle\n"
        "from pathlib import Path\n"
        "from pear_ros.offline import infer\n"
        "from pear_ros.offline.people_file import PeopleWriter\n"
        "add = PeopleWriter.add\n"
        "def add_and_die(self, *rows):\n"
        "    add(self, *rows)\n"
        "    if self.images == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "PeopleWriter.add = add_and_die\n"
        # Pickled by this test, a few lines below.
        "config = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "options = infer.InferOptions(Path(sys.argv[3]))\n"
        "infer.infer([Path(sys.argv[2])], config, options)\n"
    )
    output = tmp_path / "out" / "people.npz"
    arguments = [pickle.dumps(config).hex(), str(folder), str(output)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    (rows,) = output.parent.iterdir()
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in rows.glob("*.npy")}
    assert_rows(arrays, 2)
    assert arrays["image_names"].tolist() == ["00000_a", "00001_b"]


def test_a_full_disk_while_rows_are_written(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder)
    output = tmp_path / "out" / "people.npz"
    before = output.read_bytes()
    add = PeopleWriter.add

    def full(self: PeopleWriter, *rows: Any) -> None:
        if self.images == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, *rows)

    monkeypatch.setattr(PeopleWriter, "add", full)
    with pytest.raises(PearError, match=r"cannot be written: No space .* of 1 finished .*part$"):
        run(folder)
    assert output.read_bytes() == before
    (rows,) = output.parent.glob("people.npz.*.part")
    assert len(np.load(rows / "joints.npy")) == 1


@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
def test_special_files_are_no_output(
    config: Config, image: Path, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "people.npz"
    if kind == "pipe":
        os.mkfifo(output)
    else:
        output.symlink_to("/dev/null")
    with pytest.raises(PearError, match="cannot be written"):
        infer([image], config, InferOptions(output))
    assert not output.is_file()


def test_one_overlay_that_cannot_be_written(
    run: Run, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    (pictures / "00001_b.png" / "taken").mkdir(parents=True)
    code, arrays = run(folder, overlay=pictures)
    assert code == 1
    assert_rows(arrays, 3)
    assert f"failed: {pictures}/00001_b.png cannot be written" in capfd.readouterr().err
    assert (pictures / "00002_c.png").is_file()


def test_a_link_in_the_overlays_is_not_written_through(
    run: Run, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "pictures" / "00000_picture.png").symlink_to(tmp_path / "precious")
    code, _ = run(image, overlay=tmp_path / "pictures")
    assert code == 0
    assert (tmp_path / "precious").read_text() == "precious"
    assert cv2.imread(str(tmp_path / "pictures" / "00000_picture.png")) is not None


def test_a_video_that_ends_early(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clip.avi"
    fourcc = cv2.VideoWriter_fourcc(*"MJPG")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), fourcc, RATE_HZ, (WIDTH, HEIGHT))
    for i in range(10):
        writer.write(noise(i))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: int(0.62 * len(data))])
    code, arrays = run(path)
    assert code == 1
    assert 4 <= len(arrays["image_names"]) <= 6
    said = f"failed: {path}: the video ends early, after {len(arrays['image_names'])} of 10 frames"
    assert said in capfd.readouterr().err


def test_images_of_nobody_are_named(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grey.gif"
    grey = [Image.fromarray(np.full((200, 200, 3), 100 + i, np.uint8)) for i in range(3)]
    grey[0].save(path, save_all=True, append_images=grey[1:], duration=100)
    grey[0].save(tmp_path / "still.png")
    code, _ = run(path, tmp_path / "still.png", settings={"detection.detector": "nanodet"})
    assert code == 0
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("nobody")]
    assert said == [
        "nobody was found in: 00000_grey_000000 to 00000_grey_000002",
        "nobody was found in: 00001_still",
    ]


def test_boxes_above_the_limit_are_told(
    run: Run, image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    boxes = [(float(i), 5.0, i + 40.0, 70.0) for i in range(20)]
    code, arrays = run(image, boxes=boxes, settings={"detection.detector": "topic"})
    assert code == 0
    assert_rows(arrays, 16)
    said = capfd.readouterr().err
    assert "left out 4 of 20 people" in said
    assert "raise detection.max_people, 16" in said
    assert "people_over_limit: 4 (--max-people)" in said
    _, arrays = run(
        image, boxes=boxes, settings={"detection.detector": "topic", "detection.max_people": 20}
    )
    assert_rows(arrays, 20)


def test_overlay_that_cannot_be_written(run: Run, image: Path) -> None:
    with pytest.raises(PearError, match="cannot be written"):
        run(image, overlay=image)


def test_problems_are_reported(run: Run, image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outside = (500.0, 0.0, 600.0, 50.0)
    code, arrays = run(image, boxes=[BOX, outside], settings={"detection.detector": "topic"})
    assert code == 0
    assert len(arrays["id"]) == 1
    printed = capfd.readouterr()
    assert "ignored a box that is outside the 96x72 image" in printed.err
    assert "or the boxes if you gave them" in printed.err
    assert "bad_boxes: 1" in printed.err
    assert "people found: 1, in images: 1" in printed.out
