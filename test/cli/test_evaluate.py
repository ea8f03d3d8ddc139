"""`pear-ros evaluate`: options that belong to one of its datasets only."""

from __future__ import annotations

import pytest

from pear_ros.cli.main import main


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--real", "x", "--frames", "3"], "--frames is for rendered people and --placement"),
        (["--ehf", "x", "--every", "2"], "--every is for --3dpw"),
        (["--ehf", "x", "--joints-only"], "--joints-only is for --3dpw"),
        (["--real", "x", "--models", "y"], "--models is for --3dpw and --ehf"),
        (["--placement", "--every", "2"], "--every is for --3dpw"),
        (["--placement", "--overlays", "y"], "--overlays is for --real"),
        (["--overlays", "y"], "--overlays is for --real"),
        (["--3dpw", "x", "--detector", "nanodet"], "--detector is for --real"),
        (["--real", "x", "--model", "y.onnx"], "--model is the file of --detector onnx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_fit(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *options]) == 1
    assert expected in capsys.readouterr().err


def test_one_dataset_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--real", "x", "--ehf", "y"])
    assert "not allowed with" in capsys.readouterr().err
