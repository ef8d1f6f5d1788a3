"""The example in the docstring of each hook runs as it stands."""

from __future__ import annotations

import re
import textwrap

import pytest

import hookrun
from hookrun import hooks, signals

EXAMPLES = {
    name: textwrap.dedent(block)
    for name in hooks.__all__
    for block in re.findall(r"```python\n(.*?)```", getattr(hooks, name).__doc__ or "", re.DOTALL)
}


def test_each_hook_has_an_example():
    assert set(hooks.__all__) - set(EXAMPLES) == {"Hook", "retention"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"hookrun": hookrun, "hooks": hooks, "signals": signals, "loss": model.loss}
    exec(EXAMPLES[name], names)
    assert any(type(hook).__name__ == name for hook in names["sv"].hooks)
    with names["sv"].managed_session() as sess:
        for _ in range(100):
            sess.run(model.train_op)
