"""Timing side by side: alternatives take turns in one process, and what is told is a ratio of medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["ROUNDS", "medians", "print_table"]

ROUNDS = 9


def medians(
    alternatives: Mapping[str, Callable[[], object]], calls: int, *, rounds: int = ROUNDS
) -> dict[str, float]:
    """The median time of a call of each alternative, in seconds.

    Each round calls every alternative `calls` times in a row, after a few calls that do not count, so a
    machine that gets slower or faster does so for all.
    """
    secs: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds):
        for name, call in alternatives.items():
            for _ in range(max(1, calls // 20)):
                call()
            gc.collect()
            gc.disable()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            secs[name].append((time.perf_counter() - start) / calls)
            gc.enable()
    return {name: statistics.median(values) for name, values in secs.items()}


def print_table(title: str, rows: list[tuple[str, str, str]]) -> None:
    """Print rows of (what, measured, bar) under a title."""
    print(f"\n### {title}\n\n| | measured | bar |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |")
