"""Field names of the message EhmParameters and of `pear_ros.people.EhmParameters`."""

from __future__ import annotations

import numpy as np

from pear_ros import msg
from pear_ros.people import FloatArray

# Axis-angle vectors in the message, matrices of the same name in pear_ros.people.EhmParameters.
ROTATIONS = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose")
# The other fields of the message -> their names in pear_ros.people.EhmParameters.
COEFFICIENTS = {
    "betas": "betas",
    "expression": "expression",
    "hand_scale": "hand_scale",
    "head_scale": "head_scale",
    "jaw_pose": "flame_jaw_pose",
    "eye_pose": "flame_eye_pose",
    "eyelids": "flame_eyelids",
    "flame_betas": "flame_betas",
    "flame_expression": "flame_expression",
}


def smplx_keywords(parameters: msg.EhmParameters, num_betas: int = 10) -> dict[str, FloatArray]:
    """Returns keyword arguments, arrays (1, ...), for a model of the `smplx` package.

    Create the model with `smplx.create(..., model_type="smplx", use_pca=False,
    flat_hand_mean=True, num_betas=num_betas, num_expression_coeffs=50)`. It has SMPL-X's head, so
    the FLAME parameters (jaw, eyes, eyelids, head_scale, flame_*) have no effect. Add the Human's
    `translation` to its vertices and joints.
    """
    p = parameters
    fields = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "expression")
    keywords = {name: np.asarray(getattr(p, name), np.float32)[None] for name in fields}
    betas = np.zeros((1, num_betas), np.float32)
    used = min(num_betas, len(p.betas))
    betas[0, :used] = np.asarray(p.betas)[:used]
    zero = np.zeros((1, 3), np.float32)
    return {**keywords, "betas": betas, "jaw_pose": zero, "leye_pose": zero, "reye_pose": zero}
