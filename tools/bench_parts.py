"""`make bench`: prints a table of median times; compared rows are measured in the same run."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import rclpy
import torch
from geometry_msgs.msg import Point
from pear_ros.msg import HumanArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.geometry.camera import intrinsics_of
from pear_ros.network.checkpoint import load_network
from pear_ros.people import Boxes, Camera, EhmParameters, People, seen_now
from pear_ros.placement.reprojection import place_in_camera
from pear_ros.rendering.renderer import render
from pear_ros.ros.dds import allow_large_images
from pear_ros.ros.from_messages import rgb_from_message, stamp_ns
from pear_ros.ros.markers import mesh_markers
from pear_ros.ros.to_messages import image_message
from pear_ros.system.installed import shared_file

NUM_VERTICES, NUM_TRIANGLES = 10475, 20908  # those of SMPL-X
RATE_HZ, NUM_IMAGES = 10.0, 100
RENDER_LIMIT_MS = 15
BODY_LIMIT_MS = {False: 0.3, True: 3.5}  # joints only, mesh


def main() -> int:
    allow_large_images()
    rclpy.init()
    node = rclpy.create_node("bench")
    print(f"medians on {os.cpu_count()} cores, torch with {torch.get_num_threads()} threads\n")
    assets = smplx_sized(load_assets(shared_file("standin/body.npz")))
    bench_image()
    bench_renderer(assets)
    bench_body_model(assets)
    bench_placement()
    bench_mesh(node)
    node.destroy_node()
    bench_node()
    rclpy.try_shutdown()
    return 0


def median_ms(function: Callable[[], object], runs: int) -> float:
    function()
    times_s = []
    for _ in range(runs):
        started_s = time.perf_counter()
        function()
        times_s.append(time.perf_counter() - started_s)
    return 1e3 * float(np.median(times_s))


def row(what: str, ms: float, note: str = "") -> None:
    print(f"{what:<58} {ms:>9.3f} ms  {note}", flush=True)


def bench_image() -> None:
    for height, width in ((480, 640), (1080, 1920)):
        for encoding, channels in (("rgb8", 3), ("bgr8", 3), ("yuv422_yuy2", 2)):
            message = image_message(np.zeros((height, width, 3), np.uint8), Header())
            message.encoding, message.step = encoding, width * channels
            ms = median_ms(partial(rgb_from_message, message), 50)
            row(f"image to ndarray, {width}x{height} {encoding}", ms)


def bench_renderer(assets: BodyAssets) -> None:
    """Times five people side by side, who cover a quarter of the image."""
    vertices = assets.body_template * np.array((1, -1, -1), np.float32)  # facing the camera
    faces = assets.body_faces
    places = [(-1.2, 0.2, 3.0), (-0.6, 0.2, 2.6), (0, 0.2, 2.3), (0.5, 0.2, 2.8), (1.1, 0.2, 3.2)]
    crowd = vertices + np.array(places, np.float32)[:, None]  # (5, V, 3)
    colors = np.full((5, 1, 3), 0.8, np.float32)
    picture = np.full((480, 640, 3), 120, np.uint8)
    camera = Camera(520, 520, 320, 240)

    def draw() -> None:
        render(picture, crowd, faces, colors, camera)

    ms = median_ms(draw, 51)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    for _ in range(20):
        draw()
    cores = (time.process_time() - started_cpu_s) / (time.perf_counter() - started_s)
    verdict = "ok" if ms <= RENDER_LIMIT_MS else "too slow"
    note = f"on {cores:.1f} cores; at most {RENDER_LIMIT_MS:.0f}: {verdict}"
    row(f"render 5 people of {len(faces)} triangles, 640x480", ms, note)


def smplx_sized(assets: BodyAssets) -> BodyAssets:
    """Returns the stand-in body with as many vertices and faces as SMPL-X, by repeating rows.

    The stand-in has no pose blend shapes, which take most of the time, so they are random.
    """
    rng = np.random.default_rng(0)
    rows = np.resize(np.arange(len(assets.body_template)), NUM_VERTICES)
    regressor = np.zeros((len(assets.body_joint_regressor), NUM_VERTICES), np.float32)
    regressor[:, : len(assets.body_template)] = assets.body_joint_regressor
    return dataclasses.replace(
        assets,
        body_template=assets.body_template[rows],
        body_shapedirs=assets.body_shapedirs[rows],
        body_expressiondirs=assets.body_expressiondirs[rows],
        body_posedirs=rng.standard_normal((NUM_VERTICES, 3, 486), np.float32) * np.float32(0.001),
        body_weights=assets.body_weights[rows],
        body_joint_regressor=regressor,
        body_faces=assets.body_faces[np.resize(np.arange(len(assets.body_faces)), NUM_TRIANGLES)],
    )


def bench_body_model(assets: BodyAssets) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = BodyModel(assets)
    network = load_network(shared_file("demo/model.pt"))
    with torch.inference_mode():
        parameters = network(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
        for mesh in (False, True):
            shape = model.shape(parameters.betas, parameters.flame_betas, mesh)
            what = f"body model on CPU, {'mesh' if mesh else 'joints only'}"
            row(what, median_ms(partial(model, parameters, mesh=mesh), 50))
            ms = median_ms(partial(model, parameters, shape, mesh), 50)
            limit_ms = BODY_LIMIT_MS[mesh]
            verdict = "ok" if ms <= limit_ms else "too slow"
            row(f"{what}, shape kept", ms, f"at most {limit_ms:.1f} on one core: {verdict}")
    torch.set_num_threads(threads)


def bench_placement() -> None:
    random = torch.Generator().manual_seed(0)
    for count in (1, 16):
        joints = torch.rand(count, 55, 3, generator=random) - 0.5
        camera_t = torch.tensor([0.0, 0.0, 30.0]).repeat(count, 1)
        squares = torch.tensor([700.0, 100.0, 400.0, 400.0]).repeat(count, 1)
        people = joints, camera_t, squares, intrinsics_of([Camera(800, 800, 640, 360)] * count)
        with torch.inference_mode():
            ms = median_ms(partial(place_in_camera, *people), 500)
        row(f"placement of {count} on CPU", ms)


def bench_mesh(node: Node) -> None:
    """Times sending one person's mesh to a subscriber in another process."""
    rng = np.random.default_rng(0)
    people = _people(rng.standard_normal((1, NUM_VERTICES, 3)).astype(np.float32))
    faces = rng.integers(0, NUM_VERTICES, (NUM_TRIANGLES, 3))
    header = Header(frame_id="camera_optical_frame")
    publisher = node.create_publisher(MarkerArray, "bench_markers", 1)
    subscriber = subprocess.Popen([sys.executable, "-c", _SUBSCRIBER])
    try:
        while not publisher.get_subscription_count():
            time.sleep(0.05)
        vertices = people.vertices
        assert vertices is not None

        def by_objects() -> MarkerArray:
            points = vertices[0][faces.reshape(-1)].tolist()
            marker = Marker(header=header, ns="p1", type=Marker.TRIANGLE_LIST)
            marker.points = [Point(x=x, y=y, z=z) for x, y, z in points]
            return MarkerArray(markers=[marker])

        def by_bytes() -> bytes:
            return mesh_markers(people, faces, header)

        total_ms = {}
        for what, build, runs in (("objects", by_objects, 11), ("bytes", by_bytes, 51)):
            built = build()
            build_ms = median_ms(build, runs)
            publish_ms = median_ms(partial(publisher.publish, built), runs)
            total_ms[what] = build_ms + publish_ms
            row(f"mesh of {NUM_TRIANGLES} triangles as {what}, build", build_ms)
            row(f"mesh of {NUM_TRIANGLES} triangles as {what}, publish", publish_ms)
        print(
            f"  objects take {total_ms['objects'] / total_ms['bytes']:.0f} times as long as bytes"
        )
    finally:
        subscriber.kill()


_SUBSCRIBER = """
import rclpy
from visualization_msgs.msg import MarkerArray
rclpy.init()
node = rclpy.create_node("bench_subscriber")
node.create_subscription(MarkerArray, "bench_markers", lambda m: None, 1, raw=True)
rclpy.spin(node)
"""


def _people(vertices: Any) -> People:
    one = np.zeros((1, 3), np.float32)
    empty = torch.zeros(1, 1)
    return People(
        ids=("p1",),
        boxes=Boxes(np.zeros((1, 4), np.float32), np.ones(1, np.float32)),
        crop_xywh=np.zeros((1, 4), np.float32),
        parameters=EhmParameters(*[empty] * 15),
        translation=one,
        joints=np.zeros((1, 55, 3), np.float32),
        rotations=np.zeros((1, 55, 3, 3), np.float32),
        vertices=vertices,
        is_metric=True,
        **seen_now(1),
    )


def bench_node() -> None:
    """Times the node without a network: image's stamp to receipt of /pear/humans, over DDS."""
    arguments = [
        *("-p", f"network.checkpoint:={shared_file('demo/model.pt')}"),
        *("-p", f"body.assets:={shared_file('standin/body.npz')}"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.node_without_network", "--ros-args", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    node = rclpy.create_node("bench")
    latencies_s: list[float] = []
    processing_s: list[float] = []

    def receive(message: HumanArray) -> None:
        sent_ns = stamp_ns(message.header)
        latencies_s.append((node.get_clock().now().nanoseconds - sent_ns) * 1e-9)
        processing_s.append(message.processing_time)

    node.create_subscription(HumanArray, "/pear/humans", receive, 10)
    images = node.create_publisher(Image, "image", qos_profile_sensor_data)
    infos = node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
    try:
        while not (images.get_subscription_count() and infos.get_subscription_count()):
            rclpy.spin_once(node, timeout_sec=0.1)
            if process.poll() is not None:
                raise RuntimeError("the node exited before it was ready")
        k = (520.0, 0.0, 320.0, 0.0, 520.0, 240.0, 0.0, 0.0, 1.0)
        picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        due_s = time.monotonic()
        for _ in range(NUM_IMAGES):
            header = Header(frame_id="camera", stamp=node.get_clock().now().to_msg())
            message = image_message(picture, header)
            infos.publish(CameraInfo(header=header, width=640, height=480, k=k))
            header.stamp = node.get_clock().now().to_msg()
            message.header = header
            images.publish(message)
            due_s += 1 / RATE_HZ
            while time.monotonic() < due_s:
                rclpy.spin_once(node, timeout_sec=max(due_s - time.monotonic(), 0))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    what = f"node without network, 640x480 at {RATE_HZ:.0f} Hz"
    row(f"{what}: stamp to humans received", 1e3 * float(np.median(latencies_s)))
    note = f"{len(latencies_s)} of {NUM_IMAGES} processed"
    row(f"{what}: image taken to published", 1e3 * float(np.median(processing_s)), note)


if __name__ == "__main__":
    sys.exit(main())
