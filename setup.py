"""What pip runs on a machine without ROS: it drives the CMakeLists.txt that colcon builds.

colcon never comes here, as package.xml names ament_cmake. CMake, ament and the message generators
come as wheels (pyproject.toml); they form a ROS prefix inside pip's build environment. What CMake
installs goes into our wheel: Python modules to site-packages, lib/, share/ and include/ to the
environment's root, where the ROS wheels put theirs.
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
    """Return the directory that holds the share/, lib/ and include/ of the ROS wheels."""
    try:
        wheel = metadata.distribution("ros-ament-cmake-core")
    except metadata.PackageNotFoundError:
        sys.exit("pip needs the ROS wheels to build pear_ros; on a ROS install use colcon")
    return Path(str(wheel.locate_file("."))).resolve().parents[2]


def built_against(wheel: str) -> str:
    """Return the requirement that keeps to the ROS distribution that our messages link to."""
    return f"{wheel}~={metadata.version(wheel)}"


class CMakeBuild(build_ext):
    """Build and install with CMake, then hand over to setuptools what CMake installed."""

    def run(self) -> None:
        if self.editable_mode:
            sys.exit("generated messages make an editable install impossible; see `make venv`")
        prefix = ros_prefix()
        # Kept between builds, which makes the next one fast, unless it was for another prefix.
        build = Path(self.build_temp).resolve()
        built_for = build / "prefix.txt"
        if not built_for.exists() or built_for.read_text() != str(prefix):
            shutil.rmtree(build, ignore_errors=True)
            build.mkdir(parents=True)
            built_for.write_text(str(prefix))
        # Not kept: a module deleted from the source must not survive in the wheel.
        stage = build / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        shutil.rmtree(self.build_lib, ignore_errors=True)

        self.install(SOURCE / "interfaces/tf2_msgs", build / "tf2_msgs", stage, prefix)
        self.install(SOURCE, build / "pear_ros", stage, prefix)

        no_metadata = shutil.ignore_patterns("*.egg-info", "__pycache__")  # pip writes its own
        shutil.copytree(stage / SITE_PACKAGES, self.build_lib, ignore=no_metadata)
        shutil.rmtree(stage / SITE_PACKAGES)
        # names the prefix that was built on, which for pip is a temporary directory
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
    ext_modules=[Extension("pear_ros.msg", sources=[])],  # makes the wheel one of this platform
    cmdclass={"build_ext": CMakeBuild},
    # beside the sources, its metadata would be taken for that of the installed package
    options={"egg_info": {"egg_base": "build"}},
    install_requires=[
        "numpy",
        "opencv-python-headless>=4.5,<5",  # OpenCV 5 has no HOG people detector
        "scipy",
        "torch>=2.6",
        "tqdm",
        built_against("ros-geometry-msgs"),
        built_against("ros-rosidl-runtime-c"),  # rclpy and rmw_fastrtps follow from this one
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
