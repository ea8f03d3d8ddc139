"""Renders shaded meshes over an image, with depth, on one CPU core without a display or a GPU.

The inner loops are in `src/renderer.c` and run without Python's global interpreter lock.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pear_ros.geometry.lens import distorted
from pear_ros.people import Camera, FloatArray, ImageArray, IntArray, Lens
from pear_ros.system.native import load_library, require

NEAR_PLANE_M = 0.05  # meshes are clipped at this depth


@dataclass(frozen=True)
class Light:
    """A directional light."""

    direction: tuple[float, float, float]  # of the light rays, optical; of any length
    strength: float  # 1: a surface that faces the light has its full colour


@dataclass(frozen=True)
class Lighting:
    """Lambertian shading: colour times `ambient` plus the light received, limited to 1."""

    ambient: float
    lights: tuple[Light, ...]


LIGHTING = Lighting(0.3, (Light((0.5, 0.6, 1), 0.5), Light((0, 0, 1), 0.31)))
"""From above left of the camera and from the camera. What faces the camera has full colour."""


@dataclass(frozen=True)
class Rendering:
    """An image, with depth, person and face of each pixel."""

    image: ImageArray  # (H, W, 3) RGB
    depth_m: FloatArray  # (H, W) along the optical axis; inf without a mesh
    people: NDArray[np.int32]  # (H, W) index of the person; -1 without a mesh
    faces: NDArray[np.int32]  # (H, W) index of the face; -1 without a mesh


def render(
    background: ImageArray,
    vertices: FloatArray,
    faces: IntArray,
    colors: FloatArray,
    camera: Camera,
    face_colors: FloatArray | None = None,
    lighting: Lighting = LIGHTING,
    nearest_m: float = NEAR_PLANE_M,
) -> Rendering:
    """Draws N meshes over a copy of the background.

    A pixel belongs to a mesh if its centre does. As in OpenCV, the camera's (0, 0) is the centre of
    the first pixel. A lens moves the corners of triangles; their edges stay straight. Triangles are
    left out if a corner is not finite or is projected farther than 2^21 px.

    Args:
        background: (H, W, 3) RGB uint8.
        vertices: (N, V, 3) m, optical.
        faces: (F, 3), counterclockwise seen from outside; only the outside is drawn.
        colors: (N, 1 or V, 3) RGB, 0 to 1.
        camera: Intrinsics of the image.
        face_colors: (N, F, 3), multiplied with `colors`.
        lighting: Ambient light and directional lights.
        nearest_m: Depth of the near plane, at which triangles are clipped.

    Raises:
        ValueError: If the background does not have three channels, `faces` not three corners or
            `vertices` not three coordinates.
        IndexError: If a face has a corner that is not a vertex.
    """
    count, num_vertices, _ = vertices.shape
    vertices, corners = _floats(vertices), _corners(faces, num_vertices)
    require(background.shape[2] == 3, "a background of three channels")
    if face_colors is not None:
        face_colors = np.broadcast_to(np.clip(face_colors, 0, 1), (count, *corners.shape))
        face_colors = _floats(face_colors)

    image = np.array(background, np.uint8, order="C")
    height, width, _ = image.shape
    # One allocation: glibc returns several smaller ones to the system after every call, and page
    # faults of the next call then cost half as much as the drawing.
    person_at, face_at, rest = np.full((3, height, width), -1, np.int32)
    inverse_depth = rest.view(np.float32)
    inverse_depth[:] = 0
    planes = [_address(plane) for plane in (image, inverse_depth, person_at, face_at)]
    target = _Image(width, height, *planes)
    intrinsics = _Camera(camera.fx, camera.fy, camera.cx, camera.cy, nearest_m)

    shade = _shade(vertex_normals(vertices, corners), lighting)  # (N, V)
    if camera.lens is not None:
        vertices = _behind_lens(vertices, camera.lens, nearest_m)
    colors = np.broadcast_to(np.clip(colors, 0, 1), vertices.shape)
    rgb = _floats(255 * shade[..., None] * colors)  # (N, V, 3)
    projected = np.empty((num_vertices, 4), np.int32)
    for i in range(count):
        _RASTER.pear_draw_mesh(
            *(target, intrinsics, i, num_vertices, _address(vertices[i]), _address(rgb[i])),
            *(len(corners), _address(corners)),
            *(None if face_colors is None else _address(face_colors[i]), _address(projected)),
        )
    with np.errstate(divide="ignore"):
        depth_m = np.reciprocal(inverse_depth, out=inverse_depth)
    return Rendering(image, depth_m, person_at, face_at)


def _behind_lens(vertices: FloatArray, lens: Lens, nearest_m: float) -> FloatArray:
    """Vertices (N, V, 3) m that a pinhole sees where the lens sees the given ones."""
    z = vertices[..., 2:]
    slopes = (vertices[..., :2] / np.maximum(z, nearest_m)).astype(np.float64)
    bent = np.concatenate((distorted(slopes, lens) * z, z), -1)
    return _floats(np.where(z > nearest_m, bent, vertices))


def vertex_normals(vertices: FloatArray, faces: IntArray | NDArray[np.int32]) -> FloatArray:
    """Vertices (N, V, 3) m, faces (F, 3) -> (N, V, 3) outward unit normals.

    A vertex normal is the area-weighted mean of the normals of its faces, or 0 without faces.

    Raises:
        ValueError: If `vertices` does not have three coordinates or `faces` not three corners.
        IndexError: If a face has a corner that is not a vertex.
    """
    vertices, corners = _floats(vertices), _corners(faces, vertices.shape[1])
    normals = np.empty_like(vertices)
    for mesh, out in zip(vertices, normals, strict=True):
        _RASTER.pear_vertex_normals(
            len(mesh), _address(mesh), len(corners), _address(corners), _address(out)
        )
    return normals


def _corners(faces: IntArray | NDArray[np.int32], num_vertices: int) -> NDArray[np.int32]:
    """(F, 3) in the C library's layout, with the checks that the library does not make."""
    require(faces.ndim == 2 and faces.shape[1] == 3, "three corners a face")
    corners = np.ascontiguousarray(faces, np.int32)
    if corners.size and not 0 <= corners.min() <= corners.max() < num_vertices:
        raise IndexError(f"a face has a corner that is not one of the {num_vertices} vertices")
    return corners


def _shade(normals: FloatArray, lighting: Lighting) -> FloatArray:
    """Normals (N, V, 3) -> (N, V) factors of the vertices' colours, at most 1."""
    shade = np.full(normals.shape[:2], lighting.ambient, np.float32)
    for light in lighting.lights:
        to_light = -np.array(light.direction, np.float32)
        to_light *= light.strength / np.linalg.norm(to_light)
        # einsum, because BLAS would start threads
        shade += np.maximum(np.einsum("nvi,i->nv", normals, to_light), 0)
    return np.clip(shade, 0, 1, out=shade)


# --- The C library --------------------------------------------------------------------------------


class _Image(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("rgb", ctypes.c_void_p),
        ("inverse_z", ctypes.c_void_p),
        ("person", ctypes.c_void_p),
        ("face", ctypes.c_void_p),
    )


class _Camera(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in ("fx", "fy", "cx", "cy", "nearest_m"))


def _load() -> ctypes.CDLL:
    library = load_library("_renderer")
    size, pointer = ctypes.c_int32, ctypes.c_void_p
    library.pear_vertex_normals.argtypes = (size, pointer, size, pointer, pointer)
    library.pear_draw_mesh.argtypes = (
        *(ctypes.POINTER(_Image), ctypes.POINTER(_Camera), ctypes.c_int32),
        *(size, pointer, pointer, size, pointer, pointer, pointer),
    )
    library.pear_vertex_normals.restype = library.pear_draw_mesh.restype = None
    return library


def _address(array: NDArray[Any]) -> int:
    return array.ctypes.data


def _floats(array: FloatArray) -> FloatArray:
    """(..., 3) in the C library's layout."""
    require(array.shape[-1] == 3, "three numbers each")
    return np.ascontiguousarray(array, np.float32)


_RASTER = _load()
