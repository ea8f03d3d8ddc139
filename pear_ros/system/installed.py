"""Files that come with pear_ros: the stand-in body, the demo's network."""

from __future__ import annotations

from pathlib import Path

import pear_ros
from pear_ros.errors import AssetError, SettingError


def shared_file(name: str) -> Path:
    """The path of such a file, "standin/body.npz" say; AssetError where it is not there.

    In the source tree they lie in assets/ beside this package, installed in share/pear_ros/ of the
    prefix that this package is in: how deep in it, differs from system to system.
    """
    package = Path(pear_ros.__file__).absolute().parent
    places = [package.parent / "assets" / name]
    places += [folder / "share" / "pear_ros" / name for folder in package.parents]
    for path in places:
        if path.is_file():
            return path
    raise AssetError(f"{name} was not installed with pear_ros, whose modules are in {package}")


def checkpoint_or_demo(checkpoint: str, network_config: str) -> str:
    """The checkpoint that the user gave, else the demo's, beside which its sizes lie.

    Raises SettingError where there are only sizes: they would belong to nothing.
    """
    if network_config and not checkpoint:
        raise SettingError("--network-config describes a checkpoint: give --checkpoint, too")
    return checkpoint or str(shared_file("demo/model.pt"))
