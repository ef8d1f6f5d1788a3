"""hook_state: what is read back, and how damage is told."""

from __future__ import annotations

import pytest

from hookrun import hooks
from hookrun.hook_state import HookState, collect, load, read, write
from hookrun.triggers import schedule

STATE = HookState(
    metrics={"loss": 0.5}, hooks={"EarlyStopping": {"best": 0.5, "patience": 3}}, triggers={"Report": {}}
)


def test_what_was_written_is_read_back(tmp_path):
    write(tmp_path / "state", STATE)
    assert read(tmp_path / "state") == STATE


def test_numbers_that_are_no_numbers_survive(tmp_path):
    write(tmp_path / "state", HookState(metrics={"loss": float("inf")}))
    assert read(tmp_path / "state").metrics == {"loss": float("inf")}


def test_without_a_file_there_is_nothing_to_remember(tmp_path):
    assert not read(tmp_path / "state")


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path):
    write(tmp_path / "state", STATE)
    whole = (tmp_path / "state").read_bytes()
    damaged = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for content in [*damaged, *(whole[:i] for i in range(len(whole)))]:
        (tmp_path / "state").write_bytes(content)
        try:
            assert read(tmp_path / "state") == STATE, content
        except ValueError as error:
            assert "state is damaged" in str(error)


def test_a_state_that_is_no_json_is_refused_by_the_name_of_its_hook(tmp_path):
    with pytest.raises(TypeError, match="state_dict of Mine must hold JSON values only"):
        write(tmp_path / "state", HookState(hooks={"Mine": {"set": {1}}}))


def test_a_schedule_that_was_changed_starts_anew_with_a_warning(caplog):
    class Report(hooks.Hook):
        def __init__(self, **arguments):
            self.trigger = schedule(**arguments)

    before = collect([Report(every_secs=60)], {})
    load([Report(every_secs=30)], before)
    assert caplog.text == ""
    for arguments in ({"every_secs": 60, "at_steps": [1]}, {"every_secs": 30, "every_steps": 5}):
        caplog.clear()
        load([Report(**arguments)], before)
        assert "another schedule of the hook Report" in caplog.text
