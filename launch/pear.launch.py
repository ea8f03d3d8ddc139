"""ros2 launch pear_ros pear.launch.py image:=/camera/image_raw checkpoint:=... assets:=...

`--show-args` lists the arguments. For several cameras, name them in a parameter file
(`cameras: [front, rear]`) and remap their inputs from a launch file of your own:

    GroupAction([
        SetRemap("front/image", "/front_camera/image_raw"),
        SetRemap("front/camera_info", "/front_camera/camera_info"),
        ...
        IncludeLaunchDescription(
            PathJoinSubstitution([FindPackageShare("pear_ros"), "launch", "pear.launch.py"]),
            launch_arguments={"params_file": "/home/me/cameras.yaml"}.items(),
        ),
    ])
"""

import dataclasses

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from pear_ros.config import Config

# Parameters that are arguments, too; only where given do they override the parameter file.
SETTINGS = (
    "checkpoint", "network_config", "assets", "detector", "device", "engine", "image_transport",
)  # fmt: skip

SHARE = FindPackageShare("pear_ros")
ARGUMENTS = {
    "image": ("/camera/image_raw", "topic of the images; <image>/compressed of compressed ones"),
    "camera_info": ("/camera/camera_info", "topic of the camera's calibration"),
    "detections": ("detections", "topic of the people's boxes, for detector:=topic"),
    "namespace": ("", "of the node pear: people are on /<namespace>/pear/humans"),
    "params_file": (
        PathJoinSubstitution([SHARE, "config", "pear.yaml"]),
        "YAML file with the node's parameters",
    ),
    "use_sim_time": ("", "true: time comes from /clock; empty: as params_file says, else false"),
    "log_level": ("info", "debug, info, warn, error or fatal; pear:=debug: of this node alone"),
    "rviz": ("false", "true: start RViz, too"),
    "rviz_frame": ("camera_optical_frame", "RViz's fixed frame; the images' frame_id, or map, ..."),
}

# Fast DDS sends through 0.5 MB of shared memory by default: larger images and meshes get lost. That
# memory is the sender's: this helps what pear sends; for images the camera's process needs it.
TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
SIXTEEN_MB = "DEFAULT?sockets_size=16MB"


def generate_launch_description() -> LaunchDescription:
    settings = {setting.name: setting.metadata for setting in dataclasses.fields(Config)}
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            *(
                DeclareLaunchArgument(
                    name,
                    default_value="",
                    description=f"{settings[name]['doc']} (argument empty: as params_file says)",
                )
                for name in SETTINGS
            ),
            OpaqueFunction(function=_nodes),
        ]
    )


def _nodes(context: LaunchContext) -> list:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    settings = {name: ParameterValue(value(name), value_type=str) for name in SETTINGS}
    settings = {name: setting for name, setting in settings.items() if value(name)}
    clock = {}
    if value("use_sim_time"):
        clock["use_sim_time"] = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)

    actions, environment = [], {}
    if TRANSPORTS not in context.environment:
        environment[TRANSPORTS] = SIXTEEN_MB
        told = f"{TRANSPORTS}='{SIXTEEN_MB}' is set for pear, as Fast DDS loses what is larger "
        actions.append(LogInfo(msg=f"{told}than 0.5 MB without; set it for the camera's process"))

    pear = Node(
        package="pear_ros",
        executable="pear_node",
        name="pear",
        namespace=value("namespace"),
        output="screen",
        parameters=[value("params_file"), settings | clock],
        remappings=[
            ("image", value("image")),
            ("image/compressed", value("image") + "/compressed"),
            ("camera_info", value("camera_info")),
            ("detections", value("detections")),
        ],
        ros_arguments=["--log-level", value("log_level")],
        additional_env=environment,
    )
    # pear.rviz has the topics without a namespace; relative names resolve in RViz's, which is ours.
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=value("namespace"),
        output="screen",
        arguments=[
            *("-d", PathJoinSubstitution([SHARE, "config", "pear.rviz"])),
            *("-f", value("rviz_frame")),
        ],
        parameters=[clock],
        remappings=[
            ("/camera/image_raw", value("image")),
            *((f"/pear/{name}", f"pear/{name}") for name in ("markers", "skeletons", "overlay")),
        ],
        additional_env=environment,
        condition=IfCondition(value("rviz")),
    )
    return [*actions, rviz, pear]  # RViz first: where it is missing, no node is left behind
