"""drawing: pictures of curves, read back from the SVG."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree

import pytest

from hookrun.logdir.drawing import Curve, drawn


def labels(svg):
    """The texts at the vertical axis, from the bottom, and at the horizontal one."""
    texts = re.findall(r'<text x="(\S+)" y="(\S+)" text-anchor="(\w+)">([^<]+)', svg)
    return [text for *_, anchor, text in texts if anchor == "end"], [
        text for *_, anchor, text in texts if anchor == "middle"
    ]


def path(svg):
    (path,) = re.findall(r'<path d="([^"]+)" style="fill: none', svg)
    return re.findall(r"([ML]) (\S+) (\S+)", path)


def draw(*points, **marks):
    svg = drawn([Curve(points, "#123456")], marks.get("dotted", ()), marks.get("ticks", ()))
    xml.etree.ElementTree.fromstring(svg)
    assert not re.search(r"nan|inf", svg)
    for number in re.findall(r'(?:x|y|cx|cy)="(\S+?)"', svg):
        assert -1 <= float(number) <= 400
    return svg


@pytest.mark.parametrize(
    ("points", "vertical", "horizontal"),
    [
        ([(0, 0.0), (100, 1.0)], ["0.0", "0.5", "1.0"], ["0", "50", "100"]),
        (
            [(0, 0.101), (2000, 0.109)],
            ["0.102", "0.104", "0.106", "0.108"],
            ["0", "500", "1,000", "1,500", "2,000"],
        ),
        ([(1, 3e-5), (3, 7e-5)], ["3e-05", "4e-05", "5e-05", "6e-05", "7e-05"], ["1", "2", "3"]),
        ([(1, 3e9), (3, 7e9)], ["3e+09", "4e+09", "5e+09", "6e+09", "7e+09"], ["1", "2", "3"]),
        ([(7, 5.0)], ["4.8", "5.0", "5.2"], ["7"]),
        ([(0, 0.0)], ["-1.0", "-0.5", "0.0", "0.5", "1.0"], ["-1", "0", "1"]),
        (
            [(0, -1e308), (1, 1e308)],
            ["-1.0e+308", "-5.0e+307", "0.0e+00", "5.0e+307", "1.0e+308"],
            ["0", "1"],
        ),
        ([(0, 5e-324), (2, 0.0)], ["-1.0", "-0.5", "0.0", "0.5", "1.0"], ["0", "1", "2"]),
    ],
)
def test_the_axes_have_round_labels(points, vertical, horizontal):
    found = labels(draw(*points))
    assert found == (vertical, horizontal)


def test_a_curve_is_interrupted_where_a_value_is_not_finite():
    svg = draw((1, 1.0), (2, 2.0), (3, math.nan), (4, 2.0), (5, 1.0), (6, math.inf))
    assert [pen for pen, *_ in path(svg)] == ["M", "L", "M", "L"]
    assert svg.count("<circle") == 4
    assert "<circle" not in draw((1, math.nan)) and "<circle" not in draw()


def test_marks_are_at_their_steps():
    svg = draw((0, 1.0), (10, 2.0), dotted=[4], ticks=[0, 10, 11])
    (_, begin, _), (_, end, _) = path(svg)
    (dotted,) = re.findall(r'd="M (\S+) [^"]+" [^>]*dasharray', svg)
    assert float(dotted) == pytest.approx(float(begin) + 0.4 * (float(end) - float(begin)), abs=0.02)
    assert re.findall(r'd="M (\S+) [^"]+" [^>]*stroke-opacity: 0.6', svg) == [begin, end]
