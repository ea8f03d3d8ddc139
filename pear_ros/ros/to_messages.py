"""Messages <-> arrays: functions that need no node.

Importing this module needs the ROS message packages; vision_msgs, sensor_msgs_py and cv_bridge are
imported where they are used, as they may be missing.
"""

from __future__ import annotations

import array
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from geometry_msgs.msg import Point, TransformStamped
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from pear_ros.body.body_model import BodyModel
from pear_ros.body.frames import body_frames
from pear_ros.errors import ImageError
from pear_ros.geometry.camera import calibrated_camera
from pear_ros.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from pear_ros.images.decode import ENCODINGS, rgb_from_compressed, rgb_from_raw
from pear_ros.msg import EhmParameters, Human, HumanArray
from pear_ros.people import (
    NUM_JOINTS,
    Boxes,
    Camera,
    FloatArray,
    ImageArray,
    IntArray,
    People,
)
from pear_ros.people import EhmParameters as EhmTensors
from pear_ros.rendering.overlay import person_color
from pear_ros.ros.cdr import MARK, splice_points

MARKER_LIFETIME = Duration(seconds=2.0)  # of a person in RViz should the node stop
SKELETON_WIDTH_M = 0.015
PERSON_CLASS = "person"  # of the detections that we publish

# Fields of the message EhmParameters: those that are matrices in ours, and what the others are.
ROTATIONS = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose")
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


# In


def stamp_ns(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def rgb_from_message(msg: Image | CompressedImage) -> ImageArray:
    """(H, W, 3) RGB; may be a view of the message. Raises ImageError that says what is wrong."""
    if isinstance(msg, CompressedImage):
        return rgb_from_compressed(msg.data)
    if msg.encoding not in ENCODINGS:
        return _rgb_by_cv_bridge(msg)
    return rgb_from_raw(msg.data, msg.encoding, msg.height, msg.width, msg.step)


def _rgb_by_cv_bridge(msg: Image) -> ImageArray:
    """Encodings outside of the fast path."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError as error:
        raise ImageError(
            f"encoding {msg.encoding!r} needs the ROS package cv_bridge, which is not installed; "
            f"without it there are {', '.join(ENCODINGS)}"
        ) from error
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(msg, "rgb8"), np.uint8)
    except (CvBridgeError, ValueError, TypeError, RuntimeError) as error:
        raise ImageError(f"cv_bridge cannot convert {msg.encoding!r}: {error}") from error


def camera_from_info(
    info: CameraInfo, width: int, height: int, rectified: bool = False
) -> Camera | None:
    """The pinhole camera of images of that size, px; None where `info` is no calibration of it.

    Raw images have the matrix K, rectified ones P. Both are of the full image: binning and the
    region of interest are applied as sensor_msgs/CameraInfo has them.
    """
    p = np.asarray(info.p, np.float64).reshape(3, 4)
    k = p[:, :3].reshape(-1) if rectified else np.asarray(info.k, np.float64)
    roi = info.roi
    full_width, full_height = info.width, info.height
    if roi.width and roi.height:
        full_width, full_height = roi.width, roi.height
    bin_x, bin_y = max(info.binning_x, 1), max(info.binning_y, 1)
    camera = calibrated_camera(k)
    if camera is None or (full_width // bin_x, full_height // bin_y) != (width, height):
        return None
    return Camera(
        fx=camera.fx / bin_x,
        fy=camera.fy / bin_y,
        cx=(camera.cx - roi.x_offset) / bin_x,
        cy=(camera.cy - roi.y_offset) / bin_y,
    )


def boxes_from_detections(detections: Any, person_class: str = "") -> Boxes:
    """Boxes of a vision_msgs/Detection2DArray; of one class_id where `person_class` is given.

    A turned box becomes the upright one around it.
    """
    xyxy, scores = [], []
    for detection in detections.detections:
        hypotheses = [
            result.hypothesis.score
            for result in detection.results
            if person_class in ("", result.hypothesis.class_id)
        ]
        if not detection.results and not person_class:
            hypotheses = [1.0]  # a detector that says no more than where
        if not hypotheses:
            continue
        box = detection.bbox
        x, y = box.center.position.x, box.center.position.y
        theta = box.center.theta if math.isfinite(box.center.theta) else math.nan
        cos, sin = abs(math.cos(theta)), abs(math.sin(theta))
        half_x = (cos * box.size_x + sin * box.size_y) / 2
        half_y = (sin * box.size_x + cos * box.size_y) / 2
        xyxy.append((x - half_x, y - half_y, x + half_x, y + half_y))
        scores.append(max(hypotheses))
    return Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.array(scores, np.float32))


def people_from_message(message: HumanArray, body_model: BodyModel, mesh: bool = False) -> People:
    """The people of a message, posed by the body model whose parameters it has; on the CPU."""
    humans = message.humans
    count, zeros = len(humans), EhmParameters()

    def rows(name: str) -> torch.Tensor:
        values = np.array([getattr(human.parameters, name) for human in humans], np.float32)
        return torch.from_numpy(values.reshape(count, len(getattr(zeros, name))))

    def matrices(name: str) -> torch.Tensor:
        return matrix_from_axis_angle(rows(name).unflatten(1, (-1, 3)))

    unsent = torch.zeros(count, 3)
    parameters = EhmTensors(
        **{name: matrices(name) for name in ROTATIONS},
        **{field: rows(name) for name, field in COEFFICIENTS.items()},
        flame_global_pose=unsent,
        camera_t=unsent,
    )
    with torch.inference_mode():
        bodies = body_model(parameters, mesh=mesh)
    corners = [
        (r.x_offset, r.y_offset, r.x_offset + r.width, r.y_offset + r.height)
        for r in (human.region for human in humans)
    ]
    return People(
        ids=tuple(human.id for human in humans),
        boxes=Boxes(
            np.array(corners, np.float32).reshape(count, 4),
            np.array([human.score for human in humans], np.float32),
        ),
        crop_xywh=np.zeros((count, 4), np.float32),
        parameters=parameters,
        translation=np.array([h.translation for h in humans], np.float32).reshape(count, 3),
        joints=bodies.joints.numpy(),
        rotations=bodies.rotations.numpy(),
        vertices=None if bodies.vertices is None else bodies.vertices.numpy(),
        is_metric=all(human.is_metric for human in humans),
    )


# Out


def humans_message(
    people: People,
    header: Header,
    image_size: tuple[int, int],
    dropped: int = 0,
    processing_time_s: float = 0.0,
) -> HumanArray:
    """`image_size` is (height, width), px."""
    regions = _regions(people.boxes, image_size)
    parameters = _axis_angle_parameters(people)
    joints = (people.joints + people.translation[:, None]).reshape(-1, 3 * NUM_JOINTS)  # (N, 165)
    humans = [
        Human(
            id=people.ids[i],
            score=float(people.boxes.scores[i]),
            region=regions[i],
            parameters=EhmParameters(**{name: rows[i] for name, rows in parameters.items()}),
            translation=people.translation[i],
            joints=joints[i],
            is_metric=people.is_metric,
        )
        for i in range(len(people))
    ]
    return HumanArray(
        header=header, humans=humans, dropped=dropped, processing_time=processing_time_s
    )


def messages_of_an_image(
    people: People, faces: IntArray, image_size: tuple[int, int]
) -> tuple[object, ...]:
    """What the node publishes of an image, to be timed; meshes where there are vertices."""
    header = Header()
    made = (humans_message(people, header, image_size), transforms_message(people, header))
    return made if people.vertices is None else (*made, mesh_markers(people, faces, header))


def _axis_angle_parameters(people: People) -> dict[str, FloatArray]:
    """Fields of EhmParameters, N rows each, float32."""
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


def smplx_keywords(parameters: EhmParameters, num_betas: int = 10) -> dict[str, FloatArray]:
    """The keyword arguments (1, ...) with which a model of the `smplx` package poses this person.

    The model is made by `smplx.create(..., model_type="smplx", use_pca=False, flat_hand_mean=True,
    num_betas=num_betas, num_expression_coeffs=50)`. Its head is SMPL-X's, not FLAME's, which has
    no jaw, eyelids or scale of ours. Add the Human's `translation` to its vertices and joints.
    """
    p = parameters
    fields = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "expression")
    keywords = {name: np.asarray(getattr(p, name), np.float32)[None] for name in fields}
    betas = np.zeros((1, num_betas), np.float32)
    used = min(num_betas, len(p.betas))
    betas[0, :used] = np.asarray(p.betas)[:used]
    zero = np.zeros((1, 3), np.float32)
    return {**keywords, "betas": betas, "jaw_pose": zero, "leye_pose": zero, "reye_pose": zero}


def transforms_message(people: People, header: Header) -> TFMessage:
    """body_<id>, head_<id>, left_hand_<id>, right_hand_<id> in the image's frame."""
    message = TFMessage()
    for poses in body_frames(people):
        for i, id_ in enumerate(people.ids):
            transform = TransformStamped(header=header, child_frame_id=f"{poses.name}_{id_}")
            t, q = transform.transform.translation, transform.transform.rotation
            t.x, t.y, t.z = poses.position[i].tolist()
            q.x, q.y, q.z, q.w = poses.quat_xyzw[i].tolist()
            message.transforms.append(transform)
    return message


def mesh_markers(
    people: People, faces: IntArray, header: Header, gone: Collection[str] = ()
) -> bytes:
    """A serialized MarkerArray: a TRIANGLE_LIST a person; markers of the ids in `gone` deleted."""
    assert people.vertices is not None
    placed = people.vertices + people.translation[:, None]  # (N, V, 3) m, in the image's frame
    triangles = placed.astype(np.float64)[:, faces.reshape(-1)]  # (N, 3 F, 3)
    return _spliced_markers(people.ids, triangles, Marker.TRIANGLE_LIST, 1.0, header, gone)


def skeleton_markers(
    people: People, bones: IntArray, header: Header, gone: Collection[str] = ()
) -> bytes:
    """A serialized MarkerArray: a LINE_LIST a person; `bones` (B, 2) are pairs of joints."""
    joints = (people.joints + people.translation[:, None]).astype(np.float64)  # (N, 55, 3)
    lines = joints[:, bones.reshape(-1)]  # (N, 2 B, 3)
    return _spliced_markers(people.ids, lines, Marker.LINE_LIST, SKELETON_WIDTH_M, header, gone)


def _spliced_markers(
    ids: Sequence[str],
    points: NDArray[np.float64],  # (N, P, 3)
    kind: int,
    scale: float,
    header: Header,
    gone: Collection[str],
) -> bytes:
    mark = [Point(x=x, y=y, z=z) for x, y, z in MARK]
    markers = [_marker(id_, kind, scale, header, mark) for id_ in ids]
    markers += [Marker(header=header, ns=id_, action=Marker.DELETE) for id_ in gone]
    return splice_points(serialize_message(MarkerArray(markers=markers)), list(points))


def _marker(id_: str, kind: int, scale: float, header: Header, points: list[Point]) -> Marker:
    marker = Marker(header=header, ns=id_, type=kind, action=Marker.ADD, points=points)
    marker.color.r, marker.color.g, marker.color.b = person_color(id_)
    marker.color.a = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = scale
    marker.pose.orientation.w = 1.0
    marker.lifetime = MARKER_LIFETIME.to_msg()
    return marker


def cloud_message(people: People, header: Header) -> Any:
    """The vertices of all people as a PointCloud2. Raises ImportError without sensor_msgs_py."""
    from sensor_msgs_py.point_cloud2 import create_cloud_xyz32

    assert people.vertices is not None
    return create_cloud_xyz32(
        header, (people.vertices + people.translation[:, None]).reshape(-1, 3)
    )


def image_message(image: ImageArray, header: Header) -> Image:
    """(H, W, 3) RGB -> rgb8."""
    height, width = image.shape[:2]
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).reshape(-1).data)  # 100 times faster than bytes
    return Image(
        header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data
    )


def camera_info_message(camera: Camera, header: Header, image_size: tuple[int, int]) -> CameraInfo:
    """Of images without distortion; `image_size` is (height, width), px."""
    height, width = image_size
    k = np.array([(camera.fx, 0, camera.cx), (0, camera.fy, camera.cy), (0, 0, 1)], float)
    return CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.pad(k, ((0, 0), (0, 1))).reshape(-1),
    )


def detections_message(boxes: Boxes, header: Header) -> Any:
    """A vision_msgs/Detection2DArray of people. Raises ImportError without vision_msgs."""
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
