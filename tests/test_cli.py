"""The command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hookrun.cli import main
from hookrun.writers import EventFileWriter


@pytest.fixture
def logdir(tmp_path):
    with EventFileWriter(tmp_path / "log") as writer:
        writer.add_scalar("loss", 0.5, 1)
    return tmp_path / "log"


def test_report_writes_a_page_into_the_logdir(logdir, capsys):
    assert main(["report", str(logdir)]) == 0
    assert "loss" in (logdir / "report.html").read_text()
    assert capsys.readouterr().out == f"{logdir / 'report.html'}\n"


def test_report_writes_to_another_file(logdir, tmp_path):
    assert main(["report", str(logdir), "--output", str(tmp_path / "page.html")]) == 0
    assert "loss" in (tmp_path / "page.html").read_text()
    assert not (logdir / "report.html").exists()


def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"hookrun: There are no event files in '{tmp_path / 'nowhere'}'\n"


def test_report_without_its_library_says_what_to_install(logdir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "hookrun.report", raising=False)
    assert main(["report", str(logdir)]) == 1
    assert "pip install hookrun[report]" in capsys.readouterr().err


def test_python_m_hookrun_is_the_command(tmp_path):
    command = [sys.executable, "-m", "hookrun", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "There are no event files" in done.stderr
