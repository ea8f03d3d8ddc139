"""Sphinx configuration; `make docs` builds the site. Nothing is fetched from the network."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs/_extensions"))
sys.path.insert(0, str(ROOT))  # the source, not an installed copy

project = "pear_ros"
author = "pear_ros maintainers"
copyright = "pear_ros maintainers, Apache-2.0"
release = version = ElementTree.parse(ROOT / "package.xml").findtext("version") or ""

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "generated",
    "docstrings",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_extensions", "pictures"]
toc_object_entries = False  # the API page's own table of contents lists modules only
smartquotes = False  # it would turn --option into a dash
default_role = "literal"  # single backticks in docstrings are code

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {
    name: name
    for name in (
        *("Array", "Boxes", "Estimate", "FloatArray", "ImageArray", "IntArray", "OnStage"),
        *("Errors", "Random", "Repertoire"),
    )
}
# The API pages need neither ROS nor TensorRT. The build generates pear_ros.msg.
autodoc_mock_imports = [
    *("ament_index_python", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs"),
    *("lifecycle_msgs", "pear_ros.msg", "rcl_interfaces", "rclpy", "sensor_msgs", "sensor_msgs_py"),
    *(
        "std_msgs",
        "std_srvs",
        "openvino",
        "tensorrt",
        "tf2_msgs",
        "vision_msgs",
        "visualization_msgs",
    ),
]

html_theme = "furo"
html_title = f"pear_ros {release}"
html_static_path = ["_static"]
html_css_files = ["pear.css"]
html_copy_source = False
html_show_sphinx = False

copybutton_exclude = ".linenos, .gp, .go"
