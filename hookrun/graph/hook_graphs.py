"""HookGraphs: what hooks have of one Supervisor, where an instance is given to several."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from hookrun.runtime.hook import Hook
from hookrun.runtime.runtime import Runtime
from hookrun.runtime.session import TrainingSession
from hookrun.signals import check_ran

__all__ = ["HookGraphs"]


class HookGraphs:
    """Gives the hooks of a Supervisor, in each of its sessions, what they made for its own graph.

    That is the attributes that `setup_graph` sets: another Supervisor's has set them anew since. An instance
    is in one session at a time.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Hook, dict[str, Any]]] = []
        self._session: TrainingSession | None = None

    def set_up(self, hook: Hook, runtime: Runtime) -> None:
        """Have `hook` add its ops to the graph, which is the default one."""
        before = dict(vars(hook))
        check_ran(hook.setup_graph, hook.setup_graph(runtime))  # type: ignore[func-returns-value]
        made = {name: value for name, value in vars(hook).items() if before.get(name, before) is not value}
        hook._made_in_graph = made
        self._made.append((hook, made))

    def check_free(self, hooks: Iterable[Hook]) -> None:
        """Check that none of `hooks` is in a session of another Supervisor.

        Raises:
          RuntimeError: If one is; it says which.
        """
        for hook in hooks:
            other = hook._used_by()
            if other is not None and other is not self and other._is_in_session:
                raise RuntimeError(
                    f"{hook.name} is in a session of another Supervisor, which was not stopped: "
                    "each of two trainings at a time needs a hook of its own, such as a copy.copy of this one"
                )

    @property
    def _is_in_session(self) -> bool:
        return self._session is not None and not self._session.closed

    def begin(self, session: TrainingSession, hooks: Iterable[Hook]) -> None:
        """A session begins, of which `hooks` are told."""
        self._session = session
        for hook in hooks:
            hook._used_by = weakref.ref(self)
        for hook, made in self._made:
            if hook._made_in_graph is not made:
                vars(hook).update(made, _made_in_graph=made)

    def end(self) -> None:
        """The session ends."""
        self._session = None
