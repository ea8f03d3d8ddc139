"""A fitter of the stand-in body, which takes seconds to make, and people with known keypoints."""

from __future__ import annotations

import pytest
from annotated_people import KnownPeople, known_people

from pear_ros.annotation.fitting import Fitter
from pear_ros.annotation.pose_prior import PosePrior
from pear_ros.assets.body_assets import BodyAssets


@pytest.fixture(scope="session")
def prior() -> PosePrior:
    return PosePrior.of_motions()


@pytest.fixture(scope="session")
def fitter(standin: BodyAssets, prior: PosePrior) -> Fitter:
    return Fitter(standin, prior)


@pytest.fixture(scope="session")
def people(standin: BodyAssets) -> KnownPeople:
    """Six people who roughly face the camera."""
    return known_people(standin, 6, seed=3)
