import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.timeout(150)


def test_the_generated_points_come_to_lie_as_the_real_ones_do(run_example, tmp_path):
    run_example("gan.py", "--logdir", tmp_path, "--steps", 1000)

    assert (tmp_path / "model.ckpt-1000.index").exists()  # two runs a round are one global step
    measured = EventAccumulator(str(tmp_path / "eval")).Reload()
    radii, spreads = measured.Scalars("radius"), measured.Scalars("spread")
    assert [event.step for event in radii] == [1, 500, 1000]
    assert abs(radii[0].value - 2) > 0.5
    assert radii[-1].value == pytest.approx(2, abs=0.2)
    assert spreads[-1].value == pytest.approx(0.2, abs=0.12)
    # all around the circle: half of it would have its middle at a distance of 1.27 from the centre
    for coordinate in ("x", "y"):
        assert measured.Scalars(coordinate)[-1].value == pytest.approx(0, abs=0.4)
