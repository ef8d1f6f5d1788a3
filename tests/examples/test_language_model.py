import re

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.timeout(150)


def test_perplexity_falls_and_the_state_is_carried_and_the_rate_lowered(run_example, tmp_path):
    # 200 steps read more than the whole text once: a pass is about 156 steps
    output = run_example("language_model.py", "--logdir", tmp_path, "--steps", 200, "--length", 100_000)

    different = int(re.search(r"100000 characters, (\d+) different", output).group(1))
    scalars = EventAccumulator(str(tmp_path)).Reload()
    perplexities = scalars.Scalars("perplexity")
    assert [event.step for event in perplexities] == [50, 100, 150, 200]
    assert perplexities[-1].value < min(perplexities[0].value, different / 6)
    rates = [event.value for event in scalars.Scalars("learning_rate")]
    assert rates == pytest.approx([0.01, 0.005, 0.0025, 0.0025])
    assert np.any(tf.train.load_variable(str(tmp_path / "model.ckpt-200"), "carried_state"))
