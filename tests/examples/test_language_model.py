import re

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.timeout(150)


def carried_state(logdir, step):
    return tf.train.load_variable(str(logdir / f"model.ckpt-{step}"), "carried_state")


def test_perplexity_falls_and_the_state_is_carried_and_the_rate_lowered_over_a_restart(run_example, tmp_path):
    program = ["language_model.py", "--logdir", tmp_path, "--length", 100_000]
    output = run_example(*program, "--steps", 200)  # more than the whole text: a pass is about 156 steps

    different = int(re.search(r"100000 characters, (\d+) different", output).group(1))
    scalars = EventAccumulator(str(tmp_path)).Reload()
    perplexities = scalars.Scalars("perplexity")
    assert [event.step for event in perplexities] == [50, 100, 150, 200]
    assert perplexities[-1].value < min(perplexities[0].value, different / 6)
    rates = [event.value for event in scalars.Scalars("learning_rate")]
    assert rates == pytest.approx([0.01, 0.005, 0.0025, 0.0025])
    assert np.any(carried_state(tmp_path, 200))

    run_example(*program, "--steps", 250)

    scalars = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in scalars.Scalars("perplexity")] == [50, 100, 150, 250]
    assert scalars.Scalars("perplexity")[-1].value < 0.8 * perplexities[0].value  # after 50 steps anew
    assert scalars.Scalars("learning_rate")[-1].value == pytest.approx(0.0025)
    assert np.any(carried_state(tmp_path, 250) != carried_state(tmp_path, 200))
