"""ros2 launch pear_ros pear.launch.py image:=/camera/image_raw checkpoint:=... assets:=...

`--show-args` lists the arguments. For several cameras, name them in a parameter file
(`camera: {names: [front, rear]}`) and remap their inputs from a launch file of your own:

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

# Arguments that set parameters; only where given do they override the parameter file.
SETTINGS = {
    "checkpoint": "network.checkpoint",
    "network_config": "network.config",
    "assets": "body.assets",
    "detector": "detection.detector",
    "device": "network.device",
    "engine": "network.engine",
    "image_transport": "camera.image_transport",
}

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
                    description=f"{fields[parameter].metadata['doc']} (empty: as params_file says)",
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
    clock = {}
    if value("use_sim_time"):
        clock["use_sim_time"] = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)

    # Helps what pear sends, such as meshes; for images the camera's process needs it.
    actions, environment = [], {}
    if TRANSPORTS not in context.environment:
        environment[TRANSPORTS] = LARGE_IMAGES
        told = f"{TRANSPORTS}='{LARGE_IMAGES}' is set for pear, as Fast DDS loses what is larger "
        actions.append(LogInfo(msg=f"{told}than 0.5 MB without; set it for the camera's process"))

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
