"""PlanCache: the plans of the distinct runs of a session, within a bound of memory."""

from __future__ import annotations

import random
import threading
from typing import Any

from hookrun.graph.plans import Plan

__all__ = ["PlanCache"]

_ROOM = 100_000
"""The sum of the weights of all plans that are kept, which is about 20 MB besides executors."""

_EXECUTOR_WEIGHT = 80
"""What a plan weighs more that has an executor of its own: a thousand of those are kept."""

_REMEMBERED = 100_000
"""The number of plans that were let go and are known again."""


class PlanCache:
    """The plans of the distinct runs of a session, by key. Any thread may use it.

    Where there is no room, any plan may have to go, rather than the oldest: of runs that are made in turn,
    that one would be needed next. A new plan has an executor of its own, which goes with it: a program that
    makes ever new fetch lists fills no memory. One that comes back has TensorFlow's, which stays for good:
    it is not compiled again.
    """

    def __init__(self) -> None:
        self.quick: dict[Any, Plan] = {}
        """Some of the plans, by a key that is made quickly."""
        self._lock = threading.Lock()
        self._plans: dict[Any, tuple[Plan, Any]] = {}
        self._keys: list[Any] = []
        self._weight = 0
        self._let_go: set[int] = set()

    def __len__(self) -> int:
        return len(self._plans)

    def get(self, key: Any) -> Plan | None:
        """The plan with that key, if it is kept."""
        found = self._plans.get(key)
        return None if found is None else found[0]

    def returns(self, key: Any) -> bool:
        """True for a plan that was let go."""
        return hash(key) in self._let_go

    def add(self, key: Any, quick_key: Any, plan: Plan) -> None:
        """Keep `plan`, also under `quick_key` unless that is None."""
        with self._lock:
            if key in self._plans:  # another thread was first
                return
            self._plans[key] = plan, quick_key
            self._keys.append(key)
            if quick_key is not None:
                self.quick[quick_key] = plan
            self._weight += _weight_of(plan)
            while self._weight > _ROOM and len(self._keys) > 1:
                self._let_one_go()

    def clear(self) -> None:
        """Let go of all plans."""
        with self._lock:
            self._plans.clear()
            self.quick.clear()
            self._keys.clear()
            self._weight = 0

    def _let_one_go(self) -> None:
        index = random.randrange(len(self._keys) - 1)  # not the newest
        key, self._keys[index] = self._keys[index], self._keys[-1]
        self._keys.pop()
        plan, quick_key = self._plans.pop(key)
        self.quick.pop(quick_key, None)
        self._weight -= _weight_of(plan)
        if len(self._let_go) >= _REMEMBERED:
            self._let_go.clear()
        self._let_go.add(hash(key))


def _weight_of(plan: Plan) -> int:
    return plan.size + _EXECUTOR_WEIGHT * plan.owns_executor
