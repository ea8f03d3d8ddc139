"""How far what the node said is from the truth that the synthetic camera told."""

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

MIN_IOU = 0.3  # of the boxes of one person
MM, CM = 1000.0, 100.0


class Errors:
    """Collects, person by person; `body_model` is the one that the truth was made with."""

    def __init__(self, body_model: BodyModel) -> None:
        self._body_model = body_model
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)  # by name, unit
        self._images = self._true = self._found = self._matched = self._without_tf = 0

    def add(self, humans: HumanArray, transforms: TFMessage, truth: HumanArray) -> None:
        """All of one image."""
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

        at = {transform.child_frame_id: transform.transform for transform in transforms.transforms}
        # All frames of a person come in one message, or none does.
        placed = [(i, j) for i, j in rows if f"head_{humans.humans[i].id}" in at]
        self._without_tf += len(rows) - len(placed)
        if not placed:
            return
        found, true = map(list, zip(*placed, strict=True))
        true_frames = {poses.name: poses for poses in body_frames(true_people)}
        for name in ("head", "left_hand", "right_hand"):
            here = [at[f"{name}_{humans.humans[i].id}"] for i in found]
            t = np.array([(p.translation.x, p.translation.y, p.translation.z) for p in here])
            off_m = metrics.distances(t, true_frames[name].position[true])
            self._put("TF: head" if name == "head" else "TF: hands", "cm", CM * off_m)
            if name == "head":
                q = [(p.rotation.x, p.rotation.y, p.rotation.z, p.rotation.w) for p in here]
                turns = Rotation.from_quat(q).as_matrix()
                true_turns = Rotation.from_quat(true_frames[name].quat_xyzw[true]).as_matrix()
                self._put("TF: head, turn", "deg", metrics.rotation_angle_deg(turns, true_turns))

    def _put(self, name: str, unit: str, values: Any) -> None:
        self._values[name, unit] += np.ravel(values).tolist()

    def table(self) -> str:
        rows = [f"{'error against the truth':<26} {'of':>6} {'median':>10} {'95 %':>10}"]
        for (name, unit), values in self._values.items():
            median, most = np.percentile(values, (50, 95))
            unit = f"{unit:<3}"
            rows.append(f"{name:<26} {len(values):>6} {median:>6.1f} {unit} {most:>6.1f} {unit}")
        rows.append(
            f"people in {self._images} images: {self._true} true, {self._found} found, "
            f"{self._matched} of them matched, {self._without_tf} of those without TF"
        )
        return "\n".join(rows)


def _box(region: Any) -> tuple[int, ...]:
    x, y = region.x_offset, region.y_offset
    return x, y, x + region.width, y + region.height
