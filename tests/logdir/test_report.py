"""report: the page, as text and as headless Chromium draws it."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import signals
from hookrun.logdir.report import report

tf1 = tf.compat.v1
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def logdir(tmp_path):
    """The logdir of two sessions of a training, of which the first was not stopped."""
    logdir = tmp_path / "<digits>"
    for steps in (15, 10):
        with tf.Graph().as_default():
            step = tf1.train.get_or_create_global_step()
            tf1.summary.scalar("loss", 1 / tf.cast(step, tf.float32))
            tf1.summary.scalar("diverged", tf.where(step < 5, 1.0, float("nan")))
            train_op = tf1.assign_add(step, 1)
            sv = hookrun.Supervisor(
                logdir=logdir,
                save_summaries_secs=0,
                save_summaries_steps=1,
                save_model_secs=0,
                save_model_steps=10,
            )
            sv.on(signals.step, lambda *_: None, name="my own hook")
            with sv.managed_session() as sess:
                for _ in range(steps):
                    sess.run(train_op)
                sv.summary_writer.add_scalars("accuracy", {"train": 0.5, "test": 0.25}, 1)
    return logdir


@pytest.fixture
def page(logdir, tmp_path):
    path = tmp_path / "report.html"
    report(str(logdir), str(path))
    return path


def text_of(markup):
    return re.sub(
        r"\s+", " ", html.unescape(re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", markup, flags=re.DOTALL))
    )


def test_it_shows_curves_sessions_checkpoints_and_hooks(page):
    markup = page.read_text()
    text = text_of(markup)
    for tag in ("loss", "diverged", "global_step/sec", "accuracy"):
        assert f"<h3>{tag}</h3>" in markup
    assert markup.count("<svg") == markup.count("</svg>") == 4
    assert "25 last step" in text and "2 sessions" in text and "steps per second" in text
    assert "start " in text and " restart " in text and "stopped" in text
    assert "model.ckpt-10" in text and "model.ckpt-25" in text
    assert "accuracy/test: last 0.25" in text
    assert "not finite" in text
    assert "Time per hook" in text and "my own hook 10 " in text
    assert "<h1>&lt;digits&gt;</h1>" in markup and "<digits>" not in markup


def written(directory, *events):
    """Write `events` into an event file: each with its step, its time, and what it is."""
    with hookrun.writers.EventFileWriter(directory) as writer:
        for step, wall_time, what in events:
            writer.add_event(tf1.Event(step=step, wall_time=wall_time, **what))


def session_log(status, **fields):
    return {"session_log": tf1.SessionLog(status=getattr(tf1.SessionLog, status), **fields)}


def loss(value):
    return {"summary": tf1.Summary(value=[{"tag": "loss", "simple_value": value}])}


def curves(markup):
    """The points of each curve that is drawn, as pairs of coordinates."""
    paths = re.findall(r'<path d="([^"]+)" [^>]*stroke: #3b7dd8;', markup)
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path.replace("\n", " "))]
        for path in paths
    ]


def test_a_page_tells_and_draws_the_steps_times_restarts_and_checkpoints_of_the_run(tmp_path):
    begin = 1e9
    written(
        tmp_path,
        (0, begin, session_log("START")),
        *((step, begin + step, loss(1 / step)) for step in (1, 2, 3)),
        (2, begin + 4, session_log("CHECKPOINT", checkpoint_path="model.ckpt")),
        (4, begin + 50, session_log("START")),
        (5, begin + 60, loss(7.0)),
        (0, begin + 50 + 187, session_log("STOP")),
        (6, begin + 300, session_log("START")),
        (1234, begin + 300 + 2 * 3600 + 5 * 60, loss(5.0)),
    )
    report(str(tmp_path), str(tmp_path / "report.html"))
    markup = (tmp_path / "report.html").read_text()
    text = text_of(markup)
    assert "1,234 last step 3 sessions 2 h 08 min time in sessions 1 saved, 0 kept checkpoints" in text
    assert "Dotted lines are restarts; ticks on the axis of the steps are checkpoints." in text
    assert "loss last 5, least 0.333333, most 7 " in text
    ends = re.findall(r"(\w+) \S+ \S+ (\d+) ([\d,]+) (\S+ (?:s|min \d+ s|h \d+ min)) (stopped|killed)", text)
    assert ends == [
        ("start", "0", "3", "4.0 s", "killed"),
        ("restart", "4", "5", "3 min 07 s", "stopped"),
        ("restart", "6", "1,234", "2 h 05 min", "killed"),
    ]
    assert re.search(r"2 \S+ \S+ deleted model.ckpt-2", text)

    (curve,) = curves(markup)
    xs, ys = zip(*curve, strict=True)
    x_of, y_of = np.polyfit([1, 2, 3, 5, 1234], xs, 1), np.polyfit([1, 1 / 2, 1 / 3, 7, 5], ys, 1)
    assert xs == pytest.approx(np.polyval(x_of, [1, 2, 3, 5, 1234]), abs=0.01) and x_of[0] > 0
    assert ys == pytest.approx(np.polyval(y_of, [1, 1 / 2, 1 / 3, 7, 5]), abs=0.01) and y_of[0] < 0
    dotted = re.findall(r'<path d="M (\S+) [^"]+" [^>]*stroke-dasharray', markup)
    assert [float(x) for x in dotted] == pytest.approx(np.polyval(x_of, [4, 6]), abs=0.01)
    (tick,) = re.findall(r'<path d="M (\S+) [^"]+" [^>]*stroke-opacity: 0.6"', markup)
    assert float(tick) == pytest.approx(np.polyval(x_of, 2), abs=0.01)


def test_it_needs_nothing_else(page):
    class Parser(html.parser.HTMLParser):
        links = []

        def handle_starttag(self, tag, attributes):
            assert tag not in ("script", "link", "iframe", "img")
            self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href") and v[0] != "#"]

    Parser().feed(page.read_text())
    assert Parser.links == []
    assert not re.search(r"url\((?!#)", page.read_text())
    assert page.stat().st_size < 200_000


def test_a_long_curve_is_thinned_out(tmp_path):
    with hookrun.writers.EventFileWriter(tmp_path) as writer:
        for step in range(20_000):
            writer.add_scalar("loss", step % 7, step)
    report(str(tmp_path), str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").stat().st_size < 100_000


def test_a_long_curve_that_is_thinned_out_keeps_what_stands_out(tmp_path):
    stands_out = {777: 100.0, 778: -100.0}
    written(tmp_path, *((step, step, loss(stands_out.get(step, 0.0))) for step in range(5000)))
    report(str(tmp_path), str(tmp_path / "report.html"))
    (curve,) = curves((tmp_path / "report.html").read_text())
    assert len({y for _, y in curve}) == 3 and len(curve) < 1000


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_chromium_draws_it(page, tmp_path):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    drawn = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=100
    )
    assert drawn.stdout.count("<svg") == 4 and "my own hook" in drawn.stdout
    picture = tmp_path / "page.png"
    command += [f"--screenshot={picture}", "--window-size=1280,1600", page.as_uri()]
    subprocess.run(command, capture_output=True, timeout=100, check=True)
    pixels = tf.io.decode_png(picture.read_bytes(), channels=3)
    with tf1.Session(graph=pixels.graph) as sess:
        colors = {tuple(color) for color in sess.run(pixels).reshape(-1, 3).tolist()}
    assert (0x3B, 0x7D, 0xD8) in colors  # a curve
