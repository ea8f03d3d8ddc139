"""Fixtures that several test files share; tests must not change them."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

# Arrays are small here, and workers of pytest-xdist share the cores: threads would only wait for
# each other. Set before numpy and torch are imported; also for the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# Engines of whoever runs the tests must not be used; also for the processes that tests start.
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), f"pear_ros_{os.getpid()}_tests")
# A shell lets jobs in the background ignore Ctrl-C, and the processes that tests start inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import make_assets
import pytest
import torch
from samples import DATA

from pear_ros.assets.body_assets import BodyAssets, load_assets
from pear_ros.assets.downloads import convert_assets
from pear_ros.body.body_model import BodyModel
from pear_ros.config import Config
from pear_ros.network.checkpoint import load_network
from pear_ros.network.network import PearNetwork
from pear_ros.network.network_config import NetworkConfig
from pear_ros.synthetic.scene import Cast
from pear_ros.system.installed import shared_file

SMALL = make_assets.Sizes(body_vertices=150, body_faces=70, head_vertices=60, head_faces=30)


@pytest.fixture(scope="session")
def assets_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic body that ehm.npz was computed with; it has the sizes of the real one."""
    folder = tmp_path_factory.mktemp("assets")
    make_assets.write(folder, 3)
    convert_assets(folder, folder / "assets.npz")
    return folder / "assets.npz"


@pytest.fixture(scope="session")
def assets(assets_path: Path) -> BodyAssets:
    return load_assets(assets_path)


@pytest.fixture(scope="session")
def body_model(assets: BodyAssets) -> BodyModel:
    return BodyModel(assets)


@pytest.fixture(scope="session")
def small_assets_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic body of 150 vertices, for tests that do not need the real size."""
    folder = tmp_path_factory.mktemp("small_assets")
    make_assets.write(folder, 4, SMALL)
    convert_assets(folder, folder / "assets.npz")
    return folder / "assets.npz"


@pytest.fixture(scope="session")
def small_assets(small_assets_path: Path) -> BodyAssets:
    return load_assets(small_assets_path)


@pytest.fixture(scope="session")
def small_body_model(small_assets: BodyAssets) -> BodyModel:
    return BodyModel(small_assets)


@pytest.fixture(scope="session")
def standin() -> BodyAssets:
    """The body that the demo uses; people of a `Cast` have it."""
    return load_assets(shared_file("standin/body.npz"))


@pytest.fixture(scope="session")
def cast(standin: BodyAssets) -> Cast:
    return Cast(standin)


@pytest.fixture(scope="session")
def network_config() -> NetworkConfig:
    return NetworkConfig.from_json(DATA / "network_tiny.json")


@pytest.fixture(scope="session")
def network(network_config: NetworkConfig) -> PearNetwork:
    return load_network(DATA / "network_tiny.pt", network_config)


@pytest.fixture(scope="session")
def front_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network, changed to place everyone 16 m in front of the crop's camera."""
    tree = torch.load(DATA / "network_tiny.pt", weights_only=True)
    for name in ("cam_decoder.weight", "cam_decoder.bias"):
        tree["head"][name] = torch.zeros_like(tree["head"][name])
    path = tmp_path_factory.mktemp("front") / "network.pt"
    torch.save(tree, path)
    return path


@pytest.fixture
def config(front_checkpoint: Path, small_assets_path: Path) -> Config:
    """Settings of a pipeline that takes each image as one person and places everybody."""
    return Config.of(
        {
            "detection.detector": "full_frame",
            "detection.min_plausibility": 0.0,
            "tracking.predict_s": 0.0,
            "network.checkpoint": str(front_checkpoint),
            "network.config": str(DATA / "network_tiny.json"),
            "body.assets": str(small_assets_path),
            "network.device": "cpu",
            "network.dtype": "float32",
        }
    )


@pytest.fixture(scope="module")
def small_downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The downloads of a synthetic body with fewer vertices than SMPL-X."""
    folder = tmp_path_factory.mktemp("small")
    make_assets.write(folder, 3, SMALL)
    return folder
