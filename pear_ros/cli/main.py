"""The command `pear-ros`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from pear_ros.cli import annotate, assets, bench, engine, evaluate, infer, nodes
from pear_ros.cli.arguments import with_options
from pear_ros.errors import PearError
from pear_ros.system.memory import NO_MEMORY, memory_is_short, one_line

HELP = (["-h"], ["--help"])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns 1 after one line on stderr if the user has to fix something."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, so that a closed pipe raises BrokenPipeError below
        return code
    except PearError as error:
        print(f"pear-ros: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, for example `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            print(f"pear-ros: the disk or the output is full ({one_line(error)})", file=sys.stderr)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        if not memory_is_short(error):
            raise
        print(f"pear-ros: {NO_MEMORY} ({one_line(error)})", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in nodes.NODES and arguments[1:2] not in HELP:
        return nodes.run(*arguments)  # ROS parses the remaining arguments
    options = make_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except PearError as error:
        raise PearError(with_options(str(error), options)) from error


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all subcommands; the docs are generated from it."""
    parser = argparse.ArgumentParser(
        prog="pear-ros",
        description="Estimates whole-body EHM parameters of people in images (PEAR).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subcommand in (infer, nodes, engine, assets, annotate, evaluate, bench):
        subcommand.add_parser(commands)
    return parser
