"""Errors of the node's results against the ground truth of the synthetic camera."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from pear_ros.msg import HumanArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from pear_ros.body.body_model import BodyModel
from pear_ros.body.frames import body_frames
from pear_ros.evaluation import metrics
from pear_ros.geometry.boxes import box_iou_batch
from pear_ros.ros.from_messages import people_from_message

MIN_IOU = 0.3  # minimum overlap of a person's true and estimated boxes
MM, CM = 1000.0, 100.0


class Errors:
    """Collects errors of people; `body_model` is the one that made the ground truth."""

    def __init__(self, body_model: BodyModel) -> None:
        self._body_model = body_model
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)  # by name, unit
        self._images = self._true = self._found = self._matched = self._without_tf = 0

    def add(self, humans: HumanArray, transforms: TFMessage, truth: HumanArray) -> None:
        """Adds the people of one image; `transforms` are the node's TF frames for it."""
        self._images += 1
        self._true += len(truth.humans)
        self._found += len(humans.humans)
        true_people = people_from_message(truth, self._body_model)
        boxes = [_box(human.region) for human in humans.humans]
        overlap = box_iou_batch(np.reshape(boxes, (-1, 4)), true_people.boxes.xyxy)
        overlap[overlap < MIN_IOU] = 0
        pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        rows = [(i, j) for i, j in pairs if overlap[i, j]]
        if not rows:
            return
        self._matched += len(rows)
        found, true = map(list, zip(*rows, strict=True))
        joints = np.array([humans.humans[i].joints for i in found], float).reshape(-1, 55, 3)
        true_joints = (true_people.joints + true_people.translation[:, None])[true]
        self._put("body (MPJPE)", "mm", MM * metrics.mpjpe(joints, true_joints))
        self._put("body, aligned (PA-MPJPE)", "mm", MM * metrics.pa_mpjpe(joints, true_joints))
        self._put("hands, aligned", "mm", MM * metrics.hands_pa(joints, true_joints))
        depth_m = np.abs(joints[:, 0, 2] - true_joints[:, 0, 2])
        self._put("distance from the camera", "cm", CM * depth_m)

        tf_frames = {t.child_frame_id: t.transform for t in transforms.transforms}
        # A message has either all frames of a person or none.
        placed = [(i, j) for i, j in rows if f"head_{humans.humans[i].id}" in tf_frames]
        self._without_tf += len(rows) - len(placed)
        if not placed:
            return
        found, true = map(list, zip(*placed, strict=True))
        true_frames = {poses.name: poses for poses in body_frames(true_people)}
        for name in ("head", "left_hand", "right_hand"):
            poses = [tf_frames[f"{name}_{humans.humans[i].id}"] for i in found]
            t = np.array([(p.translation.x, p.translation.y, p.translation.z) for p in poses])
            error_m = metrics.distances(t, true_frames[name].position[true])
            self._put("TF: head" if name == "head" else "TF: hands", "cm", CM * error_m)
            if name == "head":
                q = [(p.rotation.x, p.rotation.y, p.rotation.z, p.rotation.w) for p in poses]
                rotations = Rotation.from_quat(q).as_matrix()
                truth_xyzw = true_frames[name].quat_xyzw[true]
                angle_deg = metrics.rotation_angle_deg(
                    rotations, Rotation.from_quat(truth_xyzw).as_matrix()
                )
                self._put("TF: head, orientation", "deg", angle_deg)

    def _put(self, name: str, unit: str, values: Any) -> None:
        self._values[name, unit] += np.ravel(values).tolist()

    def table(self) -> str:
        """Returns median and 95th percentile of each error as text."""
        rows = [f"{'error':<26} {'count':>6} {'median':>10} {'95 %':>10}"]
        for (name, unit), values in self._values.items():
            median, p95 = np.percentile(values, (50, 95))
            unit = f"{unit:<3}"
            rows.append(f"{name:<26} {len(values):>6} {median:>6.1f} {unit} {p95:>6.1f} {unit}")
        rows.append(
            f"people in {self._images} images: {self._true} true, {self._found} estimated, "
            f"{self._matched} matched, {self._without_tf} of the matched without TF"
        )
        return "\n".join(rows)


def _box(region: Any) -> tuple[int, ...]:
    x, y = region.x_offset, region.y_offset
    return x, y, x + region.width, y + region.height
