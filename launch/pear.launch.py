"""Launches the node: ros2 launch pear_ros pear.launch.py image:=... checkpoint:=... assets:=...

`--show-args` lists the arguments. For several cameras, name them in a parameter file
(`camera: {names: [front, rear]}`) and remap their inputs in your own launch file:

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

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from pear_ros.config import Config, settings
from pear_ros.ros.dds import LARGE_IMAGES, TRANSPORTS

# Launch arguments -> parameters. They override the parameter file only if they are given.
SETTINGS = {
    "checkpoint": "network.checkpoint",
    "network_config": "network.config",
    "assets": "body.assets",
    "detector": "detection.detector",
    "detector_model": "detection.model",
    "device": "network.device",
    "engine": "network.engine",
    "image_transport": "camera.image_transport",
    "depth_transport": "camera.depth",
    "output_frame": "placement.output_frame",
}

SHARE = FindPackageShare("pear_ros")
ARGUMENTS = {
    "image": ("/camera/image_raw", "topic of the images, or of <image>/compressed"),
    "camera_info": ("/camera/camera_info", "topic of the camera's calibration"),
    "depth": (
        "",
        "topic of depth images that are registered to the images, or of <depth>/compressedDepth "
        "with depth_transport:=compressed; empty: as in params_file",
    ),
    "detections": (
        "detections",
        "topic of the detected people, vision_msgs/Detection2DArray, for detector:=topic",
    ),
    "namespace": ("", "namespace of the node pear, which then publishes /<namespace>/pear/humans"),
    "params_file": (
        PathJoinSubstitution([SHARE, "config", "pear.yaml"]),
        "YAML file with the node's parameters",
    ),
    "use_sim_time": ("", "true: take the time from /clock; empty: as in params_file, else false"),
    "log_level": (
        "info",
        "debug, info, warn, error or fatal; pear:=debug sets it for the logger pear only",
    ),
    "rviz": ("false", "true: start RViz"),
    "rviz_frame": ("camera_optical_frame", "fixed frame of RViz: the images' frame_id, map, ..."),
}


def generate_launch_description() -> LaunchDescription:
    fields = settings(Config)
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
                    description=f"{fields[parameter].metadata['doc']} (empty: as in params_file)",
                )
                for name, parameter in SETTINGS.items()
            ),
            OpaqueFunction(function=_nodes),
        ]
    )


def _nodes(context: LaunchContext) -> list:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    given = {
        parameter: ParameterValue(value(name), value_type=str)
        for name, parameter in SETTINGS.items()
        if value(name)
    }
    depth, depth_topics = value("depth"), []
    if depth:
        depth_topics = [("depth", depth), ("depth/compressedDepth", f"{depth}/compressedDepth")]
        if not value("depth_transport"):
            given["camera.depth"] = "raw"
    clock = {}
    if value("use_sim_time"):
        clock["use_sim_time"] = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)

    # Needed for large messages that pear sends, such as meshes. For images, the camera's process
    # needs it.
    actions, environment = [], {}
    if TRANSPORTS not in context.environment:
        environment[TRANSPORTS] = LARGE_IMAGES
        notice = (
            f"setting {TRANSPORTS}='{LARGE_IMAGES}' for pear, because by default Fast DDS loses "
            "messages above 0.5 MB; set it for the camera's process, too: docs/troubleshooting.md"
        )
        actions.append(LogInfo(msg=notice))

    pear = Node(
        package="pear_ros",
        executable="pear_node",
        name="pear",
        namespace=value("namespace"),
        output="screen",
        parameters=[value("params_file"), given | clock],
        remappings=[
            ("image", value("image")),
            ("image/compressed", value("image") + "/compressed"),
            ("camera_info", value("camera_info")),
            ("detections", value("detections")),
            *depth_topics,
        ],
        ros_arguments=["--log-level", value("log_level")],
        additional_env=environment,
    )
    # The topics in pear.rviz have no namespace. The relative names resolve in RViz's namespace,
    # which is that of pear.
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
    # RViz first: if it is not installed, launch fails before pear starts.
    return [*actions, rviz, pear]
