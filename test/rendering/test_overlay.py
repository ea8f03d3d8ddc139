"""Meshes drawn over images."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from samples import random_parameters

from pear_ros.people import Boxes, Camera, FloatArray, ImageArray, People, seen_now
from pear_ros.rendering.overlay import draw_people, person_color
from pear_ros.rendering.renderer import NEAR_PLANE_M

CAMERA = Camera(100, 100, 50, 40)  # at 1 m a metre is 100 px
FACES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)  # seen from the camera, outside faces it
INSIDE_OUT = FACES[:, ::-1]


def square(depth_m: float = 1.0, right_m: float = 0.0, size_m: float = 0.2) -> FloatArray:
    """(4, 3) m, optical: a square across the optical axis, clockwise in the image."""
    half = size_m / 2
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    return np.array([(x + right_m, y, depth_m) for x, y in corners], np.float32)


def people(*vertices: FloatArray, ids: tuple[str, ...] = ()) -> People:
    count = len(vertices)
    return People(
        ids=ids or tuple(f"p{i + 1}" for i in range(count)),
        boxes=Boxes(np.zeros((count, 4), np.float32), np.ones(count, np.float32)),
        crop_xywh=np.zeros((count, 4), np.float32),
        parameters=random_parameters(count),
        translation=np.zeros((count, 3), np.float32),
        joints=np.zeros((count, 55, 3), np.float32),
        rotations=np.zeros((count, 55, 3, 3), np.float32),
        vertices=np.stack(vertices) if vertices else np.zeros((0, 4, 3), np.float32),
        is_metric=True,
        **seen_now(count),
    )


def canvas() -> ImageArray:
    return np.full((80, 100, 3), 7, np.uint8)


def drawn(*vertices: FloatArray, faces: np.ndarray = FACES, opacity: float = 1.0) -> np.ndarray:
    """(80, 100) True where a picture of the meshes differs from the canvas."""
    picture = draw_people(canvas(), people(*vertices), faces, CAMERA, opacity)
    assert picture.shape == canvas().shape
    assert picture.dtype == np.uint8
    return (picture != canvas()).any(-1)


def test_a_square_is_where_it_projects() -> None:
    inside = drawn(square(right_m=0.1))
    rows, columns = np.nonzero(inside)
    borders = rows.min(), rows.max(), columns.min(), columns.max()
    assert borders == (30, 49, 50, 69)  # those of 20 x 20 pixels
    assert inside[30:50, 50:70].all()


def test_translation_moves_the_mesh() -> None:
    group = people(square(right_m=-5, depth_m=0))
    group.translation[0] = (5.1, 0, 1)
    picture = draw_people(canvas(), group, FACES, CAMERA, 1.0)
    np.testing.assert_array_equal((picture != canvas()).any(-1), drawn(square(right_m=0.1)))


NOT_DRAWN = {
    "seen from inside": (square(), INSIDE_OUT),
    "behind the camera": (square(-1), FACES),
    "behind the camera, seen from inside": (square(-1), INSIDE_OUT),
    "at the camera": (square(0), FACES),
    "too near": (square(0.9 * NEAR_PLANE_M), FACES),
    "right of the image": (square(right_m=0.7), FACES),
    "left of the image": (square(right_m=-0.7), FACES),
    "no width": (square(size_m=0), FACES),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(("vertices", "faces"), NOT_DRAWN.values(), ids=NOT_DRAWN)
def test_not_drawn(vertices: FloatArray, faces: np.ndarray) -> None:
    assert not drawn(vertices, faces=faces).any()
    assert drawn(vertices, square(), faces=np.concatenate((faces, FACES))).any()


def test_partly_outside_is_drawn() -> None:
    assert drawn(square(right_m=0.5))[40, 95]


@pytest.mark.parametrize(
    "order", [("near", "far"), ("far", "near")], ids=["near first", "far first"]
)
def test_the_nearer_covers_the_farther(order: tuple[str, str]) -> None:
    depths = {"near": 1.0, "far": 1.5}
    group = people(*(square(depths[name]) for name in order), ids=order)
    picture = draw_people(canvas(), group, FACES, CAMERA, 1.0)
    expected = draw_people(canvas(), people(square(), ids=("near",)), FACES, CAMERA, 1.0)
    np.testing.assert_array_equal(picture, expected)


def test_a_mesh_that_faces_the_camera_has_the_persons_color() -> None:
    picture = draw_people(canvas(), people(square(), ids=("p1",)), FACES, CAMERA, 1.0)
    expected = 255 * np.array(person_color("p1"))
    np.testing.assert_allclose(picture[40, 50], expected, atol=0.51)


def test_a_tilted_mesh_is_darker() -> None:
    tilted = square(size_m=0.4)
    tilted[:, 2] += tilted[:, 0]  # 45 degrees
    flat = draw_people(canvas(), people(square(size_m=0.4)), FACES, CAMERA, 1.0)
    dark = draw_people(canvas(), people(tilted), FACES, CAMERA, 1.0)
    assert dark[40, 50].sum() < 0.9 * flat[40, 50].sum()
    assert dark[40, 50].sum() > canvas()[40, 50].sum()


@pytest.mark.parametrize("opacity", [0.0, 0.25, 1.0], ids="opacity {}".format)
def test_opacity(opacity: float) -> None:
    full = draw_people(canvas(), people(square()), FACES, CAMERA, 1.0).astype(float)
    picture = draw_people(canvas(), people(square()), FACES, CAMERA, opacity)
    np.testing.assert_allclose(picture, opacity * full + (1 - opacity) * canvas(), atol=0.5)


def test_the_image_is_not_changed() -> None:
    image = canvas()
    image.flags.writeable = False
    picture = draw_people(image, people(square()), FACES, CAMERA)
    assert (image == 7).all()
    assert (picture != 7).any()


def test_nobody() -> None:
    np.testing.assert_array_equal(draw_people(canvas(), people(), FACES, CAMERA), canvas())


@pytest.mark.parametrize("prefix", ["p", "front_p", "back_p"])
@pytest.mark.parametrize("first", [1, 6, 1000], ids="from {}".format)
def test_neighbours_have_clearly_different_colors(prefix: str, first: int) -> None:
    """The hues of five people differ by at least 50 degrees."""
    ids = [f"{prefix}{first + i}" for i in range(5)]
    hues = np.sort([colorsys.rgb_to_hsv(*person_color(id_))[0] for id_ in ids])
    gaps = np.diff(np.append(hues, hues[0] + 1))
    assert gaps.min() > 50 / 360


def test_colors() -> None:
    colors = {person_color(f"p{i}") for i in range(50)}
    assert person_color("p1") == person_color("p1")
    assert len(colors) > 40
    for color in colors:
        assert all(0 <= channel <= 1 for channel in color)
        assert max(color) > 0.9
