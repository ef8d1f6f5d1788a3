"""Who may know whom: imports, those for types included, run one way, and no files stand in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "hookrun"

VOCABULARY = {"signals", "events", "triggers", "numeric", "paths", "lazy", "logs"}

MAY_KNOW = {
    "vocabulary": set(),
    "writers": {"vocabulary"},
    "runtime": {"vocabulary", "writers"},
    "checkpoints": {"vocabulary", "writers", "runtime"},
    "hooks": {"vocabulary", "writers", "runtime", "checkpoints"},
    "graph": {"vocabulary", "writers", "runtime", "checkpoints", "hooks"},
    "eager": {"vocabulary", "writers", "runtime", "checkpoints", "hooks"},
    "public": {"vocabulary", "writers", "runtime", "checkpoints", "hooks", "graph", "eager", "logdir"},
    "logdir": {"vocabulary", "writers", "runtime", "checkpoints", "public"},
}
"""For each room those that it may import from, besides itself. `public` are the other modules at the top."""


def room(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 1 and (ROOT / parts[1]).is_dir():
        return parts[1]
    return "vocabulary" if len(parts) > 1 and parts[1] in VOCABULARY else "public"


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(path): path for path in ROOT.rglob("*.py")}


def imported_by(module: str) -> set[str]:
    """The modules of hookrun that a module imports anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name in MODULES and name != module}


IMPORTS = {module: imported_by(module) for module in MODULES}


def test_imports_run_one_way():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if room(other) != room(module) and room(other) not in MAY_KNOW[room(module)]
    ]
    assert sorted(wrong) == []


def test_no_files_stand_in_a_circle():
    def reached_from(module: str) -> set[str]:
        reached: set[str] = set()
        pending = set(IMPORTS[module])
        while pending:
            reached |= pending
            pending = {other for each in pending for other in IMPORTS[each]} - reached
        return reached

    assert sorted(module for module in MODULES if module in reached_from(module)) == []


def test_no_hook_knows_another():
    hooks = {module for module in MODULES if module.startswith("hookrun.hooks.")}
    assert {m: sorted(IMPORTS[m] & hooks) for m in hooks if IMPORTS[m] & hooks} == {}
