"""Files that are installed with pear_ros: the stand-in body and the demo's network."""

from __future__ import annotations

from pathlib import Path

import pear_ros
from pear_ros.errors import AssetError, SettingError


def shared_file(name: str) -> Path:
    """The path of a shared file such as "standin/body.npz".

    In the source tree these files are in assets/ next to the package. Installed, they are in
    share/pear_ros/ of the installation prefix, which may be any parent folder of the package.

    Raises:
        AssetError: If the file does not exist.
    """
    package = Path(pear_ros.__file__).absolute().parent
    places = [package.parent / "assets" / name]
    places += [folder / "share" / "pear_ros" / name for folder in package.parents]
    for path in places:
        if path.is_file():
            return path
    raise AssetError(f"{name} was not installed with pear_ros, whose modules are in {package}")


def checkpoint_or_demo(checkpoint: str, network_config: str) -> str:
    """The user's checkpoint if there is one, else the demo's, whose network.json is next to it.

    Raises:
        SettingError: If there is a network configuration but no checkpoint.
        AssetError: If the demo's checkpoint is not installed.
    """
    if network_config and not checkpoint:
        raise SettingError("--network-config describes a checkpoint: give --checkpoint as well")
    return checkpoint or str(shared_file("demo/model.pt"))
