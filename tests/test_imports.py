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
    for name in hookrun.__all__:
        assert f"`{name}`" in page or f"`{name}." in page


def test_help_of_the_hooks_has_a_line_for_each():
    for name in hookrun.hooks.__all__:
        assert f"`{name}`" in hookrun.hooks.__doc__


def docstrings(body):
    """The string under each assignment of a class or a module, by the name that is assigned."""
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found[target.id] = after.value.value if is_text else None
    return found


@pytest.mark.parametrize("name", [n for n in events.__all__ if n != "INTERRUPTS"])
def test_an_editor_explains_each_field_of_an_event(name):
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(getattr(events, name)))).body
    assert ast.get_docstring(definition)
    fields = docstrings(definition.body)
    assert fields and all(fields.values())


@pytest.mark.parametrize("name", [n for n in signals.__all__ if n != "Signal"])
def test_an_editor_explains_each_signal_and_what_comes_with_it(name):
    explained = docstrings(ast.parse(inspect.getsource(signals)).body)[name]
    assert explained.startswith("Sent ") and "thread" in explained
    assert f"`events.{name.title().replace('_', '')}`" in explained


def test_tensorboardx_is_not_imported_before_it_is_used():
    """It brings PyTorch along, where that is installed."""
    program = "import sys, hookrun; sys.exit('tensorboardX' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=100).returncode == 0
