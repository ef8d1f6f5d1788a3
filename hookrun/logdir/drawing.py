"""Curves as SVG, to stand in a page of HTML; the colour of axes and text is the page's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Curve", "drawn"]

_WIDTH, _HEIGHT = 374, 194
_RIGHT, _TOP, _BOTTOM = 352.0, 6.0, 172.0
"""The edges of what is drawn on."""
_DIGIT = 5.5
"""The width of a digit."""
_MOST_DOTS = 30
"""A curve of no more points than that has a dot for each."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve. It is interrupted where a value is not finite."""

    points: Sequence[tuple[float, float]]
    color: str


def drawn(curves: Sequence[Curve], dotted: Iterable[float], ticks: Iterable[float]) -> str:
    """Draw curves into one picture.

    Args:
      curves: The curves.
      dotted: Where a vertical dotted line is.
      ticks: What is marked on the horizontal axis, where it is in the range of the curves.
    """
    dotted = list(dotted)
    low, high = _range([*(x for curve in curves for x, _ in curve.points), *dotted], 0.02)
    least, most = _range([y for curve in curves for _, y in curve.points if math.isfinite(y)], 0.08)
    rows = _labels(least, most, 5)
    left = 8 + _DIGIT * max((len(text) for _, text in rows), default=0)
    x_of, y_of = _scale(low, high, left, _RIGHT), _scale(least, most, _BOTTOM, _TOP)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" fill="currentColor" stroke="none" font-size="10">']
    for y, text in rows:
        parts.append(_line(left, y_of(y), _RIGHT, y_of(y), "stroke-opacity: 0.12"))
        parts.append(f'<text x="{left - 4:.1f}" y="{y_of(y) + 3.5:.2f}" text-anchor="end">{text}</text>')
    for x, text in _labels(low, high, 5, whole=True):
        parts.append(_line(x_of(x), _BOTTOM, x_of(x), _BOTTOM + 3, "stroke-opacity: 1"))
        parts.append(f'<text x="{x_of(x):.2f}" y="{_BOTTOM + 14}" text-anchor="middle">{text}</text>')
    parts.append(_line(left, _BOTTOM, _RIGHT, _BOTTOM, "stroke-opacity: 1"))
    parts.append(_line(left, _TOP, left, _BOTTOM, "stroke-opacity: 1"))
    for x in dotted:
        style = "stroke-opacity: 0.45; stroke-dasharray: 1 1.6"
        parts.append(_line(x_of(x), _TOP, x_of(x), _BOTTOM, style))
    for curve in curves:
        parts += _curve([(x_of(x), y_of(y)) for x, y in curve.points], curve.color)
    marks = [x_of(x) for x in ticks if low <= x <= high]
    parts += [_line(x, _BOTTOM - 4, x, _BOTTOM + 4, "stroke-opacity: 0.6") for x in marks]
    return "\n".join([*parts, "</svg>"])


def _curve(points: Sequence[tuple[float, float]], color: str) -> Iterable[str]:
    words, pen = [], "M"
    for x, y in points:
        if math.isfinite(y):
            words.append(f"{pen} {x:.2f} {y:.2f}")
        pen = "L" if math.isfinite(y) else "M"
    if words:
        style = f"fill: none; stroke: {color}; stroke-width: 1.4; stroke-linejoin: round"
        yield f'<path d="{" ".join(words)}" style="{style}"/>'
    if len(points) <= _MOST_DOTS:
        for x, y in points:
            if math.isfinite(y):
                yield f'<circle cx="{x:.2f}" cy="{y:.2f}" r="1.6" style="fill: {color}"/>'


def _line(x: float, y: float, to_x: float, to_y: float, style: str) -> str:
    path = f"M {x:.2f} {y:.2f} L {to_x:.2f} {to_y:.2f}"
    return f'<path d="{path}" style="stroke: currentColor; stroke-width: 0.8; {style}"/>'


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """From below the least to above the greatest."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-12 * largest or largest < 1e-200:
        around = 0.05 * largest if largest > 1e-200 else 1.0
        low, high = low - around, high + around
    width = min(high - low, 1e307)
    return low - margin * width, high + margin * width


def _scale(low: float, high: float, at_low: float, at_high: float) -> Callable[[float], float]:
    """The place of a value. It is reckoned in halves, so that no range is too wide."""
    return lambda value: at_low + (value / 2 - low / 2) / (high / 2 - low / 2) * (at_high - at_low)


def _labels(low: float, high: float, most: int, whole: bool = False) -> list[tuple[float, str]]:
    """At most about `most` round values in a range, with how they are written; with `whole`, whole ones."""
    exponent = math.floor(math.log10(high / most - low / most))
    distance = next(d for d in (1, 2, 5, 10) if d * 10.0**exponent * most >= high - low) * 10.0**exponent
    if whole:
        distance = max(distance, 1.0)
    decimals = max(0, -math.floor(math.log10(distance)))
    values = [n * distance for n in range(math.ceil(low / distance), math.floor(high / distance) + 1)]
    largest = max(map(abs, values), default=0.0)
    if largest >= 1e6 and not whole or largest < 1e-3:
        digits = max(0, math.floor(math.log10(largest or 1.0)) - math.floor(math.log10(distance)))
        return [(value, f"{value:.{digits}e}") for value in values]
    return [(value, f"{value:,.{decimals}f}") for value in values]
