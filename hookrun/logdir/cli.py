"""The command `hookrun`: look at a logdir, check it, and remove old checkpoints.

The exit status is 0; 1 where `verify` found damage; 2 where something could not be done, with a message on
standard error. With `--json` what is printed is one JSON value. TensorFlow is not imported.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hookrun import __version__
from hookrun.checkpoints import retention
from hookrun.logdir import units

if TYPE_CHECKING:
    from hookrun.checkpoints.integrity import Progress
    from hookrun.logdir.contents import Checkpoint, EventFile, Pruning

__all__ = ["main"]

_Number = TypeVar("_Number", int, float)

_PATIENCE_SECS = 2.0

_KEEP = "latest:N, hours:H or best:N:METRIC[:min]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, 1 where damage was found, or 2 after an error.

    Args:
      arguments: Those of the command line, without the command itself; `sys.argv`'s if None.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `hookrun scalars ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, _CommandError) as error:
        print(f"hookrun: {error}", file=sys.stderr)
        return 2
    return status


class _CommandError(Exception):
    """A command can not do what it was asked; the message says why."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hookrun",
        description="Look at the logdir of a training.",
        epilog="Exit status: 0; 1 where verify found damage; 2 after an error.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], *, help: str, description: str) -> Any:
        added = commands.add_parser(name, help=help, description=description)
        added.add_argument("logdir", metavar="LOGDIR", help="the directory of checkpoints and event files")
        added.add_argument("--json", action="store_true", help="print one JSON value")
        added.set_defaults(command=command)
        return added

    add(
        "inspect",
        _inspect,
        help="show checkpoints, event files, last values and the state of hooks",
        description="Show the checkpoints with step, time, size, integrity and metrics, the event files, "
        "the last value of each scalar, and what the hooks remember.",
    )
    add(
        "verify",
        _verify,
        help="read every byte and say what is damaged",
        description="Read every byte of the checkpoints, with their .meta, and of the event files. "
        "The exit status is 1 where something is damaged. A torn last record, as a killed writer leaves, is "
        "no damage.",
    )
    prune = add(
        "prune",
        _prune,
        help="remove checkpoints that need not be kept",
        description="Say which checkpoints are not kept, and remove them with --delete. Several --keep "
        "keep what any of them keeps, for each base name. What is kept is intact: it is read to its last "
        "byte first, and the checkpoint that a run would start from is always kept. Damaged ones are left "
        "alone. Not for the logdir of a training that runs.",
    )
    prune.add_argument("--keep", action="append", required=True, type=_policy, metavar="POLICY", help=_KEEP)
    prune.add_argument("--delete", action="store_true", help="remove them; without it nothing is changed")
    scalars = add(
        "scalars",
        _scalars,
        help="print the values of a scalar as CSV or JSON",
        description="Print a scalar's values as TensorBoard shows them: run, step, wall_time, value. The run "
        "is the directory below LOGDIR; times are in seconds since 1970.",
    )
    scalars.add_argument("tag", metavar="TAG", help="the tag of the scalar")
    report = add(
        "report",
        _report,
        help="write a page with curves, sessions, checkpoints and hooks",
        description="Write one page of HTML that shows the curves, the sessions and restarts, the "
        "checkpoints and the time per hook. It needs neither TensorBoard nor a network.",
    )
    report.add_argument("-o", "--output", metavar="FILE", help="the page; LOGDIR/report.html if not given")
    return parser


def _policy(text: str) -> retention.Policy:
    kind, _, rest = text.partition(":")
    try:
        if kind == "latest":
            return retention.LatestN(_number("N", int, rest))
        if kind == "hours":
            return retention.EveryNHours(_number("H", float, rest))
        if kind == "best":
            n, _, metric = rest.partition(":")
            name = metric.removesuffix(":min").removesuffix(":max")
            mode = "min" if metric.endswith(":min") else "max"
            return retention.BestN(_number("N", int, n), metric=name, mode=mode)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no {_KEEP}: {error}") from error
    raise argparse.ArgumentTypeError(f"{text!r} is no {_KEEP}")


def _number(name: str, kind: type[_Number], text: str) -> _Number:
    try:
        return kind(text)
    except ValueError:
        numbers = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {numbers}, not {text!r}") from None


def _inspect(options: argparse.Namespace) -> int:
    from hookrun.logdir import contents

    with _progress(options.logdir) as progress:
        found = contents.inspect(options.logdir, progress)
    if options.json:
        _print_json(dataclasses.asdict(found))
        return 0
    if found.checkpoints:
        print("Checkpoints")
        _print_table([["step", "saved", "size", "name", ""], *map(_checkpoint_row, found.checkpoints)])
    if found.event_files:
        print("\nEvent files")
        rows = [_event_file_row(file, options.logdir) for file in found.event_files]
        _print_table([["steps", "events", "size", "name", ""], *rows])
    for run, values in found.last_values.items():
        print("\nLast values" + ("" if run == "." else f" in {run}"))
        _print_table(
            [["step", "value", "tag"]]
            + [[str(point.step), f"{point.value:.6g}", tag] for tag, point in values.items()]
        )
    if found.hook_state:
        print("\nState of the hooks")
        _print_table([[name, json.dumps(state)] for name, state in found.hook_state.items()])
    return 0


def _checkpoint_row(checkpoint: Checkpoint) -> list[str]:
    notes = ["intact" if checkpoint.damage is None else f"DAMAGED: {checkpoint.damage}"]
    notes += ["a run starts here"] if checkpoint.is_start else []
    for name, value in checkpoint.metrics.items():
        notes.append(
            f"{name} {value:.6g}" + (f" ({checkpoint.best[name]})" if name in checkpoint.best else "")
        )
    return [
        "" if checkpoint.step is None else str(checkpoint.step),
        "" if checkpoint.wall_time is None else units.date(checkpoint.wall_time),
        units.size(checkpoint.size),
        os.path.basename(checkpoint.path),
        ", ".join(notes),
    ]


def _event_file_row(file: EventFile, logdir: str) -> list[str]:
    notes = "intact" if file.damage is None else f"DAMAGED: {file.damage}"
    return [
        "" if file.last_step is None else f"{file.first_step} to {file.last_step}",
        str(file.events),
        units.size(file.size),
        os.path.relpath(file.path, logdir),
        f"{notes}, the last record is torn" if file.torn else notes,
    ]


def _verify(options: argparse.Namespace) -> int:
    from hookrun.logdir import contents

    with _progress(options.logdir) as progress:
        found = contents.inspect(options.logdir, progress)
    verified = found.verify()
    damaged = {path: damage for path, damage in verified.items() if damage is not None}
    if options.json:
        _print_json(verified)
    else:
        for path, damage in damaged.items():
            print(f"damaged: {path}: {damage}")
        read = f"{_count(found.checkpoints, 'checkpoint')}, {_count(found.event_files, 'event file')}"
        print(f"{read}: {len(damaged) or 'nothing'} damaged")
    return 1 if damaged else 0


def _prune(options: argparse.Namespace) -> int:
    from hookrun.logdir import contents

    try:
        prunings = contents.prune(options.logdir, retention.AnyOf(*options.keep), options.delete)
    except contents.PruneError as error:
        raise _CommandError(str(error)) from error
    if options.json:
        _print_json({"deleted": options.delete, "checkpoints": list(map(dataclasses.asdict, prunings))})
        return 0
    for pruning in prunings:
        _print_pruning(pruning, "removed" if options.delete else "not kept")
    if not options.delete and any(pruning.not_kept for pruning in prunings):
        print("Nothing was removed: give --delete to do so.")
    return 0


def _print_pruning(pruning: Pruning, verb: str) -> None:
    for path in pruning.kept:
        print(f"kept: {path}")
    for path, reason in pruning.damaged.items():
        print(f"damaged, left alone: {path}: {reason}")
    for path in pruning.not_kept:
        print(f"{verb}: {path}")


def _scalars(options: argparse.Namespace) -> int:
    from hookrun.logdir import contents

    try:
        curves = contents.read_scalars(options.logdir, options.tag)
    except KeyError as error:
        known = ", ".join(error.args[0]) or "none"
        raise _CommandError(
            f"there is no scalar {options.tag!r} in {options.logdir!r}; there are: {known}"
        ) from None
    rows = (
        {"run": run, "step": point.step, "wall_time": point.wall_time, "value": point.value}
        for run, points in curves.items()
        for point in points
    )
    if options.json:
        _print_json_list(rows)
    else:
        writer = csv.DictWriter(sys.stdout, ["run", "step", "wall_time", "value"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


def _report(options: argparse.Namespace) -> int:
    try:
        from hookrun.logdir.report import report
    except ImportError as error:
        raise _CommandError(f"{error}: the report needs `pip install hookrun[report]`") from error
    path = options.output or os.path.join(options.logdir, "report.html")
    report(options.logdir, path)
    if options.json:
        _print_json({"page": path})
    else:
        print(path)
    return 0


@contextlib.contextmanager
def _progress(logdir: str) -> Iterator[Progress]:
    """On a terminal, show how much was read, once it takes longer than two seconds."""
    from hookrun.logdir import contents

    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    terminal = shutil.get_terminal_size()  # one that says that it has no columns has 80
    with tqdm(
        total=contents.bytes_in(logdir),
        unit="B",
        unit_scale=True,
        delay=_PATIENCE_SECS,
        leave=False,
        ncols=terminal.columns,
        nrows=terminal.lines,
        file=sys.stderr,
    ) as bar:
        yield bar.update


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}" + ("" if len(things) == 1 else "s")


def _print_table(rows: Iterable[Sequence[str]]) -> None:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print(f"  {'  '.join(cells)}".rstrip())


def _print_json(value: Any) -> None:
    print(json.dumps(_finite(value), indent=2))


def _print_json_list(values: Iterable[Any]) -> None:
    """Print a list of which there need be no more than one value in memory, one value a line."""
    before = "[\n  "
    for value in values:
        sys.stdout.write(before + json.dumps(_finite(value)))
        before = ",\n  "
    print("\n]")


def _finite(value: Any) -> Any:
    """`value` with "NaN", "Infinity" and "-Infinity" for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value
