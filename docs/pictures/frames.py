"""Draws docs/concepts/frames.png: the TF frames of a person, on the stand-in body.

`python -m docs.pictures.frames`, in the repository's root. The picture has no random part, so it is
the same each time.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pear_ros.assets.body_assets import load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.body.frames import Poses, body_frames
from pear_ros.geometry.camera import project
from pear_ros.people import Boxes, Camera, FloatArray, ImageArray, People, seen_now
from pear_ros.rendering.renderer import Light, Lighting, render
from pear_ros.synthetic.appearance import Wardrobe
from pear_ros.synthetic.controls import STANDING, vector
from pear_ros.synthetic.scene import FACING_CAMERA, parameters_of
from pear_ros.synthetic.shapes import BodyShapes
from pear_ros.system.installed import shared_file

OUTPUT = Path(__file__).parents[1] / "concepts/frames.png"
SIZE = (1200, 1040)  # width, height, px
SUPERSAMPLING = 3  # lines and letters are drawn larger, then shrunk
BACKGROUND = (250, 250, 250)  # RGB
GREY = (60, 60, 60)
FONT, TEXT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.9 * SUPERSAMPLING
CLOTHES_SEED = 30
PALE = 0.45  # share of white in the clothes, so that the axes stand out
AXIS_COLORS = {"x": (214, 39, 40), "y": (34, 139, 34), "z": (31, 80, 200)}  # RGB
AXIS_M = {"body": 0.30, "head": 0.27, "left_hand": 0.24, "right_hand": 0.24}
# Where each label lies, from the frame's origin in the picture, px: right, down.
LABELS_PX = {
    "body": (-270, -50),
    "head": (240, -130),
    "left_hand": (30, 190),
    "right_hand": (-150, 60),
}
HEADING_DEG = -32  # the person looks past the camera, so that no axis points straight at it
PITCH_DEG = 16  # the camera looks down a little, for the same reason
POSE = {
    **STANDING,
    **{f"{side}_{name}": value
       for side in ("left", "right")
       for name, value in {
           "arm_raise": 62, "arm_forward": 8, "elbow": 8, "hip_side": 5, "hip_twist": 4,
           "index_curl": 0.03, "middle_curl": 0.03, "ring_curl": 0.03, "pinky_curl": 0.03,
           "thumb_oppose": 0, "thumb_curl": 0.05, "spread": 0.6,
       }.items()},
    "right_arm_raise": 62, "right_arm_twist": -85, "right_elbow": 80,  # it waves
}  # fmt: skip
LIGHTING = Lighting(0.42, (Light((0.5, 0.7, 0.8), 0.45), Light((-0.2, 0, 1), 0.25)))


def person() -> tuple[People, BodyModel, FloatArray]:
    """The stand-in body with the mean shape in front of a camera, its model, its colors (V, 3)."""
    assets = load_assets(shared_file("standin/body.npz"))
    colors = Wardrobe(assets).colors(np.random.default_rng(CLOTHES_SEED))
    model = BodyModel(assets)
    turn = Rotation.from_euler("yx", (-HEADING_DEG, PITCH_DEG), degrees=True)
    orientation = (turn * FACING_CAMERA).as_matrix()
    shapes = BodyShapes(np.zeros((1, 200)), np.zeros((1, 300)), np.ones((1, 3)))
    parameters = parameters_of(orientation[None], vector(POSE)[None], np.zeros((1, 50)), shapes)
    with torch.inference_mode():
        bodies = model(parameters, mesh=True)
    assert bodies.vertices is not None
    people = People(
        ids=("p1",),
        boxes=Boxes(np.zeros((1, 4), np.float32), np.ones(1, np.float32)),
        crop_xywh=np.zeros((1, 4), np.float32),
        parameters=parameters,
        translation=np.array([(0.02, 0.21, 4.4)], np.float32),
        joints=bodies.joints.numpy(),
        rotations=bodies.rotations.numpy(),
        vertices=bodies.vertices.numpy(),
        is_metric=True,
        **seen_now(1),
    )
    return people, model, PALE + (1 - PALE) * colors


def draw() -> ImageArray:
    """The picture, (H, W, 3) RGB."""
    width, height = (SUPERSAMPLING * side for side in SIZE)
    focal_px = 2.75 * height
    camera = Camera(focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
    people, model, colors = person()
    assert people.vertices is not None
    background = np.full((height, width, 3), BACKGROUND, np.uint8)
    placed = people.vertices + people.translation[:, None]  # (1, V, 3) m
    picture = render(background, placed, model.faces, colors[None], camera, lighting=LIGHTING).image
    frames = body_frames(people)
    for pose in frames:
        _draw_axes(picture, pose, camera)
    for pose in frames:
        _draw_label(picture, pose, camera)
    return np.asarray(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def _draw_axes(picture: ImageArray, pose: Poses, camera: Camera) -> None:
    axes = Rotation.from_quat(pose.quat_xyzw[0]).as_matrix()  # (3, 3) columns x, y, z
    origin = pose.position[0]
    begin = _pixel(origin, camera)
    # The axis that points away from the camera first, so that the nearer ones cover it.
    for i in np.argsort(-axes[2]):
        name = "xyz"[i]
        end = _pixel(origin + AXIS_M[pose.name] * axes[:, i], camera)
        cv2.arrowedLine(picture, begin, end, (255, 255, 255), _px(7), cv2.LINE_AA, tipLength=0.16)
        cv2.arrowedLine(picture, begin, end, AXIS_COLORS[name], _px(4), cv2.LINE_AA, tipLength=0.16)
        tip = np.subtract(end, begin) / max(np.hypot(*np.subtract(end, begin)), 1)
        place = end[0] + _px(18) * tip[0], end[1] + _px(18) * tip[1]
        _write(picture, name, place, AXIS_COLORS[name])


def _draw_label(picture: ImageArray, pose: Poses, camera: Camera) -> None:
    origin = _pixel(pose.position[0], camera)
    right, down = LABELS_PX[pose.name]
    place = origin[0] + _px(right), origin[1] + _px(down)
    # A thin line from the origin ends a little before the text.
    direction = np.subtract(place, origin) / np.hypot(*np.subtract(place, origin))
    text = f"{pose.name}_p1"
    gap = _px(10) + 0.5 * (
        abs(direction[0]) * _text_size(text)[0] + abs(direction[1]) * _text_size(text)[1]
    )
    end = np.subtract(place, gap * direction)
    cv2.line(picture, origin, (round(end[0]), round(end[1])), GREY, _px(1), cv2.LINE_AA)
    cv2.circle(picture, origin, _px(6), GREY, -1, cv2.LINE_AA)
    _write(picture, text, place, GREY)


def _write(
    picture: ImageArray, text: str, centre: tuple[float, float], color: tuple[int, int, int]
) -> None:
    """Text around `centre`, px, with a light rim that keeps it readable on the body."""
    width, height = _text_size(text)
    place = round(centre[0] - width / 2), round(centre[1] + height / 2)
    for rgb, thickness in ((BACKGROUND, _px(8)), (color, _px(2))):
        cv2.putText(picture, text, place, FONT, TEXT_SCALE, rgb, thickness, cv2.LINE_AA)


def _text_size(text: str) -> tuple[int, int]:
    """Width and height, px."""
    (width, height), _ = cv2.getTextSize(text, FONT, TEXT_SCALE, _px(2))
    return width, height


def _pixel(point: FloatArray, camera: Camera) -> tuple[int, int]:
    x, y = project(point, camera)
    return round(float(x)), round(float(y))


def _px(length: int) -> int:
    return SUPERSAMPLING * length


if __name__ == "__main__":
    image = cv2.cvtColor(draw(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(OUTPUT), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"wrote {OUTPUT}, {OUTPUT.stat().st_size / 1e3:.0f} kB")
