"""Lets pip build pear_ros on a machine without ROS, using the same CMakeLists.txt as colcon.

colcon does not use this file, because package.xml says ament_cmake. CMake, ament and the message
generators are wheels (pyproject.toml), which form a ROS prefix inside pip's build environment. The
files that CMake installs go into our wheel: Python modules to site-packages; lib/, share/ and
include/ to the environment's root, like those of the ROS wheels.
"""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path(__file__).resolve().parent
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE_PACKAGES = Path("lib", PYTHON, "site-packages")


def ros_prefix() -> Path:
    """Return the directory with share/, lib/ and include/ of the ROS wheels."""
    try:
        wheel = metadata.distribution("ros-ament-cmake-core")
    except metadata.PackageNotFoundError:
        sys.exit("pip needs the ROS wheels to build pear_ros; on a ROS install, build with colcon")
    return Path(str(wheel.locate_file("."))).resolve().parents[2]


def built_against(wheel: str) -> str:
    """Return a requirement that pins the ROS distribution to which our messages link."""
    return f"{wheel}~={metadata.version(wheel)}"


class CMakeBuild(build_ext):
    """Build and install with CMake, then pass the installed files to setuptools."""

    def run(self) -> None:
        if self.editable_mode:
            sys.exit("an editable install lacks the generated messages; use `make venv`")
        prefix = ros_prefix()
        # Keep the build folder, which makes the next build fast, unless it is for another prefix.
        build = Path(self.build_temp).resolve()
        built_for = build / "prefix.txt"
        if not built_for.exists() or built_for.read_text() != str(prefix):
            shutil.rmtree(build, ignore_errors=True)
            build.mkdir(parents=True)
            built_for.write_text(str(prefix))
        # Start from an empty stage: a module deleted from the source must not stay in the wheel.
        stage = build / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        shutil.rmtree(self.build_lib, ignore_errors=True)

        self.install(SOURCE / "interfaces/tf2_msgs", build / "tf2_msgs", stage, prefix)
        self.install(SOURCE, build / "pear_ros", stage, prefix)

        no_metadata = shutil.ignore_patterns("*.egg-info", "__pycache__")  # pip writes its own
        shutil.copytree(stage / SITE_PACKAGES, self.build_lib, ignore=no_metadata)
        shutil.rmtree(stage / SITE_PACKAGES)
        # It contains the prefix used for the build, which for pip is a temporary directory.
        shutil.rmtree(stage / "share/ament_index/resource_index/parent_prefix_path")
        self.distribution.data_files = [
            (str(Path(folder).relative_to(stage)), [str(Path(folder, name)) for name in names])
            for folder, _, names in os.walk(stage)
            if names
        ]

    def install(self, source: Path, build: Path, stage: Path, prefix: Path) -> None:
        """Build one CMake project and install it into `stage`."""
        env = {k: v for k, v in os.environ.items() if not k.endswith("_PREFIX_PATH")}
        env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(prefix)
        if not (build / "build.ninja").exists():
            configure = [
                *("cmake", "-S", source, "-B", build, "-G", "Ninja"),
                "-DBUILD_TESTING=OFF",
                "-DCMAKE_BUILD_TYPE=Release",
                f"-DCMAKE_INSTALL_PREFIX={stage}",
                f"-DPYTHON_INSTALL_DIR={SITE_PACKAGES}",
                f"-DPython3_EXECUTABLE={sys.executable}",
            ]
            subprocess.run(configure, env=env, check=True)
        subprocess.run(["cmake", "--build", build, "--target", "install"], env=env, check=True)


(SOURCE / "build").mkdir(exist_ok=True)
setup(
    version=ElementTree.parse(SOURCE / "package.xml").findtext("version"),
    packages=[],  # CMake installs them
    ext_modules=[Extension("pear_ros.msg", sources=[])],  # makes the wheel platform-specific
    cmdclass={"build_ext": CMakeBuild},
    # Next to the sources, its metadata would be mistaken for that of the installed package.
    options={"egg_info": {"egg_base": "build"}},
    install_requires=[
        "numpy",
        "opencv-python-headless>=4.5",
        "pillow>=10",
        "scipy",
        "torch>=2.6",
        "tqdm",
        built_against("ros-geometry-msgs"),
        built_against("ros-rosidl-runtime-c"),  # determines the versions of rclpy and rmw_fastrtps
        built_against("ros-sensor-msgs"),
        built_against("ros-std-msgs"),
        "ros-ament-index-python",
        "ros-builtin-interfaces",
        "ros-diagnostic-msgs",
        "ros-lifecycle-msgs",
        "ros-rcl-interfaces",
        "ros-rclpy[fastrtps]",
        "ros-std-srvs",
        "ros-visualization-msgs",
    ],
)
