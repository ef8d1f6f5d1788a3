"""Every Python block of the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tensorflow as tf

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.partition("\n")[0])
def test_a_block_runs(block, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"tf": tf, "loss": model.loss}
    exec("import hookrun\nfrom hookrun import hooks, signals, triggers\n" + block, names)
    if "sess" not in names:
        with names["sv"].managed_session() as sess:
            while not names["sv"].should_stop() and sess.run(model.global_step) < 100:
                sess.run(model.train_op)
    if "print" in block:
        assert capsys.readouterr().out
