"""The command `hookrun`: look at a logdir."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 1 with a message on standard error.

    Args:
      arguments: Those of the command line, without the command itself; `sys.argv`'s if None.
    """
    parser = argparse.ArgumentParser(prog="hookrun", description="Look at the logdir of a training.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="write a page with curves, sessions, checkpoints and hooks",
        description="Write one page of HTML that shows the curves, the sessions and restarts, the "
        "checkpoints and the time per hook. It needs neither TensorBoard nor a network.",
    )
    report.add_argument("logdir", metavar="LOGDIR", help="the directory of the event files")
    report.add_argument("-o", "--output", metavar="FILE", help="the page; LOGDIR/report.html if not given")
    report.set_defaults(command=_report)
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except (OSError, _MissingError) as error:
        print(f"hookrun: {error}", file=sys.stderr)
        return 1
    return 0


class _MissingError(Exception):
    """A package that a command needs is not installed."""


def _report(options: argparse.Namespace) -> None:
    try:
        from hookrun.report import report
    except ImportError as error:
        raise _MissingError(f"{error}: the report needs `pip install hookrun[report]`") from error
    logging.getLogger("tensorflow").setLevel(
        logging.ERROR
    )  # its reader of events is deprecated, without successor
    path = options.output or os.path.join(options.logdir, "report.html")
    report(options.logdir, path)
    print(path)
