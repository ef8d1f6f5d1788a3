"""Each program in `programs/` shows the same under TensorFlow's Supervisor and under hookrun's."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(600)  # the first test waits for all programs


def test_same_as_tensorflow(program, observed):
    assert observed.hookrun == observed.tensorflow
