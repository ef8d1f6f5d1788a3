"""A page to look at: the curves, sessions, checkpoints and hooks of a logdir, in one file of HTML."""

from __future__ import annotations

import html
import importlib.resources
import itertools
import math
import os
import string
import time
from collections.abc import Iterable, Sequence

from hookrun.logdir import units
from hookrun.logdir.drawing import Curve, drawn
from hookrun.logdir.run_log import Checkpoint, Point, RunLog, Session, read_run_logs
from hookrun.runtime.subscriptions import HOOK_TIMES

__all__ = ["report"]

_COLORS = ["#3b7dd8", "#e0752d", "#2a9d6f", "#c2488f", "#8a63d2", "#b8860b", "#3aa6b9", "#d1495b"]

_MOST_POINTS = 600
"""What a curve is thinned out to: more cannot be told apart on the page."""

_PAGE = string.Template(
    importlib.resources.files("hookrun.logdir").joinpath("report.html").read_text("utf-8")
)


def report(logdir: str, path: str) -> None:
    """Write a page that shows what is in a logdir. It needs no other file, no server and no network.

    Args:
      logdir: A local directory with event files in or below it.
      path: The file of HTML to write.

    Raises:
      FileNotFoundError: If there are no event files.
      OSError: If the page cannot be written.
    """
    page = _page(logdir, read_run_logs(logdir))
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def _page(logdir: str, logs: Sequence[RunLog]) -> str:
    sessions = [session for log in logs if not _is_beneath_another(log, logs) for session in log.sessions]
    checkpoints = [checkpoint for log in logs for checkpoint in log.checkpoints]
    name = os.path.basename(os.path.abspath(logdir))
    sections = [
        f"<h1>{_escaped(name)}</h1>",
        f"<p>{_escaped(os.path.abspath(logdir))}, as of {units.date(time.time())}</p>",
        _facts(logs, sessions, checkpoints),
        *_curves(logs),
        *_sessions(sessions),
        *_checkpoints(checkpoints),
        *_hook_times(logs),
    ]
    return _PAGE.substitute(title=_escaped(f"{name}: training report"), body="\n".join(sections))


def _is_beneath_another(log: RunLog, logs: Sequence[RunLog]) -> bool:
    """True where the sessions of `log` are those of a writer further up, which noted them here too."""
    above = (other.name for other in logs if other is not log and other.sessions)
    return any(name == "." or log.name.startswith(name + os.sep) for name in above)


def _facts(logs: Sequence[RunLog], sessions: Sequence[Session], checkpoints: Sequence[Checkpoint]) -> str:
    steps = [point.step for log in logs for points in log.scalars.values() for point in points]
    steps += [session.last_step for session in sessions]
    facts = [("last step", f"{max(steps, default=0):,}"), ("sessions", f"{len(sessions):,}")]
    if sessions:
        facts.append(("time in sessions", _duration(sum(s.last_time - s.start_time for s in sessions))))
    speeds = [
        points for log in logs for tag, points in log.scalars.items() if tag.endswith("/sec") and points
    ]
    if speeds:
        facts.append(("steps per second", f"{speeds[0][-1].value:,.4g}"))
    kept = sum(checkpoint.size is not None for checkpoint in checkpoints)
    facts.append(("checkpoints", f"{len(checkpoints):,} saved, {kept:,} kept"))
    tiles = "".join(f"<div><b>{_escaped(value)}</b><span>{label}</span></div>" for label, value in facts)
    return f'<div class="facts">{tiles}</div>'


def _curves(logs: Sequence[RunLog]) -> Iterable[str]:
    tags = sorted({tag for log in logs for tag, points in log.scalars.items() if points}, key=_tag_order)
    if not tags:
        return
    yield "<h2>Curves</h2>"
    if any(len(log.sessions) > 1 for log in logs):
        yield "<p>Dotted lines are restarts; ticks on the axis of the steps are checkpoints.</p>"
    elif any(log.checkpoints for log in logs):
        yield "<p>Ticks on the axis of the steps are checkpoints.</p>"
    yield '<div class="curves">'
    for tag in tags:
        yield _figure(tag, [log for log in logs if log.scalars.get(tag)])
    yield "</div>"


def _tag_order(tag: str) -> tuple[bool, str]:
    return not tag.endswith("/sec"), tag


def _figure(tag: str, logs: Sequence[RunLog]) -> str:
    lines = []
    for index, log in enumerate(logs):
        points = log.scalars[tag]
        finite = [point.value for point in points if math.isfinite(point.value)]
        name = "" if len(logs) == 1 and log.name == "." else f"{_escaped(log.name)}: "
        told = f"{name}last {points[-1].value:.6g}"
        if finite:
            told += f", least {min(finite):.6g}, most {max(finite):.6g}"
        if len(finite) < len(points):
            told += f', <em class="warn">{len(points) - len(finite)} not finite</em>'
        color = _COLORS[index % len(_COLORS)]
        lines.append(f'<span><i style="background:{color}"></i>{told}</span>')
    caption = f"<figcaption><h3>{_escaped(tag)}</h3>{''.join(lines)}</figcaption>"
    return f"<figure>{caption}{_drawn(tag, logs)}</figure>"


def _drawn(tag: str, logs: Sequence[RunLog]) -> str:
    curves = [
        Curve([(point.step, point.value) for point in _thinned(log.scalars[tag])], color)
        for log, color in zip(logs, itertools.cycle(_COLORS), strict=False)
    ]
    restarts = [session.start_step for log in logs for session in log.sessions[1:]]
    return drawn(curves, dotted=restarts, ticks=[saved.step for log in logs for saved in log.checkpoints])


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most about `_MOST_POINTS` of the points, the least and the most of each stretch among them."""
    stretch = 2 * len(points) // _MOST_POINTS
    if stretch < 2:
        return list(points)
    kept: list[Point] = []
    for begin in range(0, len(points), stretch):
        finite = [p for p in points[begin : begin + stretch] if math.isfinite(p.value)]
        if finite:
            least_and_most = (min(finite, key=lambda p: p.value), max(finite, key=lambda p: p.value))
            kept += sorted(least_and_most, key=lambda p: p.step)
    return kept


def _sessions(sessions: Sequence[Session]) -> Iterable[str]:
    if sessions:
        yield "<h2>Sessions</h2>"
        yield _table(
            ["", "#started", "#from step", "#to step", "#for", "end"],
            [
                [
                    "start" if index == 0 else "restart",
                    units.date(session.start_time),
                    f"{session.start_step:,}",
                    f"{session.last_step:,}",
                    _duration(session.last_time - session.start_time),
                    "stopped" if session.stopped else "killed, or still running",
                ]
                for index, session in enumerate(sessions)
            ],
        )


def _checkpoints(checkpoints: Sequence[Checkpoint]) -> Iterable[str]:
    if checkpoints:
        yield "<h2>Checkpoints</h2>"
        yield _table(
            ["#step", "#saved", "#size", "file"],
            [
                [
                    f"{checkpoint.step:,}",
                    units.date(checkpoint.wall_time),
                    "deleted" if checkpoint.size is None else units.size(checkpoint.size),
                    os.path.basename(checkpoint.path),
                ]
                for checkpoint in reversed(checkpoints)
            ],
        )


def _hook_times(logs: Sequence[RunLog]) -> Iterable[str]:
    """The tables that `StepCounterHook` wrote at the end of the last session."""
    for log in logs:
        if HOOK_TIMES in log.texts:
            lines = log.texts[HOOK_TIMES].splitlines()
            header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            yield "<h2>Time per hook</h2>"
            yield _table([header[0], *(f"#{name}" for name in header[1:])], rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column whose header begins with # is one of numbers."""
    classes = [' class="number"' if name.startswith("#") else "" for name in header]
    cells = zip(classes, header, strict=True)
    lines = ["".join(f"<th{kind}>{_escaped(name.lstrip('#'))}</th>" for kind, name in cells)]
    for row in rows:
        cells = zip(classes, row, strict=True)
        lines.append("".join(f"<td{kind}>{_escaped(cell)}</td>" for kind, cell in cells))
    return f'<div class="table"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def _escaped(text: str) -> str:
    return html.escape(text)


def _duration(secs: float) -> str:
    minutes, seconds = divmod(round(secs), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{secs:.1f} s"
