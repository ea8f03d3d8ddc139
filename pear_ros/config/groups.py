"""The settings of each group, `group.field`, for example `detection.min_score`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from pear_ros.config.setting import Checked, setting
from pear_ros.errors import SettingError

DETECTORS = ("nanodet", "topic", "full_frame", "onnx")
FAMILIES = ("auto", "yolox", "rtdetr", "rfdetr")  # of detectors that are ONNX files


@dataclass(frozen=True)
class NetworkSettings(Checked):
    group: ClassVar[str] = "network"

    checkpoint: str = setting("", "PEAR's weights, pear_model.pt")
    config: str = setting(
        "",
        "JSON file with the sizes of the network; empty: network.json next to the checkpoint if it "
        "exists, else those of the published PEAR (ViT-H)",
    )
    device: str = setting("auto", "where the network runs: auto, cpu, cuda, cuda:1, ...")
    dtype: str = setting(
        "auto",
        "precision of the backbone; auto: float16 on CUDA, bfloat16 on a CPU that supports "
        "it, else float32",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    engine: str = setting(
        "",
        "engine file written by `pear-ros build`; empty: the one that it wrote for this checkpoint "
        "without --output, or PyTorch",
    )
    backend: str = setting(
        "auto",
        "what runs the engine file; auto: TensorRT on CUDA, OpenVINO on a CPU; torch: PyTorch, "
        "without any engine",
        choices=("auto", "torch", "openvino", "tensorrt"),
    )
    openvino_device: str = setting(
        "CPU", "where OpenVINO runs: CPU, or GPU of Intel", choices=("CPU", "GPU")
    )
    openvino_threads: int = setting(
        0, "CPU threads of OpenVINO; 0: as many as PyTorch uses", bounds=(0, 1024)
    )
    build_engine: bool = setting(
        False,
        "build the engine while configuring if missing or made for another machine; takes minutes",
    )


@dataclass(frozen=True)
class BodySettings(Checked):
    group: ClassVar[str] = "body"

    assets: str = setting("", "body model file written by `pear-ros assets convert`")


@dataclass(frozen=True)
class CameraSettings(Checked):
    group: ClassVar[str] = "camera"

    names: tuple[str, ...] = setting(
        (),
        "names of the cameras if there are several; each has its topics under its name; empty: "
        "one camera without a name",
    )
    image_transport: str = setting(
        "raw",
        "raw: sensor_msgs/Image on `image`; compressed: CompressedImage on `image/compressed`",
        choices=("raw", "compressed"),
    )
    rectified: bool = setting(
        False,
        "true: the images are rectified, use camera_info's matrix P; false: use K and the lens's "
        "distortion",
    )
    max_pixels: int = setting(
        50_000_000, "larger images are refused, undecoded", unit="px", bounds=(1, 170_000_000)
    )
    assumed_fov_deg: float = setting(
        60.0,
        "field of view along the longer image side if there is no calibration",
        unit="deg",
        bounds=(10.0, 170.0),
        live=True,
    )
    info_timeout_s: float = setting(
        1.0,
        "how long images wait for the first camera_info before the field of view is assumed",
        unit="s",
        bounds=(0.0, 60.0),
    )

    depth: str = setting(
        "none",
        "depth image that is registered to the camera's image; none: there is none; raw: "
        "sensor_msgs/Image on `depth`; compressed: CompressedImage on `depth/compressedDepth`",
        choices=("none", "raw", "compressed"),
    )
    depth_tolerance_s: float = setting(
        0.02,
        "largest difference between the stamps of an image and of its depth image",
        unit="s",
        bounds=(0.0, 1.0),
    )
    depth_timeout_s: float = setting(
        0.1,
        "how long an image waits for its depth image before it is processed without",
        unit="s",
        bounds=(0.0, 10.0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise SettingError(
                    f"camera.names: {name!r} is not a valid name; start with a letter, use only "
                    "letters, digits and _"
                )
        if len(set(self.names)) != len(self.names):
            raise SettingError(f"camera.names: {list(self.names)} has the same name twice")


@dataclass(frozen=True)
class DetectionSettings(Checked):
    group: ClassVar[str] = "detection"

    detector: str = setting(
        "nanodet",
        "nanodet: the detector that is installed with pear_ros; topic: "
        "vision_msgs/Detection2DArray on `detections`, matched by stamp; full_frame: no detector, "
        "the whole image is one person, even if nobody is there; onnx: the file `model`, run by "
        "onnxruntime",
        choices=DETECTORS,
    )
    input_px: int = setting(
        320,
        "longer side of the image that nanodet sees; more finds smaller people and takes longer",
        unit="px",
        bounds=(64, 1920),
    )
    model: str = setting("", "ONNX file of a detector, for the detector onnx")
    family: str = setting(
        "auto",
        "kind of the ONNX file; auto: from its inputs and outputs; rtdetr: RT-DETR, RT-DETRv2 and "
        "D-FINE",
        choices=FAMILIES,
    )
    person_index: int = setting(
        -1,
        "index of the class person of the ONNX file; -1: that of the published weights (COCO)",
        bounds=(-1, 10000),
    )
    person_class: str = setting(
        "", "class_id that a detection on `detections` must have; empty: any", live=True
    )
    min_score: float = setting(
        0.5,
        "people with a lower score are ignored; nanodet's scores are scaled so that 0.5 balances "
        "missed and false people",
        bounds=(0.0, 1.0),
        live=True,
    )
    max_people: int = setting(
        16,
        "maximum number of detected people per image; those with the highest scores are kept",
        bounds=(1, 64),
        live=True,
    )
    every_nth: int = setting(
        1,
        "the detector runs on every n-th image of a camera; in between, the boxes are those of the "
        "people who are followed, so who comes or leaves is noticed up to n - 1 images late; it "
        "also runs if nobody is followed or somebody was lost; without effect on given boxes",
        bounds=(1, 30),
        live=True,
    )
    min_plausibility: float = setting(
        0.2,
        "people whose estimate is less plausible are ignored; this rejects impossible bodies, not "
        "boxes around nothing; 0: nobody is ignored",
        bounds=(0.0, 1.0),
        live=True,
    )
    timeout_s: float = setting(
        1.0,
        "how long an image waits for its detections on `detections` before it is dropped",
        unit="s",
        bounds=(0.0, 60.0),
    )


@dataclass(frozen=True)
class TrackingSettings(Checked):
    group: ClassVar[str] = "tracking"

    confirm_score: float = setting(
        0.6,
        "a new person is published when the detector's scores of its sightings add up to this: a "
        "sure detection at once, an unsure one if it is seen again; 0: everybody at once",
        bounds=(0.0, 20.0),
    )
    predict_s: float = setting(
        1.0,
        "how long a person who is not seen is still published, as predicted; less if the person "
        "was seen for a moment only, or is not hidden by somebody; 0: only who is seen",
        unit="s",
        bounds=(0.0, 10.0),
    )
    timeout_s: float = setting(
        1.8, "a person not seen for this long gets a new id", unit="s", bounds=(0.0, 60.0)
    )
    id_prefix: str = setting(
        "",
        "beginning of all ids, so that those of several nodes differ; empty: the node draws five "
        "characters when it is configured",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*)?", self.id_prefix):
            raise SettingError(
                f"tracking.id_prefix: {self.id_prefix!r} must start with a letter and contain only "
                "letters, digits and _"
            )


@dataclass(frozen=True)
class SmoothingSettings(Checked):
    group: ClassVar[str] = "smoothing"

    rotation_cutoff_hz: float = setting(
        0.7,
        "cutoff frequency of the filter for rotations, at rest; lower is smoother and lags more; "
        "0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    rotation_cutoff_per_speed: float = setting(
        2.0,
        "how much the cutoff rises with a joint's angular speed; higher lags less in fast motion",
        unit="Hz/(rad/s)",
        bounds=(0.0, 100.0),
    )
    position_cutoff_hz: float = setting(
        0.5,
        "the same for positions across the ray from the camera; 0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    position_cutoff_per_speed: float = setting(
        6.0, "how much it rises with the speed", unit="Hz/(m/s)", bounds=(0.0, 100.0)
    )
    depth_cutoff_hz: float = setting(
        0.3,
        "the same along the ray, where positions are less certain; 0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    depth_cutoff_per_speed: float = setting(
        4.5, "how much it rises with the speed", unit="Hz/(m/s)", bounds=(0.0, 100.0)
    )
    expression_cutoff_hz: float = setting(
        3.0,
        "cutoff frequency of the filter for expressions and eyelids; 0: no filter",
        unit="Hz",
        bounds=(0.0, 100.0),
    )
    shape: bool = setting(
        True,
        "true: a person's body shape is the mean of all images so far; false: as estimated in each "
        "image",
    )


@dataclass(frozen=True)
class PlacementSettings(Checked):
    group: ClassVar[str] = "placement"

    output_frame: str = setting(
        "",
        "TF frame in which people are published and followed, one that stands still, such as odom "
        "or map; empty: the camera's frame",
    )
    ground_frame: str = setting(
        "",
        "TF frame whose xy plane is the floor, such as base_footprint; then the feet of people who "
        "stand tell their distance; empty: the floor is not known",
    )
    tf_timeout_s: float = setting(
        0.1,
        "how long an image waits for its transforms before people are published in the camera's "
        "frame",
        unit="s",
        bounds=(0.0, 10.0),
    )
    body_height_m: float = setting(
        0.0,
        "height of the people if it is known and the same for all; 0: not known",
        unit="m",
        bounds=(0.0, 2.5),
    )
    size_sigma: float = setting(
        0.04,
        "relative standard deviation of the height of a person as the network estimates it; this "
        "and the next ones state the errors, `pear-ros evaluate --placement` measures them",
        bounds=(0.001, 1.0),
    )
    image_sigma: float = setting(
        0.008,
        "relative standard deviation of the distance from the image if the height were known",
        bounds=(0.001, 1.0),
    )
    lateral_sigma: float = setting(
        0.0018,
        "standard deviation of positions across the ray from the camera, relative to the distance",
        bounds=(0.0001, 1.0),
    )
    ground_sigma_deg: float = setting(
        0.22,
        "standard deviation of the angle between the ray to a foot and the floor",
        unit="deg",
        bounds=(0.01, 20.0),
    )
    depth_sigma: float = setting(
        0.003,
        "relative standard deviation of distances from depth images that many pixels share",
        bounds=(0.001, 1.0),
    )
    joint_sigma_scale: float = setting(
        1.0,
        "factor for the standard deviations of joints relative to the pelvis",
        bounds=(0.01, 100.0),
    )
    foot_locking: bool = setting(
        False, "true: feet that stand on the floor stay where they are; body and legs follow"
    )


@dataclass(frozen=True)
class VisualizationSettings(Checked):
    group: ClassVar[str] = "visualization"

    overlay_rate_hz: float = setting(
        10.0,
        "maximum number of overlay images per second and camera",
        unit="Hz",
        bounds=(0.1, 1000.0),
        live=True,
    )
