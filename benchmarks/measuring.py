"""Timing side by side: alternatives take turns in one process, and what is told is a ratio of medians.

Memory is measured in processes of their own: what one alternative has freed, the next finds resident.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["ROUNDS", "in_own_process", "medians", "peak_mb", "print_table", "reset_peak", "resident_mb"]

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


def in_own_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of a module, with picklable arguments, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def resident_mb() -> float:
    """The resident memory of this process."""
    return _status_mb("VmRSS")


def peak_mb() -> float:
    """The highest resident memory since `reset_peak`."""
    return _status_mb("VmHWM")


def reset_peak() -> None:
    """Start measuring the peak anew."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _status_mb(name: str) -> float:
    with open("/proc/self/status") as status:
        (value,) = [line.split()[1] for line in status if line.startswith(f"{name}:")]
    return int(value) / 1024


def print_table(
    title: str, rows: Sequence[tuple[str, ...]], columns: tuple[str, ...] = ("measured", "bar")
) -> None:
    """Print rows of (what, value of each column) under a title."""
    print(f"\n### {title}\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
