"""What `import hookrun` brings along."""

from __future__ import annotations

import ast
import inspect
import pydoc
import subprocess
import sys
import textwrap

import pytest

import hookrun
from hookrun import events, signals


def test_tensorflow_is_not_imported_before_it_is_used():
    program = "import sys, hookrun; from hookrun import events, signals, triggers; hookrun.log_to_console();"
    program += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=100).returncode == 0


@pytest.mark.parametrize("package", [hookrun, hookrun.hooks, hookrun.writers], ids=lambda p: p.__name__)
def test_each_public_name_is_there_and_listed(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Hok'"):
        package.Hok  # noqa: B018


def test_help_is_a_page_of_what_there_is():
    page = pydoc.plain(pydoc.render_doc(hookrun))
    assert "sv = hookrun.Supervisor(" in page and "class Supervisor" in page and "log_to_console(" in page


@pytest.mark.parametrize("name", [n for n in events.__all__ if n != "INTERRUPTS"])
def test_each_field_of_an_event_has_a_docstring(name):
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(getattr(events, name)))).body
    body = definition.body
    fields = [i for i, node in enumerate(body) if isinstance(node, ast.AnnAssign)]
    assert ast.get_docstring(definition) and fields
    for i in fields:
        assert isinstance(body[i + 1], ast.Expr) and isinstance(body[i + 1].value.value, str)


def test_each_signal_has_a_docstring():
    for name in set(signals.__all__) - {"Signal"}:
        assert getattr(signals, name).__doc__.startswith("Sent ")


def test_tensorboardx_is_not_imported_before_it_is_used():
    """It brings PyTorch along, where that is installed."""
    program = "import sys, hookrun; sys.exit('tensorboardX' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=100).returncode == 0
