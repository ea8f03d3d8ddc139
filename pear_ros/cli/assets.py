"""`pear-ros assets`: the body model's files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    assets = commands.add_parser("assets", help="check and convert the body model's files")
    actions = assets.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check", help="list the files, which ones are missing, and where to get them"
    )
    check.add_argument("directory", type=Path, help="folder with the downloaded files")
    check.set_defaults(run=run_check)
    convert = actions.add_parser(
        "convert", help="convert the downloaded files to the one file that pear_ros loads"
    )
    convert.add_argument("directory", type=Path, help="folder with the downloaded files")
    convert.add_argument("output", type=Path, help="the .npz file to write")
    convert.set_defaults(run=run_convert)


def run_check(options: argparse.Namespace) -> int:
    from pear_ros.assets.downloads import check_assets

    report = check_assets(options.directory)
    print(report)
    return 0 if report.is_complete else 1


def run_convert(options: argparse.Namespace) -> int:
    from pear_ros.assets.downloads import convert_assets

    convert_assets(options.directory, options.output)
    print(f"wrote {options.output}")
    return 0
