"""Where the command starts: first the handlers of signals, then the imports that take seconds."""

from __future__ import annotations

from pear_ros.system.interrupts import exit_at_signals


def main(argv: list[str] | None = None) -> int:
    """Runs `pear_ros.cli.main.main` so that SIGINT and SIGTERM end it at once, quietly."""
    exit_at_signals()
    from pear_ros.cli.main import main as run

    return run(argv)
