"""Translates bodies so that the real camera sees the joints where the crop camera saw them.

Two implementations: torch, which has gradients and runs on any device, and `src/reprojection.c` for
CPUs, where the overhead of some 200 torch operations on 55 joints exceeds their computation.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from pear_ros.geometry.crop_camera import CROP_FOCAL, camera_from_crop
from pear_ros.geometry.lens import ROW as LENS_ROW
from pear_ros.people import NUM_BODY_JOINTS
from pear_ros.system.native import load_library, require

NEAREST_JOINT_M = 0.1  # least depth of a joint: all were visible, so none is behind the camera
GAUSS_NEWTON_STEPS = 4
# Factor of a finger joint's error, so that the 15 finger joints of a hand count as one joint: with
# equal weights, the finger joints bias the depth estimate upwards (docs/concepts/frames.md).
FINGER_WEIGHT = 15**-0.5


def place_in_camera(
    joints: Tensor,
    camera_t: Tensor,
    crop_xywh: Tensor,
    intrinsics: Tensor,
    lenses: Tensor | None = None,
) -> Tensor:
    """Estimates the translations that put bodies in the optical frames of their cameras.

    A translation minimises the sum of squared distances, px, between a joint's projections by the
    real camera and by the crop camera, where a finger joint has a weight of 1/15. Linear least
    squares gives the initial value, Gauss-Newton refines it. The weights of a person's joints
    outside of the crop decrease with their distance from it, as the network did not see them. The
    depth of every joint stays above NEAREST_JOINT_M.

    Works on any device without waiting for it. The sequence of operations does not depend on the
    values, so a CUDA graph can capture it.

    Args:
        joints: (N, J, 3) m, in the order of JOINT_NAMES, rotated by `camera_from_crop`.
        camera_t: (N, 3) m, translation of the crop camera.
        crop_xywh: (N, 4) px.
        intrinsics: (N, 4) px: fx, fy, cx, cy.
        lenses: (N, 10) of `geometry.lens.lens_rows`, on a CPU; None: pinholes. Behind a lens the
            distances are measured between rays, times the pixels per slope where the joint is seen.

    Returns:
        (N, 3) m, float32. A row is NaN if its person cannot be placed: `tz` is not positive, or a
        value is not finite.

    Raises:
        ValueError: On a CPU without gradients, if the shapes do not fit, or if J is 0 or more than
            MOST_JOINTS. Otherwise, if there are lenses.
    """
    inputs = [rows.double() for rows in (joints, camera_t, crop_xywh, intrinsics)]
    needs_grad = torch.is_grad_enabled() and any(rows.requires_grad for rows in inputs)
    joints, camera_t, crop_xywh, intrinsics = inputs
    if needs_grad or not all(rows.is_cpu for rows in inputs):
        require(lenses is None, "lenses only on a CPU and without gradients")
        return _place(joints, camera_t, crop_xywh, intrinsics)
    return _place_on_cpu(joints, camera_t, crop_xywh, intrinsics, lenses)


def _place(joints: Tensor, camera_t: Tensor, crop_xywh: Tensor, intrinsics: Tensor) -> Tensor:
    focal, centre = intrinsics[:, None, :2], intrinsics[:, None, 2:]  # (N, 1, 2) px
    xy, z = joints[..., :2], joints[..., 2:]

    pelvis = joints[:, :1]
    # Row vectors times a rotation are rotated by its transpose: into the crop camera's axes.
    in_crop = (joints - pelvis) @ camera_from_crop(crop_xywh, intrinsics) + pelvis  # (N, J, 3)
    tx_ty, tz = camera_t[:, None, :2], camera_t[:, None, 2:]
    half_crops = CROP_FOCAL * (in_crop[..., :2] - tx_ty) / (in_crop[..., 2:] + tz)  # (N, J, 2)
    half = crop_xywh[:, None, 2:] / 2
    seen = (crop_xywh[:, None, :2] + half * (1 + half_crops) - centre) / focal  # slopes of rays

    # The network did not see joints outside of the crop: their weights decrease with distance.
    focal = focal * half_crops.abs().amax(-1, keepdim=True).clamp(min=1) ** -8  # (N, J, 2)
    focal[:, NUM_BODY_JOINTS:] *= FINGER_WEIGHT
    nearest = NEAREST_JOINT_M - z.amin(1)  # (N, 1)

    def in_front(translation: Tensor) -> Tensor:
        return torch.cat((translation[:, :2], translation[:, 2:].maximum(nearest)), 1)

    # Errors in metres at the joint's depth are linear in the translation. The depth that follows
    # from the person's size converts them to pixels.
    depth = intrinsics[:, None, :1] * tz / (CROP_FOCAL * half[..., :1]) + z  # (N, J, 1) m
    scale = focal / depth.clamp(min=NEAREST_JOINT_M)
    translation = in_front(_least_squares(scale, seen, scale * (xy - seen * z)))
    previous = torch.zeros_like(translation)
    for _ in range(GAUSS_NEWTON_STEPS):
        placed = joints + translation[:, None]
        scale, slope = focal / placed[..., 2:], placed[..., :2] / placed[..., 2:]
        step = _least_squares(scale, slope, focal * (slope - seen))
        # If a step reverses a part of the previous one, the minimum lies between: shorten it.
        squared = (previous * previous).sum(1, keepdim=True).clamp(1e-18)
        reversed_part = -(step * previous).sum(1, keepdim=True) / squared
        previous = step / (1 + reversed_part.clamp(0, 1))
        translation = in_front(translation + previous)
    translation = translation.float()
    is_valid = translation.isfinite().all(-1, keepdim=True) & (tz[:, 0] > 0)
    return translation.masked_fill(~is_valid, torch.nan)


def _least_squares(scale: Tensor, slope: Tensor, residual: Tensor) -> Tensor:
    """The (N, 3) t = (x, y, z) that minimises |residual + scale * ((x, y) - slope * z)|^2.

    All arguments are (N, J, 2). The expression is a pixel error linearised in the translation; the
    scale is focal length / depth. With x and y eliminated, z is a ratio of sums; x and y are then
    weighted means.
    """
    weight = scale * scale
    total = weight.sum(1)  # (N, 2)
    mean = (weight * slope).sum(1) / total
    centred = scale * (slope - mean[:, None])
    z = (centred * residual).sum((1, 2)) / (centred * centred).sum((1, 2))
    xy = mean * z[:, None] - (scale * residual).sum(1) / total
    return torch.cat((xy, z[:, None]), 1)


# --- The C library --------------------------------------------------------------------------------

MOST_JOINTS = 256


class _Method(ctypes.Structure):
    _fields_ = (
        ("num_joints", ctypes.c_int32),
        ("first_finger", ctypes.c_int32),
        ("num_steps", ctypes.c_int32),
        ("finger_weight", ctypes.c_double),
        ("nearest_m", ctypes.c_double),
        ("crop_focal", ctypes.c_double),
    )


def _place_on_cpu(
    joints: Tensor,
    camera_t: Tensor,
    crop_xywh: Tensor,
    intrinsics: Tensor,
    lenses: Tensor | None = None,
) -> Tensor:
    count, num_joints, _ = joints.shape
    require(0 < num_joints <= MOST_JOINTS, f"1 to {MOST_JOINTS} joints")
    require(joints.shape[2] == 3 and camera_t.shape == (count, 3), "three numbers a point")
    require(crop_xywh.shape == intrinsics.shape == (count, 4), "a square and a camera each")
    if lenses is not None:
        require(lenses.shape == (count, LENS_ROW), f"{LENS_ROW} numbers a lens")
        lenses = lenses.double().contiguous()
    method = _Method(
        num_joints, NUM_BODY_JOINTS, GAUSS_NEWTON_STEPS, FINGER_WEIGHT, NEAREST_JOINT_M, CROP_FOCAL
    )
    inputs = [rows.contiguous() for rows in (joints, camera_t, crop_xywh, intrinsics)]
    translation = torch.empty(count, 3, dtype=torch.float32, device="cpu")
    _LIBRARY.pear_place(
        method,
        count,
        *(rows.data_ptr() for rows in inputs),
        None if lenses is None else lenses.data_ptr(),
        translation.data_ptr(),
    )
    return translation


_LIBRARY = load_library("_reprojection")
_LIBRARY.pear_place.argtypes = (
    *(ctypes.POINTER(_Method), ctypes.c_int32),
    *[ctypes.c_void_p] * 6,
)
_LIBRARY.pear_place.restype = None
