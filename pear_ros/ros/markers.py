"""Markers for RViz: meshes and skeletons, serialized."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from pear_ros.people import IntArray, People
from pear_ros.rendering.overlay import person_color
from pear_ros.ros.cdr import MARK, splice_points

MARKER_LIFETIME = Duration(seconds=2.0)  # how long RViz shows a person after the node has stopped
SKELETON_WIDTH_M = 0.015
PREDICTED_OPACITY = 0.35  # of people who are not seen in the image


def mesh_markers(
    people: People, faces: IntArray, header: Header, deleted_ids: Collection[str] = ()
) -> bytes:
    """Returns a serialized MarkerArray with one TRIANGLE_LIST per person.

    `people` need vertices; `faces` (F, 3) are their triangles. Markers of `deleted_ids` are
    deleted.
    """
    assert people.vertices is not None
    placed = people.vertices + people.translation[:, None]  # (N, V, 3) m, optical frame
    triangles = placed.astype(np.float64)[:, faces.reshape(-1)]  # (N, 3 F, 3)
    return _spliced_markers(people, triangles, Marker.TRIANGLE_LIST, 1.0, header, deleted_ids)


def skeleton_markers(
    people: People, bones: IntArray, header: Header, deleted_ids: Collection[str] = ()
) -> bytes:
    """Returns a serialized MarkerArray with one LINE_LIST per person.

    `bones` (B, 2) are pairs of joint indices. Markers of `deleted_ids` are deleted.
    """
    joints = (people.joints + people.translation[:, None]).astype(np.float64)  # (N, 55, 3)
    lines = joints[:, bones.reshape(-1)]  # (N, 2 B, 3)
    return _spliced_markers(people, lines, Marker.LINE_LIST, SKELETON_WIDTH_M, header, deleted_ids)


def _spliced_markers(
    people: People,
    points: NDArray[np.float64],  # (N, P, 3)
    kind: int,
    scale: float,
    header: Header,
    deleted_ids: Collection[str],
) -> bytes:
    mark = [Point(x=x, y=y, z=z) for x, y, z in MARK]
    markers = [
        _marker(id_, 1.0 if visible else PREDICTED_OPACITY, kind, scale, header, mark)
        for id_, visible in zip(people.ids, people.visible, strict=True)
    ]
    markers += [Marker(header=header, ns=id_, action=Marker.DELETE) for id_ in deleted_ids]
    return splice_points(serialize_message(MarkerArray(markers=markers)), list(points))


def _marker(
    id_: str, opacity: float, kind: int, scale: float, header: Header, points: list[Point]
) -> Marker:
    marker = Marker(header=header, ns=id_, type=kind, action=Marker.ADD, points=points)
    marker.color.r, marker.color.g, marker.color.b = person_color(id_)
    marker.color.a = opacity
    marker.scale.x = marker.scale.y = marker.scale.z = scale
    marker.pose.orientation.w = 1.0
    marker.lifetime = MARKER_LIFETIME.to_msg()
    return marker
