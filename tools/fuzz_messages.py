"""Kinds of inputs of `tools.fuzz`: images, calibrations, detections and parameters."""

from __future__ import annotations

import array
import dataclasses
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
from PIL import Image as Pillow

from pear_ros.config import Config, settings
from pear_ros.errors import ImageError, SettingError
from pear_ros.geometry.camera import intrinsics_of, project
from pear_ros.geometry.lens import MODELS, lens_rows, slopes_of
from pear_ros.images.decode import DEPTH_ENCODINGS, ENCODINGS, rgb_from_raw
from pear_ros.images.encoded import PictureFile, rgb_from_compressed
from tools.fuzz_damage import (
    Random,
    Try,
    damaged,
    fuzzer,
    hostile_float,
    hostile_int,
    hostile_text,
)

DATA = Path(__file__).resolve().parent.parent / "test/data"
HEIGHT, WIDTH = 48, 64  # px, of images and calibrations that are valid


# --- Images --------------------------------------------------------------------------------------


@fuzzer("raw-images", needs_ros=True)
def raw_images(folder: Path) -> Try:
    """Fields of sensor_msgs/Image, of which up to three are changed."""
    from sensor_msgs.msg import Image

    from pear_ros.ros.from_messages import rgb_from_message

    def one(random: Random) -> None:
        fields = valid_image_fields(random)
        changed = [random.choice(list(fields)) for _ in range(random.choice((0, 1, 1, 2, 3)))]
        for name in changed:
            fields[name] = changed_field(name, fields[name], random)
        try:
            if random.random() < 0.5:
                fields["data"] = array.array("B", fields["data"])
                image = rgb_from_message(Image(**fields))
            else:
                image = rgb_from_raw(**fields)
        except ImageError as error:
            if not changed:
                raise AssertionError("a valid image is refused") from error
            raise
        assert image.shape == (fields["height"], fields["width"], 3)
        image.sum()  # reads all of it

    return one


def valid_image_fields(random: Random) -> dict[str, Any]:
    """The fields of a small image."""
    encoding = random.choice(list(ENCODINGS))
    height, width = 2 * random.randrange(1, 25), 2 * random.randrange(1, 33)
    pixel_bytes = ENCODINGS[encoding].sections(width, height, 0)[0].strides[1]
    step = width * pixel_bytes + random.choice((0, 0, 2, 64))
    size = ENCODINGS[encoding].sections(width, height, step)[-1].end
    return {
        "encoding": encoding,
        "height": height,
        "width": width,
        "step": step,
        "is_bigendian": random.randrange(2),
        "data": random.randbytes(size),
    }


def changed_field(name: str, value: Any, random: Random) -> Any:
    if name == "data":
        return damaged(value, random)
    if name == "encoding":
        others = (*ENCODINGS, *DEPTH_ENCODINGS, hostile_text(random), value.upper(), f"{value} ")
        return random.choice(others)
    if name == "is_bigendian":
        return hostile_int(random, bits=8)
    near = max(value + random.choice((-1, 1)), 0)
    return random.choice((near, 2 * value, hostile_int(random)))


@fuzzer("compressed-images")
def compressed_images(folder: Path) -> Try:
    """Damaged pictures, spliced ones, and headers with large sizes."""
    pictures = encoded_pictures()

    def one(random: Random) -> None:
        picture = random.choice(pictures)
        what = random.randrange(5)
        if what == 0:
            other = random.choice(pictures)
            data = picture[: random.randrange(len(picture))] + other[random.randrange(len(other)) :]
        elif what == 1:
            data = _with_size(picture, random)
        elif what == 2:
            data = picture
        else:
            data = damaged(picture, random)
        if data.startswith(b"\x89PNG") and random.random() < 0.7:
            data = with_checksums(data)
        max_pixels = random.choice((100, 10_000, 50_000_000))
        try:
            image = rgb_from_compressed(data, max_pixels)
            assert image.shape[0] * image.shape[1] <= max_pixels
            for page in PictureFile(data, max_pixels, upright=True):
                assert page.image.shape[0] * page.image.shape[1] <= max_pixels
        except ImageError as error:
            if data == picture and max_pixels > 100:
                raise AssertionError("a valid picture is refused") from error
            raise

    return one


def encoded_pictures() -> list[bytes]:
    """A small picture of each kind of file."""
    generator = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(generator.integers(0, 256, (24, 32, 3), np.uint8), (5, 5), 0)
    grey, wide = smooth[..., :1], smooth[..., :1].astype(np.uint16) * 257
    pictures = [
        cv2.imencode(suffix, image)[1].tobytes()
        for suffixes, image in (
            ((".jpg", ".png", ".webp", ".tiff", ".gif", ".bmp", ".ppm"), smooth),
            ((".jpg", ".png", ".tiff", ".bmp", ".pgm"), grey),
            ((".png", ".tiff"), wide),
        )
        for suffix in suffixes
    ]
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    pictures.append(cv2.imencode(".jpg", smooth, progressive)[1].tobytes())
    picture = Pillow.fromarray(smooth)
    later = [Pillow.fromarray(smooth[::-1]), Pillow.fromarray(smooth[:, ::-1])]
    turned = Pillow.Exif()
    turned[0x112] = 6
    film: dict[str, Any] = {"save_all": True, "append_images": later, "duration": 40}
    for kind, image, options in (
        ("JPEG", picture.convert("CMYK"), {"exif": turned}),
        ("PNG", picture.convert("P"), {"exif": turned}),
        ("PNG", picture.convert("RGBA"), film),
        ("GIF", picture, film),
        ("WEBP", picture.convert("RGBA"), film | {"lossless": True}),
        ("TIFF", picture, {"save_all": True, "append_images": later, "exif": turned}),
        ("TIFF", picture, {"compression": "tiff_lzw"}),
        ("TIFF", picture, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", picture, {"compression": "jpeg"}),
        ("TIFF", picture.convert("1"), {"compression": "group4"}),
        ("TIFF", picture.convert("F").point(lambda value: value / 256), {}),
    ):
        buffer = BytesIO()
        image.save(buffer, kind, **options)
        pictures.append(buffer.getvalue())
    return pictures


def _with_size(picture: bytes, random: Random) -> bytes:
    """Two neighbouring numbers are replaced, which may be width and height."""
    sizes = (0, 1, 2, 7000, 16383, 32767, 65500, 2**31 - 1, 2**32 - 1)
    code = random.choice("HI")
    values = [random.choice(sizes) % 2 ** (8 * struct.calcsize(code)) for _ in range(2)]
    new = struct.pack(random.choice("<>") + 2 * code, *values)
    at = random.randrange(min(len(picture), 400))
    return picture[:at] + new + picture[at + len(new) :]


def with_checksums(png: bytes) -> bytes:
    """Corrects the checksums of all chunks, so that a decoder looks into them."""
    data, at = bytearray(png), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


# --- Calibrations --------------------------------------------------------------------------------


@fuzzer("camera-info", needs_ros=True)
def camera_info(folder: Path) -> Try:
    """sensor_msgs/CameraInfo with up to four changed numbers; points are projected, and back."""
    read = _camera_reader()
    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 5), np.linspace(-3, 3, 5)), -1).reshape(-1, 2)
    points = np.c_[grid, np.full(len(grid), 2.0)].astype(np.float32)

    corners = np.array([[0, 0], [WIDTH, HEIGHT], [20, 30]], np.float64)

    def one(random: Random) -> None:
        info, config = hostile_info(random), random_config(random)
        camera = read(info, config)
        with np.errstate(all="ignore"):
            project(points, camera)
            slopes_of(corners, camera)
        lens_rows([camera])
        intrinsics = intrinsics_of([camera])  # float32, as they are computed with
        assert intrinsics.isfinite().all(), camera
        assert (intrinsics[:, :2] > 0).all(), camera

    return one


def _camera_reader() -> Any:
    """(camera_info, config) -> camera, as the node reads it."""
    from pear_ros.problems import Problems
    from pear_ros.ros.frame_reader import FrameReader

    reader = FrameReader("", "/image", Problems(lambda text: None), lambda source: None)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return lambda info, config: reader._camera(info, image, config)


def valid_info(random: Random) -> Any:
    """A calibration of images of HEIGHT x WIDTH px, with a lens that need not make sense."""
    from sensor_msgs.msg import CameraInfo

    info = CameraInfo(width=WIDTH, height=HEIGHT)
    info.k[0], info.k[2], info.k[4], info.k[5], info.k[8] = 60.0, 32.0, 61.0, 24.0, 1.0
    info.p[0], info.p[2], info.p[5], info.p[6], info.p[10] = 60.0, 32.0, 61.0, 24.0, 1.0
    info.distortion_model = random.choice(list(MODELS))
    count = random.choice((0, *MODELS[info.distortion_model]))
    scale = random.choice((0.0, 0.1, 0.3, 3.0))
    info.d = [random.gauss(0, scale) for _ in range(count)]
    return info


def hostile_info(random: Random) -> Any:
    """The same with changes."""
    info = valid_info(random)
    bins = random.choice((0, 1, 2, 3))
    info.binning_x = info.binning_y = bins
    info.width, info.height = WIDTH * max(bins, 1), HEIGHT * max(bins, 1)
    distortion = info.d.tolist()
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        what = random.randrange(7)
        if what < 2:
            matrix = (info.k, info.p)[what]
            matrix[random.randrange(len(matrix))] = hostile_float(random)
        elif what == 2 and distortion:
            distortion[random.randrange(len(distortion))] = hostile_float(random)
        elif what == 3:
            distortion = [hostile_float(random) for _ in range(random.choice((1, 4, 5, 8, 12, 99)))]
        elif what == 4:
            info.distortion_model = random.choice(("", "fisheye", hostile_text(random), *MODELS))
        elif what == 5:
            name = random.choice(("x_offset", "y_offset", "height", "width"))
            setattr(info.roi, name, random.choice((HEIGHT, WIDTH, hostile_int(random))))
        else:
            name = random.choice(("width", "height", "binning_x", "binning_y"))
            setattr(info, name, hostile_int(random))
    info.d = distortion
    return info


def random_config(random: Random) -> Config:
    return Config.of(
        {
            "camera.rectified": random.random() < 0.5,
            "camera.assumed_fov_deg": random.choice((10.0, 60.0, 170.0)),
            "detection.detector": "topic",
            "detection.person_class": random.choice(("", "", "person", "0")),
            "detection.min_score": random.choice((0.0, 0.5)),
            "detection.max_people": random.choice((1, 4, 16)),
            "detection.min_plausibility": 0.0,
        }
    )


# --- Detections ----------------------------------------------------------------------------------


@fuzzer("detections", needs_ros=True)
def detections(folder: Path) -> Try:
    """Detections of three images of a real pipeline, whose network sees the same in each crop."""
    import torch
    from std_msgs.msg import Header

    from pear_ros.assets.body_assets import load_assets
    from pear_ros.body.body_model import BodyModel
    from pear_ros.detection.detector import given_boxes
    from pear_ros.network.checkpoint import load_network
    from pear_ros.network.network_config import NetworkConfig
    from pear_ros.people import Frame
    from pear_ros.pipeline import Pipeline
    from pear_ros.problems import Problems
    from pear_ros.ros.detection_reader import DetectionReader
    from pear_ros.ros.to_messages import humans_message, transforms_message
    from pear_ros.system.installed import shared_file
    from tools.node_without_network import ConstantNetwork

    sizes = NetworkConfig.from_json(DATA / "network_tiny.json")
    network = load_network(DATA / "network_tiny.pt", sizes, fold=False)
    for values in network.head.cam_decoder.parameters():
        torch.nn.init.zeros_(values)  # everybody is 16 m away
    problems = Problems(lambda text: None)
    pipeline = Pipeline(
        ConstantNetwork(network),
        BodyModel(load_assets(shared_file("standin/body.npz"))),
        given_boxes,
        Config(),
        problems,
    )
    read_camera = _camera_reader()
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def one(random: Random) -> None:
        config = random_config(random)
        pipeline.config = config
        pipeline.forget("")
        read = DetectionReader("", "/detections", problems)
        camera = read_camera(hostile_info(random), config)
        for i in range(3):
            rate = random.choice((0.0, 0.05, 0.5))
            boxes = read(detections_message(random, rate), config.detection)
            frame = Frame(image, camera, i * random.choice((0.0, 0.1, 1e9)), "", boxes)
            (people,) = pipeline.step([frame])
            assert sum(people.visible) <= config.detection.max_people
            for values in (
                people.translation,
                people.joints,
                people.boxes.xyxy,
                people.boxes.scores,
            ):
                assert np.isfinite(values).all()
            humans_message(people, Header(), (HEIGHT, WIDTH), processing_time_s=0.0)
            transforms_message(people, Header())

    return one


def detections_message(random: Random, rate: float) -> Any:
    """vision_msgs/Detection2DArray, of whose numbers `rate` are hostile."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    message = Detection2DArray()

    def number(good: float) -> float:
        return hostile_float(random) if random.random() < rate else good

    for _ in range(random.choice((0, 1, 2, 5, 5, 20, 100))):
        detection = Detection2D()
        box = detection.bbox
        box.center.position.x = number(random.uniform(0, WIDTH))
        box.center.position.y = number(random.uniform(0, HEIGHT))
        box.center.theta = number(random.choice((0.0, 0.0, 1.0)))
        box.size_x, box.size_y = (number(random.uniform(5, HEIGHT)) for _ in range(2))
        for _ in range(random.choice((0, 1, 1, 1, 3))):
            result = ObjectHypothesisWithPose()
            result.hypothesis.score = number(random.random())
            classes = ("person", "person", "0", " Person ", hostile_text(random))
            result.hypothesis.class_id = random.choice(classes)
            detection.results.append(result)
        message.detections.append(detection)
    return message


# --- Parameters ----------------------------------------------------------------------------------


@fuzzer("parameters", needs_ros=True)
def parameters(folder: Path) -> Try:
    """Parameters of the node: given at its start, and set later. Good values stay good."""
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"
    import rclpy
    from rcl_interfaces.srv import SetParameters
    from rclpy.exceptions import ParameterException
    from rclpy.parameter import Parameter

    from pear_ros.ros.node import PearNode
    from pear_ros.ros.parameters import declare_parameters

    context = rclpy.Context()
    rclpy.init(context=context)
    running = PearNode(context=context)
    starting = rclpy.create_node("starting", context=context)
    service, request = running._parameter_service._set_parameters_callback, SetParameters.Request()
    known = settings(Config)

    def given(random: Random) -> list[Any]:
        values = {}
        for _ in range(random.choice((1, 1, 2, 6))):
            name = random.choice((*known, *known, *known, "use_sim_time", "autostart.x", "a"))
            values[name] = _hostile_value(known.get(name), random)
        return [Parameter(name, value=value) for name, value in values.items()]

    def start(random: Random) -> None:
        found = {parameter.name: parameter for parameter in given(random)}
        starting._parameter_overrides = found
        try:
            config = Config.of(declare_parameters(starting, Config))
        except ParameterException as error:
            raise SettingError("refused by ROS") from error
        finally:
            for name in known:
                if starting.has_parameter(name):
                    starting.undeclare_parameter(name)
        dataclasses.replace(config)  # checks all values

    def change(random: Random) -> None:
        before = running.config
        running._pipeline = cast(Any, random.choice((None, SimpleNamespace())))
        request.parameters = [parameter.to_parameter_msg() for parameter in given(random)]
        results = service(request, SetParameters.Response()).results
        running._pipeline = None
        dataclasses.replace(running.config)  # checks all values
        if not all(result.successful for result in results):
            assert all(result.successful or result.reason for result in results)
            running.config = before
            raise SettingError("refused by the node")

    return lambda random: random.choice((start, change))(random)


def _hostile_value(field: dataclasses.Field[Any] | None, random: Random) -> Any:
    """A value for a parameter of ROS: often of the right type, sometimes good."""
    number = hostile_float(random)
    values: list[Any] = [
        number,
        random.choice((-1, 1)) * hostile_int(random, bits=63),
        random.random() < 0.5,
        hostile_text(random).replace("\0", ""),
        [hostile_text(random).replace("\0", "") for _ in range(random.randrange(4))],
        [number, 1.0],
        [1, hostile_int(random)],
        [True],
        [b"b"],
    ]
    if field is None or random.random() < 0.3:
        return random.choice(values)
    metadata = field.metadata
    if metadata["choices"]:
        return random.choice((*metadata["choices"], values[3]))
    if metadata["bounds"]:
        low, high = metadata["bounds"]
        kind: Any = type(field.default)
        inside = kind(random.uniform(low, high))
        limits = (kind(low), kind(high), kind(low) - 1, kind(high) + 1)
        return random.choice((inside, *limits, values[1 if kind is int else 0]))
    good = field.default if not isinstance(field.default, tuple) else ["front", "rear"]
    return random.choice((good, next(v for v in values if type(v) is type(good))))
