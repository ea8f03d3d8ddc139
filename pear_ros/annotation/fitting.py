"""Fits EHM to keypoints: the parameters whose projection explains what the experts saw.

Minimised are, for all people of an input at once: the distance of the projected landmarks from
the keypoints (robust, weighted by confidence), the distance of the pose from the poses that people
take and from PEAR's estimate, the limits of joints, the size of the shape coefficients, and in
videos the acceleration of joints. Depth is not seen in one image: where keypoints say nothing, the
pose stays what the priors say.

Bogo et al., Keep it SMPL, ECCV 2016; Pavlakos et al., Expressive Body Capture, CVPR 2019.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pear_ros.annotation.evidence import (
    SIGMA_BODY,
    Observed,
    averaged,
    joint_support,
    point_weights,
    sigma_px,
    strided,
    triples,
)
from pear_ros.annotation.pose_prior import PosePrior
from pear_ros.assets.body_assets import BodyAssets
from pear_ros.body.body_model import Bodies, BodyModel
from pear_ros.body.landmarks import BODY, LANDMARK, NUM_LANDMARKS, Landmarks
from pear_ros.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from pear_ros.people import NUM_BODY_JOINTS, EhmParameters, join, map_tensors

FITTED_SHAPES = 10  # of the coefficients that move vertices, the first ones
LIMBS = slice(LANDMARK["left_elbow"], BODY.stop)  # elbows, wrists, hips, knees, ankles
NEAREST_M = 0.2  # least depth of a point when it is projected

OUTLIER = 4.0  # standard deviations from where on a keypoint hardly counts (Geman, McClure 1987)
ACCELERATION_M_S2 = 12.0  # standard deviation of a joint's
OUTSIDE_BOX = 0.3  # weight of a landmark that lies beside the visible person's box
UNSEEN, LEAST_SEEN = 0.3, 0.1  # weight of a limb's point in the image; confidence if it is seen
SMOOTH = 0.5  # weight of the acceleration
SIGMA_NETWORK_RAD = 0.8  # of PEAR's estimate of a joint's rotation
SIGMA_LIMIT_RAD = 0.1  # beyond the limits of a joint
PRIOR = 0.4  # weight of the squared Mahalanobis distance of a body's pose
HAND_PRIOR = 0.25
SHAPE = 1.0  # weight of a squared shape coefficient
SIGMA_HEAD = 0.08  # of the logarithm of the head's size, relative to PEAR's estimate

SELECTION_STEPS, STEPS = 60, 140
LEARNING_RATE = 0.06
SELECTION_WIDENINGS = (6.0, 1.0)  # of the standard deviations, at the first and at the last step
WIDENINGS = (3.0, 1.0)


@dataclass(frozen=True)
class Fit:
    """N fitted people."""

    parameters: EhmParameters  # in the axes of the image's camera
    translation: Tensor  # (N, 3) m, optical
    joints: Tensor  # (N, 55, 3) m, without the translation
    points_px: Tensor  # (N, 133, 2) the projected landmarks
    beyond_limits: Tensor  # (N, 51) rad, of the joints of body and hands


def join_fits(fits: Sequence[Fit]) -> Fit:
    """The people of at least one fit."""
    names = ("translation", "joints", "points_px", "beyond_limits")
    tensors = {name: torch.cat([getattr(fit, name) for fit in fits]) for name in names}
    return Fit(parameters=join([fit.parameters for fit in fits]), **tensors)


@dataclass(frozen=True)
class _Variables:
    """What is optimised, for N people and T tracks."""

    turn: Tensor  # (N, 3) rad, the person's rotation away from the start
    body: Tensor  # (N, 21, 3) rad
    left_hand: Tensor  # (N, 15, 3) rad
    right_hand: Tensor  # (N, 15, 3) rad
    place: Tensor  # (N, 3) x/z, y/z, log z of the translation
    jaw: Tensor  # (N,) rad
    shape: Tensor  # (T, FITTED_SHAPES)
    head: Tensor  # (T,) logarithm of a factor of the head's size


_OF_IMAGES = ("turn", "body", "left_hand", "right_hand", "place", "jaw")
_OF_TRACKS = ("shape", "head")


class Fitter:
    """Fits bodies of `assets`."""

    def __init__(self, assets: BodyAssets, prior: PosePrior) -> None:
        self.landmarks = Landmarks.of(assets)
        self._model = BodyModel(assets, vertex_ids=self.landmarks.vertex_ids)
        self._prior = prior
        self._weights = point_weights() * torch.from_numpy(self.landmarks.available)
        moving = np.flatnonzero(assets.body_shapedirs.any((0, 1)))
        self._fitted_shapes = torch.from_numpy(moving[:FITTED_SHAPES])

    def __call__(self, start: EhmParameters, observed: Observed) -> Fit:
        """Fits N people; N may be 0.

        Args:
            start: PEAR's estimate, in the axes of the image's camera.
            observed: The keypoints of the same people.
        """
        if len(observed.track) == 0:
            nothing = torch.zeros(0, NUM_LANDMARKS, 2)
            joints = self._model(start).joints
            return Fit(start, torch.zeros(0, 3), joints, nothing, torch.zeros(0, 51))
        # In videos every fourth image is tried from all starts, the others begin beside it.
        tried, nearest = strided(observed.track)
        some, of_some = map_tensors(start, lambda rows: rows[tried]), observed.rows(tried)
        starts = self._starts(some)
        problems = [_Problem(self, at, some, of_some) for at in starts]
        found = [problem.minimised(SELECTION_STEPS, smooth=False) for problem in problems]
        costs = torch.stack([p.costs(v) for p, v in zip(problems, found, strict=True)])  # (S, M)
        best = averaged(costs, of_some.track).argmin(0)  # (M,)

        def chosen(values: list[Tensor]) -> Tensor:
            return torch.stack(values)[best, torch.arange(len(best))][nearest]

        begin = _Variables(
            *(chosen([getattr(v, name) for v in found]) for name in _OF_IMAGES),
            *(torch.stack([getattr(v, name) for v in found]).mean(0) for name in _OF_TRACKS),
        )
        orients = chosen([at.global_orient for at in starts])
        turned = dataclasses.replace(start, global_orient=orients)
        problem = _Problem(self, turned, start, observed)
        return problem.fit(problem.minimised(STEPS, smooth=True, begin=begin))

    def _starts(self, start: EhmParameters) -> list[EhmParameters]:
        """PEAR's estimate and a person who stands upright, each also seen from the other side."""
        pose = {
            name: matrix_from_axis_angle(gaussian.mean.unflatten(0, (-1, 3))).expand(
                len(start.betas), -1, -1, -1
            )
            for name, gaussian in (
                ("body_pose", self._prior.body),
                ("left_hand_pose", self._prior.left_hand),
                ("right_hand_pose", self._prior.right_hand),
            )
        }
        facing = torch.diag(torch.tensor((1.0, -1.0, -1.0))).expand_as(start.global_orient)
        standing = dataclasses.replace(start, global_orient=facing, **pose)
        back = torch.diag(torch.tensor((-1.0, 1.0, -1.0)))  # half a turn about the upright axis
        return [
            start, dataclasses.replace(start, global_orient=start.global_orient @ back),
            standing, dataclasses.replace(standing, global_orient=facing @ back),
        ]  # fmt: skip

    def posed(self, parameters: EhmParameters) -> tuple[Bodies, Tensor]:
        """The bodies and their landmarks (N, 133, 3) m."""
        bodies = self._model(parameters, mesh=True)
        assert bodies.vertices is not None
        return bodies, self.landmarks(bodies.joints, bodies.vertices)


class _Problem:
    """The costs of N people from one start."""

    def __init__(
        self, fitter: Fitter, start: EhmParameters, network: EhmParameters, observed: Observed
    ) -> None:
        self._fitter, self._start, self._observed = fitter, start, observed
        self._prior = fitter._prior
        self._network_pose = network.body_pose
        self._track = torch.from_numpy(observed.track)
        self._sigma_px = sigma_px(observed.keypoints, observed.size_px)  # (N, 133)
        self._weight = fitter._weights * observed.keypoints[..., 2]  # (N, 133)
        # PEAR knows no more than the experts about joints that are hidden or outside of the image.
        self._support = joint_support(observed.keypoints)[:, 1:22]  # (N, 21)
        self._triples = triples(observed.track)
        self._shape_columns = fitter._fitted_shapes

    def minimised(self, steps: int, smooth: bool, begin: _Variables | None = None) -> _Variables:
        """The variables after `steps` of Adam; with `smooth`, joints do not jump in a video."""
        begin = self._first() if begin is None else begin
        variables = map_tensors(begin, lambda t: t.detach().clone().requires_grad_())
        tensors = [getattr(variables, f.name) for f in dataclasses.fields(variables)]
        optimizer = torch.optim.Adam(tensors, LEARNING_RATE, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, steps, 0.05 * LEARNING_RATE
        )
        first, last = WIDENINGS if smooth else SELECTION_WIDENINGS
        for step in range(steps):
            widening = last + (first - last) * max(0.0, 1 - 1.5 * step / steps) ** 2
            optimizer.zero_grad()
            bodies, costs = self._evaluated(variables, widening)
            cost = costs.sum() + SHAPE * variables.shape.square().sum()
            cost = cost + (variables.head / SIGMA_HEAD).square().sum()
            if smooth:
                cost = cost + self._jerkiness(bodies.joints + self._placed(variables)[:, None])
            cost.backward()
            optimizer.step()
            schedule.step()
        return map_tensors(variables, Tensor.detach)

    @torch.no_grad()
    def costs(self, variables: _Variables) -> Tensor:
        """(N,) of each person, without those of shape and motion."""
        return self._evaluated(variables, 1.0)[1]

    @torch.no_grad()
    def fit(self, variables: _Variables) -> Fit:
        parameters = self._parameters(variables)
        bodies, points = self._fitter.posed(parameters)
        translation = self._placed(variables)
        prior = self._prior
        beyond = [
            prior.body.beyond(variables.body), prior.left_hand.beyond(variables.left_hand),
            prior.right_hand.beyond(variables.right_hand),
        ]  # fmt: skip
        projected = self._projected(points + translation[:, None])
        return Fit(parameters, translation, bodies.joints, projected, torch.cat(beyond, 1))

    @torch.no_grad()
    def _first(self) -> _Variables:
        start = self._start
        _, points = self._fitter.posed(start)
        body, left_hand, right_hand = (
            torch.from_numpy(axis_angle_from_matrix(matrices.numpy()).astype(np.float32))
            for matrices in (start.body_pose, start.left_hand_pose, start.right_hand_pose)
        )
        tracks = int(self._track.max()) + 1
        betas = start.betas[:, self._shape_columns]
        of_track = torch.eye(tracks)[self._track]  # (N, T)
        shape = of_track.mT @ betas / of_track.sum(0)[:, None]
        return _Variables(
            turn=torch.zeros(len(points), 3),
            body=body,
            left_hand=left_hand,
            right_hand=right_hand,
            place=self._seen_from(points),
            jaw=start.flame_jaw_pose[:, 0].clone(),
            shape=shape,
            head=torch.zeros(tracks),
        )

    def _seen_from(self, points: Tensor) -> Tensor:
        """The place (N, 3) that explains the keypoints best by linear least squares."""
        focal, centre = self._observed.intrinsics[:, None].split(2, -1)  # (N, 1, 2) px
        slope = (self._observed.keypoints[..., :2] - centre) / focal  # (N, 133, 2)
        weight = (self._weight / self._sigma_px.square())[..., None]  # (N, 133, 1)
        total = weight.sum(1).clamp(min=1e-9)  # (N, 1)
        # x + tx = slope * (z + tz), centred to eliminate tx and ty, is linear in tz.
        left = slope * points[..., 2:] - points[..., :2]  # (N, 133, 2) = (tx, ty) - slope * tz
        mean_slope = (weight * slope).sum(1) / total  # (N, 2)
        mean_left = (weight * left).sum(1) / total
        slope_off, left_off = slope - mean_slope[:, None], left - mean_left[:, None]
        squared = (weight * slope_off.square()).sum((1, 2)).clamp(min=1e-9)
        z = -(weight * slope_off * left_off).sum((1, 2)) / squared
        # A person of 1.7 m who fills the box: the start if the points do not tell.
        usual = 1.7 * focal[:, 0, 0] / self._observed.size_px
        z = torch.where((z > usual / 4) & (z < 4 * usual), z, usual)
        xy = mean_left + mean_slope * z[:, None]
        return torch.cat((xy / z[:, None], z.log()[:, None]), 1)

    def _placed(self, variables: _Variables) -> Tensor:
        """(N, 3) m, the translation."""
        z = variables.place[:, 2:].exp()
        return torch.cat((variables.place[:, :2] * z, z), 1)

    def _parameters(self, variables: _Variables) -> EhmParameters:
        v, start = variables, self._start
        betas = start.betas.index_copy(1, self._shape_columns, v.shape[self._track])
        jaw = torch.cat((v.jaw[:, None], start.flame_jaw_pose[:, 1:]), 1)
        return dataclasses.replace(
            start,
            global_orient=matrix_from_axis_angle(v.turn)[:, None] @ start.global_orient,
            body_pose=matrix_from_axis_angle(v.body),
            left_hand_pose=matrix_from_axis_angle(v.left_hand),
            right_hand_pose=matrix_from_axis_angle(v.right_hand),
            betas=betas,
            head_scale=start.head_scale * v.head.exp()[self._track, None],
            flame_jaw_pose=jaw,
        )

    def _projected(self, placed: Tensor) -> Tensor:
        """Points (N, P, 3) m, optical -> (N, P, 2) px."""
        focal, centre = self._observed.intrinsics[:, None].split(2, -1)
        return focal * placed[..., :2] / placed[..., 2:].clamp(min=NEAREST_M) + centre

    def _evaluated(self, variables: _Variables, widening: float) -> tuple[Bodies, Tensor]:
        """The bodies and their costs (N,), with standard deviations of pixels `widening` times."""
        v, prior = variables, self._prior
        parameters = self._parameters(v)
        bodies, points = self._fitter.posed(parameters)
        projected = self._projected(points + self._placed(v)[:, None])
        error = (projected - self._observed.keypoints[..., :2]).norm(dim=-1)  # (N, 133) px
        squared = (error / (widening * self._sigma_px)).square()
        robust = squared / (1 + squared / OUTLIER**2)
        cost = (self._weight * robust).sum(1)
        cost = cost + PRIOR * 63 * prior.body.distance(v.body)
        for hand, rotvecs in ((prior.left_hand, v.left_hand), (prior.right_hand, v.right_hand)):
            cost = cost + HAND_PRIOR * 45 * hand.distance(rotvecs)
            cost = cost + (hand.beyond(rotvecs) / SIGMA_LIMIT_RAD).square().sum(1)
        cost = cost + (prior.body.beyond(v.body) / SIGMA_LIMIT_RAD).square().sum(1)
        # For small angles the squared difference of rotation matrices is twice that of the angle.
        apart = (parameters.body_pose - self._network_pose).square().sum((2, 3)) / 2  # (N, 21)
        cost = cost + (self._support * apart).sum(1) / SIGMA_NETWORK_RAD**2
        cost = cost + OUTSIDE_BOX * self._outside_box(projected[:, BODY]).sum(1)
        cost = cost + UNSEEN * self._unseen(projected[:, LIMBS]).sum(1)
        return bodies, cost + (v.jaw.clamp(max=0) / SIGMA_LIMIT_RAD).square() + 4 * v.jaw.square()

    def _outside_box(self, projected: Tensor) -> Tensor:
        """(N, P, 2) px -> (N, P) costs of points that the image would show, but not in the box."""
        observed = self._observed
        first, last = observed.boxes_xyxy[:, None].split(2, -1)  # (N, 1, 2)
        is_shown = ((projected > 0) & (projected < observed.image_size[:, None])).all(-1)
        beyond = (first - projected).relu() + (projected - last).relu()
        squared = (beyond / (2 * SIGMA_BODY * observed.size_px[:, None, None])).square().sum(-1)
        return is_shown * squared / (1 + squared / OUTLIER**2)

    def _unseen(self, projected: Tensor) -> Tensor:
        """(N, P, 2) px -> (N, P) costs of limbs' points in the image that no expert has seen.

        Near the border they are pushed out of the image; in its middle something may hide them.
        """
        observed = self._observed
        seen = observed.keypoints[:, BODY, 2].amax(1, keepdim=True)  # (N, 1) 0: of nobody
        is_unseen = seen * (observed.keypoints[:, LIMBS, 2] < LEAST_SEEN)
        to_border = torch.minimum(projected, observed.image_size[:, None] - projected).amin(-1)
        squared = (to_border.relu() / (4 * SIGMA_BODY * observed.size_px[:, None])).square()
        return is_unseen * squared / (1 + squared / OUTLIER**2)

    def _jerkiness(self, joints: Tensor) -> Tensor:
        """The cost of accelerations, of joints (N, 55, 3) m, optical."""
        before, now, after = self._triples
        if len(now) == 0:
            return joints.new_zeros(())
        stamps = self._observed.stamp_s
        step_s = ((stamps[after] - stamps[before]) / 2).clamp(min=1e-3)[:, None, None]  # (M, 1, 1)
        acceleration = joints[before] - 2 * joints[now] + joints[after]  # (M, 55, 3) m per step^2
        squared = (acceleration / (ACCELERATION_M_S2 * step_s.square() + 0.002)).square().sum(-1)
        robust = (1 + squared).sqrt() - 1  # grows linearly, as some steps are real jumps
        return SMOOTH * (
            robust[:, :NUM_BODY_JOINTS].sum() + 0.2 * robust[:, NUM_BODY_JOINTS:].sum()
        )
