"""Translates bodies so that their camera sees the joints where the crop's camera saw them.

Two implementations: torch, which has gradients and runs on any device, and `src/reprojection.c` for
CPUs, where launching some 200 operations on 55 joints takes longer than computing them.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from pear_ros.geometry.crop_camera import CROP_FOCAL, camera_from_crop
from pear_ros.people import NUM_BODY_JOINTS
from pear_ros.system.native import load_library, require

NEAREST_JOINT_M = 0.1  # from the camera to the nearest joint: each was seen, so none is behind
GAUSS_NEWTON_STEPS = 4
FINGER_WEIGHT = 15**-0.5  # in px, so that a hand's fifteen joints count as one (docs/frames.md)


def place_in_camera(
    joints: Tensor, camera_t: Tensor, crop_xywh: Tensor, intrinsics: Tensor
) -> Tensor:
    """Translations (N, 3), m, that put bodies in the optical frames of their cameras.

    `joints` (N, J, 3), m, in the order of JOINT_NAMES, are of bodies turned by `camera_from_crop`;
    `camera_t` (N, 3), `crop_xywh` (N, 4) px, `intrinsics` (N, 4) fx, fy, cx, cy px. A translation
    minimises the squared distances, px, between where the camera and where the crop's camera sees
    the joints, a finger's weighing a fifteenth: linear least squares, then Gauss-Newton. No joint
    comes nearer than NEAREST_JOINT_M. A row that cannot be placed (`tz` not positive, anything not
    finite) is NaN.

    Any device; nothing waits for the device, and nothing depends on the data but the numbers.
    """
    inputs = [rows.double() for rows in (joints, camera_t, crop_xywh, intrinsics)]
    learns = torch.is_grad_enabled() and any(rows.requires_grad for rows in inputs)
    if learns or not all(rows.is_cpu for rows in inputs):
        return _place(*inputs)
    return _place_on_cpu(*inputs)


def _place(joints: Tensor, camera_t: Tensor, crop_xywh: Tensor, intrinsics: Tensor) -> Tensor:
    focal, centre = intrinsics[:, None, :2], intrinsics[:, None, 2:]  # (N, 1, 2) px
    xy, z = joints[..., :2], joints[..., 2:]

    pelvis = joints[:, :1]
    in_crop = (joints - pelvis) @ camera_from_crop(crop_xywh, intrinsics) + pelvis  # turned back
    tx_ty, tz = camera_t[:, None, :2], camera_t[:, None, 2:]
    half_crops = CROP_FOCAL * (in_crop[..., :2] - tx_ty) / (in_crop[..., 2:] + tz)  # (N, J, 2)
    half = crop_xywh[:, None, 2:] / 2
    seen = (crop_xywh[:, None, :2] + half * (1 + half_crops) - centre) / focal  # slopes of rays

    # The network saw no joint that lies outside of the crop: its say fades.
    focal = focal * half_crops.abs().amax(-1, keepdim=True).clamp(min=1) ** -8  # (N, J, 2)
    focal[:, NUM_BODY_JOINTS:] *= FINGER_WEIGHT
    nearest = NEAREST_JOINT_M - z.amin(1)  # (N, 1)

    def in_front(translation: Tensor) -> Tensor:
        return torch.cat((translation[:, :2], translation[:, 2:].maximum(nearest)), 1)

    # Linear are errors in metres at the joint; the depth by the person's size makes them pixels.
    depth = intrinsics[:, None, :1] * tz / (CROP_FOCAL * half[..., :1]) + z  # (N, J, 1) m
    scale = focal / depth.clamp(min=NEAREST_JOINT_M)
    translation = in_front(_least_squares(scale, seen, scale * (xy - seen * z)))
    last = torch.zeros_like(translation)
    for _ in range(GAUSS_NEWTON_STEPS):
        placed = joints + translation[:, None]
        scale, slope = focal / placed[..., 2:], placed[..., :2] / placed[..., 2:]
        step = _least_squares(scale, slope, focal * (slope - seen))
        # Where a step turns back by a share of the last, the minimum lies between.
        back = -(step * last).sum(1, keepdim=True) / (last * last).sum(1, keepdim=True).clamp(1e-18)
        last = step / (1 + back.clamp(0, 1))
        translation = in_front(translation + last)
    translation = translation.float()
    good = translation.isfinite().all(-1, keepdim=True) & (tz[:, 0] > 0)
    return translation.masked_fill(~good, torch.nan)


def _least_squares(scale: Tensor, slope: Tensor, residual: Tensor) -> Tensor:
    """The (N, 3) t = (x, y, z) with the least |residual + scale * ((x, y) - slope * z)|^2.

    All (N, J, 2). It is a pixel error and its change with the translation, where scale is focal
    length / depth. With x and y eliminated, z is a ratio; then x and y are means.
    """
    weight = scale * scale
    total = weight.sum(1)  # (N, 2)
    mean = (weight * slope).sum(1) / total
    arm = scale * (slope - mean[:, None])
    z = (arm * residual).sum((1, 2)) / (arm * arm).sum((1, 2))
    xy = mean * z[:, None] - (scale * residual).sum(1) / total
    return torch.cat((xy, z[:, None]), 1)


# --- The library ----------------------------------------------------------------------------------

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
    joints: Tensor, camera_t: Tensor, crop_xywh: Tensor, intrinsics: Tensor
) -> Tensor:
    count, num_joints, _ = joints.shape
    require(0 < num_joints <= MOST_JOINTS, f"1 to {MOST_JOINTS} joints")
    require(joints.shape[2] == 3 and camera_t.shape == (count, 3), "three numbers a point")
    require(crop_xywh.shape == intrinsics.shape == (count, 4), "a square and a camera each")
    method = _Method(
        num_joints, NUM_BODY_JOINTS, GAUSS_NEWTON_STEPS, FINGER_WEIGHT, NEAREST_JOINT_M, CROP_FOCAL
    )
    inputs = [rows.contiguous() for rows in (joints, camera_t, crop_xywh, intrinsics)]
    translation = torch.empty(count, 3, dtype=torch.float32, device="cpu")
    _LIBRARY.pear_place(method, count, *(rows.data_ptr() for rows in (*inputs, translation)))
    return translation


_LIBRARY = load_library("_reprojection")
_LIBRARY.pear_place.argtypes = (
    *(ctypes.POINTER(_Method), ctypes.c_int32),
    *[ctypes.c_void_p] * 5,
)
_LIBRARY.pear_place.restype = None
