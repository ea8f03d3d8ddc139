"""Arrays -> messages: functions that need no node.

vision_msgs and sensor_msgs_py are optional, so they are imported only where they are used.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from pear_ros import msg
from pear_ros.body.frames import body_frames
from pear_ros.geometry.rotation import axis_angle_from_matrix
from pear_ros.people import (
    DISTANCE_SOURCES,
    NUM_JOINTS,
    Boxes,
    Camera,
    FloatArray,
    ImageArray,
    IntArray,
    Lens,
    People,
)
from pear_ros.ros.ehm_fields import COEFFICIENTS, ROTATIONS
from pear_ros.ros.markers import mesh_markers

PERSON_CLASS = "person"  # class_id of the published detections


def humans_message(
    people: People,
    header: Header,
    image_size: tuple[int, int],
    dropped: int = 0,
    processing_time_s: float = 0.0,
) -> msg.HumanArray:
    """Converts people, in the frame of `header`; `image_size` is (height, width), px."""
    regions = _regions(people.boxes, image_size)
    parameters = _axis_angle_parameters(people)
    joints = (people.joints + people.translation[:, None]).reshape(-1, 3 * NUM_JOINTS)  # (N, 165)
    humans = [
        msg.Human(
            id=people.ids[i],
            visible=people.visible[i],
            age=float(people.age_s[i]),
            score=float(people.boxes.scores[i]),
            plausibility=float(people.plausibility[i]),
            shape_confidence=float(people.shape_confidence[i]),
            region=regions[i],
            parameters=msg.EhmParameters(**{name: rows[i] for name, rows in parameters.items()}),
            translation=people.translation[i],
            joints=joints[i],
            is_metric=people.is_metric,
            velocity=people.velocity[i],
            joint_velocities=people.joint_velocity[i].reshape(-1),
            contacts=people.contact[i],
            position_covariance=people.covariance[i].reshape(-1),
            joint_standard_deviations=people.joint_sigma_m[i],
            distance_source=DISTANCE_SOURCES.index(people.distance_source[i]),
        )
        for i in range(len(people))
    ]
    return msg.HumanArray(
        header=header, humans=humans, dropped=dropped, processing_time=processing_time_s
    )


def messages_of_an_image(
    people: People, faces: IntArray, image_size: tuple[int, int]
) -> tuple[object, ...]:
    """Builds the messages that the node publishes for one image; for `pear-ros bench`.

    Meshes are included if `people` have vertices. `image_size` is (height, width), px.
    """
    header = Header()
    messages = (humans_message(people, header, image_size), transforms_message(people, header))
    if people.vertices is None:
        return messages
    return (*messages, mesh_markers(people, faces, header))


def _axis_angle_parameters(people: People) -> dict[str, FloatArray]:
    """The fields of msg.EhmParameters as float32 arrays with N rows."""
    p, n = people.parameters, len(people)
    rows = {
        name: getattr(p, field).numpy().astype(np.float32) for name, field in COEFFICIENTS.items()
    }
    matrices = np.concatenate([getattr(p, name).numpy() for name in ROTATIONS], 1)  # (N, 52, 3, 3)
    rotvec = axis_angle_from_matrix(matrices).astype(np.float32)  # (N, 52, 3)
    ends = np.cumsum([getattr(p, name).shape[1] for name in ROTATIONS])
    for name, part in zip(ROTATIONS, np.split(rotvec, ends[:-1], 1), strict=True):
        rows[name] = part.reshape(n, 3 * part.shape[1])
    return rows


def _regions(boxes: Boxes, image_size: tuple[int, int]) -> list[RegionOfInterest]:
    height, width = image_size
    limits = np.array((width, height, width, height))
    corners = np.rint(boxes.xyxy).clip(0, limits).astype(int)  # (N, 4)
    return [
        RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0)
        for x0, y0, x1, y1 in corners.tolist()
    ]


def transforms_message(people: People, header: Header) -> TFMessage:
    """Returns body_<id>, head_<id>, left_hand_<id> and right_hand_<id> in the frame of `header`."""
    message = TFMessage()
    for poses in body_frames(people):
        for i, id_ in enumerate(people.ids):
            transform = TransformStamped(header=header, child_frame_id=f"{poses.name}_{id_}")
            t, q = transform.transform.translation, transform.transform.rotation
            t.x, t.y, t.z = poses.position[i].tolist()
            q.x, q.y, q.z, q.w = poses.quat_xyzw[i].tolist()
            message.transforms.append(transform)
    return message


def cloud_message(people: People, header: Header) -> Any:
    """Returns the vertices of all people as a PointCloud2.

    Raises:
        ImportError: If sensor_msgs_py is not installed.
    """
    from sensor_msgs_py.point_cloud2 import create_cloud_xyz32

    assert people.vertices is not None
    return create_cloud_xyz32(
        header, (people.vertices + people.translation[:, None]).reshape(-1, 3)
    )


def image_message(image: ImageArray, header: Header) -> Image:
    """Converts (H, W, 3) RGB to an Image with encoding rgb8."""
    height, width = image.shape[:2]
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).reshape(-1).data)  # 100 times faster than bytes
    return Image(
        header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data
    )


def depth_message(depth_m: FloatArray, header: Header) -> Image:
    """Converts (H, W) m, 0: no value, to an Image with encoding 32FC1, NaN: no value (REP-118)."""
    height, width = depth_m.shape
    values = np.where(depth_m > 0, depth_m, np.float32(np.nan)).astype("<f4")
    data = array.array("B")
    data.frombytes(values.tobytes())
    return Image(
        header=header, height=height, width=width, encoding="32FC1", step=4 * width, data=data
    )


def camera_info_message(camera: Camera, header: Header, image_size: tuple[int, int]) -> CameraInfo:
    """Converts a camera with its lens; `image_size` is (height, width), px."""
    height, width = image_size
    k = np.array([(camera.fx, 0, camera.cx), (0, camera.fy, camera.cy), (0, 0, 1)], float)
    model, coefficients = _distortion(camera.lens)
    return CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model=model,
        d=coefficients,
        k=k.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.pad(k, ((0, 0), (0, 1))).reshape(-1),
    )


def _distortion(lens: Lens | None) -> tuple[str, list[float]]:
    """The model and its coefficients; the inverse of `geometry.lens.lens_of`."""
    if lens is None:
        return "plumb_bob", [0.0] * 5
    if lens.is_fisheye:
        return "equidistant", list(lens.coefficients[:4])
    if any(lens.coefficients[5:]):
        return "rational_polynomial", list(lens.coefficients)
    return "plumb_bob", list(lens.coefficients[:5])


def pose_message(
    parent_from_child: NDArray[np.float64], header: Header, child: str
) -> TransformStamped:
    """Converts a pose (4, 4) in the frame of `header` to a transform."""
    transform = TransformStamped(header=header, child_frame_id=child)
    t, q = transform.transform.translation, transform.transform.rotation
    t.x, t.y, t.z = parent_from_child[:3, 3].tolist()
    q.x, q.y, q.z, q.w = Rotation.from_matrix(parent_from_child[:3, :3]).as_quat().tolist()
    return transform


def detections_message(boxes: Boxes, header: Header) -> Any:
    """Converts boxes of people to a vision_msgs/Detection2DArray.

    Raises:
        ImportError: If vision_msgs is not installed.
    """
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    message = Detection2DArray(header=header)
    for (x0, y0, x1, y1), score in zip(boxes.xyxy.tolist(), boxes.scores.tolist(), strict=True):
        detection = Detection2D(header=header, results=[ObjectHypothesisWithPose()])
        center = detection.bbox.center.position
        center.x, center.y = (x0 + x1) / 2, (y0 + y1) / 2
        detection.bbox.size_x, detection.bbox.size_y = x1 - x0, y1 - y0
        hypothesis = detection.results[0].hypothesis
        hypothesis.class_id, hypothesis.score = PERSON_CLASS, score
        message.detections.append(detection)
    return message
