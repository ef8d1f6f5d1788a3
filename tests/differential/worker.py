"""Run programs under one Supervisor class, and write what was observed, one JSON line for each program.

usage: worker.py tensorflow|hookrun OUTPUT FILE.PROGRAM...

A program is a public function of a file in `programs/`. It is called with the class and the path of a logdir
that does not exist yet, and returns its observation. The programs of `eager.py` run under TensorFlow 2's
defaults, all others with TensorFlow 1's behaviour and a new default graph: TensorFlow's own class needs that.
It holds for the process, hence this worker, and those of `eager.py` are to come first.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import re
import sys
import tempfile
from contextlib import nullcontext
from typing import Any

import tensorflow as tf

PROGRAM_SECS = 40  # one that takes longer hangs: the process ends and says where


def supervisor_class(runtime: str) -> type:
    """Return the class that the programs run under."""
    if runtime == "tensorflow":
        return tf.compat.v1.train.Supervisor
    import hookrun

    return hookrun.Supervisor


def observe(runtime: str, name: str) -> str:
    """Run one program. What differs from run to run, as addresses, is taken out of what it shows."""
    file, function = name.split(".")
    program = getattr(importlib.import_module(f"programs.{file}"), function)
    graph = nullcontext() if file == "eager" else tf.Graph().as_default()
    with tempfile.TemporaryDirectory() as folder, graph:
        logdir = os.path.join(folder, "logdir")
        try:
            observation = program(supervisor_class(runtime), logdir)
        except BaseException as error:
            observation = {"the program itself raised": [type(error).__qualname__, str(error)[:2000]]}
    text = json.dumps(observation, default=_plain).replace(logdir, "LOGDIR")
    return re.sub(r"0x[0-9a-f]+|goo\.gle/debug\w+ *", "", text)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist()


def main(runtime: str, output: str, *names: str) -> None:
    """Run the programs in turn."""
    with open(output, "a", encoding="utf-8") as lines:
        for name in names:
            if not name.startswith("eager."):
                tf.compat.v1.disable_v2_behavior()
            faulthandler.dump_traceback_later(PROGRAM_SECS, exit=True)
            print(f'{{"program": "{name}", "observation": {observe(runtime, name)}}}', file=lines, flush=True)
    faulthandler.cancel_dump_traceback_later()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread that a program could not end must not keep the process


if __name__ == "__main__":
    main(*sys.argv[1:])
