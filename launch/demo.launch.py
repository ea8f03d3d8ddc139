"""Launches the demo: `ros2 launch pear_ros demo.launch.py`, with `rviz:=true` to start RViz.

It starts a synthetic camera, and the node with the small demo network and the stand-in body;
nothing needs to be downloaded. Compare `ros2 topic echo /pear/humans` with the ground truth,
`ros2 topic echo /camera/ground_truth`.
"""

import dataclasses

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    PathJoinSubstitution,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from pear_ros.config import SyntheticCameraConfig
from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS

SETTINGS = ("people", "repertoire", "seed", "rate_hz")  # of the camera; also launch arguments

CAMERA = "camera"  # namespace of the synthetic camera


def generate_launch_description() -> LaunchDescription:
    settings = {setting.name: setting for setting in dataclasses.fields(SyntheticCameraConfig)}

    def shared(*path: str) -> PathJoinSubstitution:
        return PathJoinSubstitution([FindPackageShare("pear_ros"), *path])

    camera = Node(
        package="pear_ros",
        executable="synthetic_camera",
        name="synthetic_camera",
        namespace=CAMERA,
        output="screen",
        parameters=[
            {"wait_for_subscriber": True}
            | {
                name: ParameterValue(
                    LaunchConfiguration(name), value_type=type(settings[name].default)
                )
                for name in SETTINGS
            }
        ],
    )
    pear = IncludeLaunchDescription(
        shared("launch", "pear.launch.py"),
        launch_arguments={
            "image": f"/{CAMERA}/image",
            "camera_info": f"/{CAMERA}/camera_info",
            "detections": f"/{CAMERA}/detections",
            "detector": "topic",
            "checkpoint": shared("demo", "model.pt"),
            "network_config": shared("demo", "network.json"),
            "assets": shared("standin", "body.npz"),
            "rviz": LaunchConfiguration("rviz"),
        }.items(),
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name,
                    default_value=str(settings[name].default),
                    description=settings[name].metadata["doc"],
                )
                for name in SETTINGS
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="true: start RViz"),
            SetEnvironmentVariable(
                TRANSPORTS, EnvironmentVariable(TRANSPORTS, default_value=LARGE_IMAGES)
            ),
            camera,
            pear,
        ]
    )
