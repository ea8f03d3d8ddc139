"""The renderer against ray casting, at shared edges, and at known pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.ndimage

from pear_ros.people import Camera
from pear_ros.rendering.renderer import (
    NEAR_PLANE_M,
    Light,
    Lighting,
    Rendering,
    render,
    vertex_normals,
)

Array = np.ndarray
WIDTH, HEIGHT = 80, 60
CAMERA = Camera(70, 75, 41.3, 28.9)
ROUND = Camera(100, 100, 40, 30)  # 1 cm at 1 m is a pixel
FLAT = Lighting(1, ())
QUAD = np.array([[0, 2, 1], [0, 3, 2]])  # of corners clockwise in the image
EDGE_PX = 0.01  # corners are snapped to 1/256 px, so edges are up to 0.003 px off


def background() -> Array:
    return np.random.default_rng(7).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def drawn(vertices: Array, faces: Array, camera: Camera = CAMERA, **options: object) -> Rendering:
    """Renders one or several white meshes."""
    meshes = np.asarray(vertices, np.float32).reshape(-1, *vertices.shape[-2:])
    colors = np.ones((len(meshes), 1, 3), np.float32)
    return render(background(), meshes, faces, colors, camera, **options)


def quad(left: float, top: float, right: float, bottom: float, depth_m: float = 1.0) -> Array:
    """(4, 3) m: a rectangle perpendicular to the optical axis of ROUND, given in px."""
    x, y = (np.array(((left, right), (top, bottom))) - ((40,), (30,))) * depth_m / 100
    return np.array([(x[i], y[j], depth_m) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))])


def sphere(rings: int = 30, sides: int = 40) -> tuple[Array, Array]:
    """Radius 1 m, closed: (V, 3) m and (F, 3), counterclockwise from outside."""
    polar = np.linspace(0, np.pi, rings + 1)[1:-1, None]
    around = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    x, y = np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around)
    z = np.broadcast_to(np.cos(polar), x.shape)
    vertices = np.concatenate((np.stack((x, y, z), -1).reshape(-1, 3), [(0, 0, 1), (0, 0, -1)]))
    ring, side = np.divmod(np.arange((rings - 2) * sides), sides)
    a, b = ring * sides + side, ring * sides + (side + 1) % sides
    first, last = np.arange(sides), np.arange(sides) + (rings - 2) * sides
    faces = [
        np.stack((a, a + sides, b), 1),
        np.stack((b, a + sides, b + sides), 1),
        np.stack((first, np.roll(first, -1), np.full(sides, len(vertices) - 2)), 1),
        np.stack((np.roll(last, -1), last, np.full(sides, len(vertices) - 1)), 1),
    ]
    return vertices, np.concatenate(faces)


# --- Against rays ---------------------------------------------------------------------------------


@dataclass
class Rays:
    """The first hit of a ray through each pixel's centre, computed in float64."""

    inverse_z: Array  # (H, W) 1/m of the nearest triangle, 0 if there is none
    owner: Array  # (H, W) index of the triangle, -1 if there is none
    slope: Array  # (H, W) 1/m/px, how fast inverse_z of that triangle changes
    is_sure: Array  # (H, W) no edge within EDGE_PX, no second triangle as near


def cast_rays(corners: Array) -> Rays:
    """Casts rays at triangles (T, 3, 3) m: edges, and 1/z on a plane, are linear in the image."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack((x, y, np.ones_like(x)), -1).astype(float)  # (H, W, 3) px
    ray_from_pixel = np.array(
        [
            [1 / CAMERA.fx, 0, -CAMERA.cx / CAMERA.fx],
            [0, 1 / CAMERA.fy, -CAMERA.cy / CAMERA.fy],
            [0, 0, 1],
        ]
    )
    found = np.zeros((len(corners), HEIGHT, WIDTH))
    slopes = np.zeros(len(corners))
    is_sure = np.ones((HEIGHT, WIDTH), bool)
    for i, (a, b, c) in enumerate(corners.astype(float)):
        volume = np.dot(a, np.cross(b, c))
        if volume >= 0:  # seen from inside
            continue
        normal = np.cross(b - a, c - a)
        inverse = normal / np.dot(normal, a) @ ray_from_pixel
        edges = [-np.cross(p, q) @ ray_from_pixel for p, q in ((a, b), (b, c), (c, a))]
        near = -inverse + (0, 0, 1 / NEAR_PLANE_M)
        lines = [line / np.linalg.norm(line[:2]) for line in (*edges, near)]
        border_px = np.min([rays @ line for line in lines], axis=0)
        inverse_z = rays @ inverse
        is_hit = (border_px > 0) & (inverse_z > 0)
        found[i] = np.where(is_hit, inverse_z, 0)
        slopes[i] = np.linalg.norm(inverse[:2])
        is_sure &= abs(border_px) > EDGE_PX
    owner = found.argmax(0)
    second, first = np.sort(np.concatenate((found, np.zeros((1, HEIGHT, WIDTH)))), 0)[-2:]
    slope = slopes[owner]
    is_sure &= (first - second > (slope + slopes.max()) * EDGE_PX) | (first == 0)
    return Rays(first, np.where(first > 0, owner, -1), slope, is_sure)


SCENES = {
    # largest |x| and |y|, smallest and largest z of the corners, m
    "in front": (1.5, 1.0, 4.0),
    "far outside of the image": (30.0, 1.0, 4.0),
    "through the near plane": (2.0, -2.0, 2.0),
    "small": (0.2, 1.0, 1.3),
}


@pytest.mark.parametrize("seed", range(5), ids="seed {}".format)
@pytest.mark.parametrize("scene", SCENES)
def test_agrees_with_rays(scene: str, seed: int) -> None:
    extent_m, least_z, greatest_z = SCENES[scene]
    random = np.random.default_rng(seed)
    low, high = (-extent_m, -extent_m, least_z), (extent_m, extent_m, greatest_z)
    vertices = random.uniform(low, high, (3, 12, 3)).astype(np.float32)
    faces = np.array([random.permutation(12)[:3] for _ in range(8)])
    picture = drawn(vertices, faces)
    rays = cast_rays(vertices[:, faces].reshape(-1, 3, 3))

    assert rays.is_sure.mean() > 0.8
    owner = np.where(picture.people < 0, -1, picture.people * len(faces) + picture.faces)
    np.testing.assert_array_equal(owner[rays.is_sure], rays.owner[rays.is_sure])
    off = abs(1 / picture.depth_m - rays.inverse_z)[rays.is_sure]
    allowed = EDGE_PX * rays.slope + 1e-5 * rays.inverse_z
    assert (off <= allowed[rays.is_sure]).all()
    assert (picture.people >= 0).any()


# --- No gaps --------------------------------------------------------------------------------------


def times_drawn(vertices: Array, faces: Array, camera: Camera = CAMERA) -> Array:
    """(H, W) number of triangles that cover the pixel, each drawn alone."""
    return np.sum([drawn(vertices, face[None], camera).people >= 0 for face in faces], 0)


def jittered_grid(n: int, jitter: float, seed: int) -> tuple[Array, Array]:
    """(n * n, 2) points from 0 to 1, the inner ones with jitter, in cells; (F, 3) clockwise."""
    row, column = np.divmod(np.arange(n * n), n)
    points = np.stack((column, row), 1).astype(float)
    is_inside = ((points > 0) & (points < n - 1)).all(1)
    shift = np.random.default_rng(seed).uniform(-jitter, jitter, points.shape)
    points[is_inside] += shift[is_inside]
    a = np.arange(n * n)[(row < n - 1) & (column < n - 1)]
    faces = np.concatenate((np.stack((a, a + n, a + 1), 1), np.stack((a + 1, a + n, a + n + 1), 1)))
    return points / (n - 1), faces


@pytest.mark.parametrize(
    "n", [2, 5, 14, pytest.param(40, marks=pytest.mark.slow)], ids="{0}x{0} points".format
)
def test_adjacent_triangles_cover_each_pixel_once(n: int) -> None:
    points, faces = jittered_grid(n, 0.3, n)
    depth_m = 1 + np.random.default_rng(n).random((len(points), 1))
    pixels = points * (40, 30) + (10.0, 12.0)  # borders through the centres of pixels
    x_y = (pixels - (40, 30)) / 100 * depth_m
    count = times_drawn(np.concatenate((x_y, depth_m), 1), faces, ROUND)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[12:42, 10:50] = 1  # with the left and top borders, without the right and bottom ones
    np.testing.assert_array_equal(count, expected)


def test_a_floor_from_behind_the_camera_has_no_gaps() -> None:
    points, faces = jittered_grid(12, 0.3, 0)
    x, z = (points * (40, 6) - (20, 1)).T  # m; under the camera, from 1 m behind it
    floor = np.stack((x, np.full_like(x, 0.04), z), 1)
    count = times_drawn(floor, faces[:, ::-1])
    rows = np.arange(HEIGHT)
    depth_m = 0.04 * CAMERA.fy / np.maximum(rows - CAMERA.cy, 1e-9)
    is_floor = (depth_m > NEAR_PLANE_M) & (depth_m < 5)
    assert is_floor.sum() > 20
    assert depth_m[-1] > NEAR_PLANE_M  # the floor reaches beyond the image
    np.testing.assert_array_equal(count, np.broadcast_to(is_floor[:, None], count.shape))


@pytest.mark.parametrize("depth_m", [1.3, 2.5, 8, 40], ids="{} m away".format)
def test_a_closed_mesh_has_no_holes(depth_m: float) -> None:
    vertices, faces = sphere()
    picture = drawn(vertices + np.array((0.01, 0.02, depth_m)), faces)
    inside = picture.people == 0
    assert inside.any()
    np.testing.assert_array_equal(inside, scipy.ndimage.binary_fill_holes(inside))
    assert picture.depth_m[inside].max() <= depth_m  # its far side is not seen
    np.testing.assert_array_equal(np.isinf(picture.depth_m), ~inside)


def test_one_triangle_one_pixel() -> None:
    picture = drawn(quad(20.9, 10.9, 21.8, 11.8), np.array([[0, 3, 1]]), ROUND)
    assert np.argwhere(picture.people >= 0).tolist() == [[11, 21]]
    picture = drawn(quad(20.9, 10.9, 21.1, 11.1), QUAD, ROUND)
    assert np.argwhere(picture.people >= 0).tolist() == [[11, 21]]
    assert not (drawn(quad(21.1, 11.1, 21.9, 11.9), QUAD, ROUND).people >= 0).any()


# --- Occlusion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["far first", "near first"])
def test_the_nearer_person_is_in_front(order: tuple[int, int]) -> None:
    meshes = np.stack((quad(10, 10, 50, 50, 2.0), quad(30, 20, 70, 40, 1.5)))[list(order)]
    near, far = order.index(1), order.index(0)
    picture = drawn(meshes, QUAD, ROUND)
    assert picture.people[30, 20] == far
    assert picture.people[30, 40] == picture.people[30, 60] == near
    assert picture.people[5, 5] == -1
    np.testing.assert_allclose(
        picture.depth_m[[30, 30, 30, 5], [20, 40, 60, 5]], (2, 1.5, 1.5, np.inf), rtol=1e-6
    )


def test_the_nearer_part_of_crossing_people_is_in_front() -> None:
    leaning = np.stack((quad(10, 10, 70, 50), quad(10, 10, 70, 50)))
    leaning[0, :, :] *= (1 + 0.3 * np.array((-1, 1, 1, -1)))[:, None]  # left side near
    leaning[1, :, :] *= (1 - 0.3 * np.array((-1, 1, 1, -1)))[:, None]
    people = drawn(leaning, QUAD, ROUND).people[30]
    assert (people[10:40] == 0).all()
    assert (people[41:70] == 1).all()


# --- Colour and light -----------------------------------------------------------------------------


def test_a_surface_that_faces_the_camera_has_its_color() -> None:
    color = np.array([[[1.0, 0.6, 0.2]]], np.float32)
    picture = render(background(), quad(10, 10, 50, 40)[None], QUAD, color, ROUND)
    np.testing.assert_array_equal(picture.image[10:40, 10:50], np.full((30, 40, 3), (255, 153, 51)))
    is_mesh = picture.people >= 0
    np.testing.assert_array_equal(picture.image[~is_mesh], background()[~is_mesh])


def test_vertex_colors_are_interpolated_in_perspective() -> None:
    mesh = quad(10, 10, 70, 50)
    mesh[[1, 2]] *= 3  # the right side three times as far
    colors = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], np.float32)
    picture = render(background(), mesh[None], QUAD, colors[None], ROUND, lighting=FLAT)
    depth_m = picture.depth_m[30, 10:70]
    np.testing.assert_allclose(picture.image[30, 10:70, 0], 255 * (depth_m - 1) / 2, atol=1)
    assert picture.image[30, 40, 0] < 80  # in the image's middle, and at a quarter of the surface


def test_colors_of_people_and_faces_are_multiplied() -> None:
    meshes = np.stack((quad(5, 5, 35, 35), quad(45, 5, 75, 35)))
    colors = np.array([(1, 1, 1), (1, 0, 1)], np.float32)[:, None]
    faces = np.array([(1, 0, 0), (0.2, 1, 0.4)], np.float32)
    image = render(background(), meshes, QUAD, colors, ROUND, faces[None], FLAT).image
    expected = [(255, 0, 0), (51, 255, 102), (255, 0, 0), (51, 0, 102)]
    assert [tuple(image[y, x]) for y, x in ((8, 30), (30, 8), (8, 70), (30, 48))] == expected


LIGHTS = {
    "none": ((), 0.2),
    "from the camera": ((Light((0, 0, 1), 0.5),), 0.7),
    "direction of another length": ((Light((0, 0, 9), 0.5),), 0.7),
    "from the side": ((Light((1, 0, 0), 0.5),), 0.2),
    "from behind": ((Light((0, 0, -1), 0.5),), 0.2),
    "at 60 degrees": ((Light((3**0.5, 0, 1), 0.5),), 0.45),
    "two": ((Light((0, 0, 1), 0.5), Light((0, 3**0.5, 1), 0.2)), 0.8),
    "too much": ((Light((0, 0, 1), 5),), 1.0),
}


@pytest.mark.parametrize(("lights", "expected"), LIGHTS.values(), ids=LIGHTS)
def test_lights(lights: tuple[Light, ...], expected: float) -> None:
    picture = drawn(quad(10, 10, 50, 40), QUAD, ROUND, lighting=Lighting(0.2, lights))
    np.testing.assert_allclose(picture.image[20, 20], 255 * expected, atol=0.51)


def test_shading_is_smooth() -> None:
    vertices, faces = sphere(12, 16)
    picture = drawn(vertices + np.array((0, 0, 3)), faces)
    shade = picture.image[..., 0].astype(int)
    inside = scipy.ndimage.binary_erosion(picture.people == 0, iterations=2)
    steps = abs(np.diff(shade, axis=1))[inside[:, 1:] & inside[:, :-1]]
    assert steps.max() < 25  # with flat shading, adjacent faces of this sphere would differ by more
    assert shade[29, 41] == pytest.approx(255, abs=3)


def test_normals_of_a_sphere_point_outward() -> None:
    vertices, faces = sphere()
    normals = vertex_normals(vertices[None] * 3 + (1, 2, 3), faces)
    np.testing.assert_allclose(normals, vertices[None], atol=0.02)


def test_normals_are_weighted_by_area() -> None:
    vertices = np.array([(0, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1), (5, 5, 5)])
    normals = vertex_normals(vertices[None], np.array([[0, 1, 2], [0, 2, 3]]))  # areas 1 and 0.5
    np.testing.assert_allclose(normals[0, 0], np.array((0.5, 0, 1)) / 1.25**0.5, rtol=1e-6)
    np.testing.assert_array_equal(normals[0, 4], 0)  # of no face


# --- Meshes that are not drawn --------------------------------------------------------------------

NOT_DRAWN = {
    "seen from inside": quad(10, 10, 50, 40)[[0, 3, 2, 1]],
    "behind": -quad(10, 10, 50, 40),
    "nearer than the near plane": quad(10, 10, 50, 40, 0.9 * NEAR_PLANE_M),
    "left": quad(-50, 10, -1, 40),
    "right": quad(79.1, 10, 200, 40),
    "above": quad(10, -9, 50, -0.1),
    "below": quad(10, 59.1, 50, 90),
    "no width": quad(10, 10, 10, 40),
    "a point": quad(10, 10, 10, 10),
    "at the camera": np.zeros((4, 3)),
    "NaN": quad(10, 10, 50, 40) * (np.nan, 1, 1),
    "infinitely far": quad(10, 10, 50, 40) * (1, 1, np.inf),
    "infinitely wide": quad(10, 10, 50, 40) * (np.inf, 1, 1),
    "absurdly wide": quad(10, 10, 50, 40) * (1e9, 1, 1),
}


@pytest.mark.parametrize("vertices", NOT_DRAWN.values(), ids=NOT_DRAWN)
def test_not_drawn(vertices: Array) -> None:
    picture = drawn(vertices, QUAD, ROUND)
    np.testing.assert_array_equal(picture.image, background())
    assert (picture.people == -1).all()
    assert (picture.faces == -1).all()
    assert np.isposinf(picture.depth_m).all()
    both = drawn(np.stack((vertices, quad(10, 10, 50, 40))), QUAD, ROUND)
    assert (both.people == 1).sum() == 40 * 30


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [0, 1, 2], ids=["x", "y", "z"])
def test_triangles_with_a_corner_that_is_not_finite_are_not_drawn(bad: float, axis: int) -> None:
    vertices = quad(10, 10, 50, 40)
    vertices[1, axis] = bad  # a corner of the first face only
    picture = drawn(vertices, QUAD, ROUND)
    assert set(np.unique(picture.faces)) == {-1, 1}
    assert (picture.image[picture.faces == 1] == 255).all()  # as bright as without the other


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (3, 0)], ids=str)
def test_tiny_images(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    picture = render(image, quad(-9, -9, 9, 9)[None], QUAD, np.ones((1, 1, 3)), ROUND)
    assert picture.image.shape == image.shape
    assert (picture.people == 0).all()


@pytest.mark.parametrize(
    ("count", "num_faces"), [(0, 2), (1, 0), (0, 0)], ids=["no person", "no face", "neither"]
)
def test_nobody(count: int, num_faces: int) -> None:
    vertices = np.zeros((count, 4, 3), np.float32)
    picture = render(background(), vertices, QUAD[:num_faces], np.zeros((count, 1, 3)), CAMERA)
    np.testing.assert_array_equal(picture.image, background())
    assert (picture.people == -1).all()


@pytest.mark.parametrize("corner", [-1, 4], ids="vertex {} of 4".format)
def test_faces_must_refer_to_vertices(corner: int) -> None:
    with pytest.raises(IndexError, match="not one of the 4 vertices"):
        drawn(quad(10, 10, 50, 40), np.array([[0, 1, corner]]), ROUND)


OTHER_SHAPES = {
    "background": (np.zeros((48, 64, 4), np.uint8), np.zeros((1, 4, 3)), QUAD),
    "faces": (np.zeros((48, 64, 3), np.uint8), np.zeros((1, 4, 3)), QUAD[:, :2]),
    "vertices": (np.zeros((48, 64, 3), np.uint8), np.zeros((1, 4, 2)), QUAD),
}


@pytest.mark.parametrize(("picture", "vertices", "faces"), OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_arrays_of_other_shapes_are_refused(
    picture: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"expected three|expected a background"):
        render(picture, vertices.astype(np.float32), faces, np.zeros((1, 1, 3)), CAMERA)


def test_arrays_may_have_any_layout() -> None:
    image = background()
    image.flags.writeable = False
    vertices, colors = quad(10, 10, 50, 40)[None].repeat(2, 0), np.ones((2, 1, 3))
    picture = render(image[:, ::-1], vertices[:, ::1], QUAD, colors, ROUND)
    strided = render(
        image[:, ::-1],
        np.asfortranarray(vertices.astype(np.float32)),
        np.asfortranarray(QUAD.astype(np.int32)),
        colors.astype(np.float32)[::-1],
        ROUND,
    )
    np.testing.assert_array_equal(picture.image, strided.image)
    np.testing.assert_array_equal(image, background())
