"""hook_state: what is read back, and how damage is told."""

from __future__ import annotations

import collections
import enum
import json

import crc32c
import numpy as np
import pytest

from hookrun import hooks, triggers
from hookrun.runtime.hook_state import HookState, collect, load, read, write
from hookrun.triggers import schedule

STATE = HookState(
    metrics={"loss": 0.5},
    hooks={"EarlyStopping": {"best": 0.5, "patience": 3}},
    triggers={"Report": {}},
    times_reported={"loss": 3},
)


def test_what_was_written_is_read_back(tmp_path):
    write(tmp_path / "state", STATE)
    assert read(tmp_path / "state") == STATE


def test_a_file_of_an_older_version_has_no_count_of_reports(tmp_path):
    text = json.dumps({"metrics": {"loss": 0.5}, "hooks": {}, "triggers": {}})
    (tmp_path / "state").write_text(json.dumps({"crc32c": crc32c.crc32c(text.encode()), "state": text}))
    assert read(tmp_path / "state") == HookState({"loss": 0.5}, times_reported={})


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


class Remembers(hooks.Hook):
    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state() if callable(self.state) else self.state

    def load_state_dict(self, state):
        self.state = state["value"]


def test_a_state_that_is_no_json_is_refused_by_the_name_of_its_hook():
    with pytest.raises(TypeError, match="state_dict of Remembers must hold JSON values only"):
        collect([Remembers({"set": {1}})], {})


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({7: 0.5}, "the key 7 is not a str"),
        ({"values": {7: 0.5}}, r"the key 7 in \['values'\] is not a str"),
        (
            {"values": [{}, {"inner": {None: 1}}]},
            r"the key None in \['values'\]\[1\]\['inner'\] is not a str",
        ),
        ({(1, 2): 0.5}, r"the key \(1, 2\) is not a str"),
        ({np.int64(7): 0.5}, "the key np.int64.7. is not a str"),
        ({"shape": (1, 2)}, r"\(1, 2\) in \['shape'\] is of the type tuple"),
        ({"array": np.zeros(2)}, r"array.* in \['array'\] is of the type ndarray"),
        ({"number": 1j}, r"1j in \['number'\] is of the type complex"),
    ],
)
def test_a_state_that_would_come_back_as_another_is_refused_by_its_place(state, message):
    with pytest.raises(TypeError, match=f"state_dict of Remembers must hold JSON values only: {message}"):
        collect([Remembers(state)], {})


@pytest.mark.parametrize(
    "state",
    [
        None,
        {"text": "ü", "none": None, "flag": True, "large": 2**70, "inf": float("-inf")},
        {"nested": [{"a": [1, 2.5]}, []], "": {}},
        collections.OrderedDict([("b", 1), ("a", 2)]),
        {"numpy": [np.int64(5), np.float32(0.1), np.True_, np.array(5), np.str_("s")]},
        {"enum": Colour.RED},
    ],
)
def test_a_state_comes_back_as_it_was(state, tmp_path):
    write(tmp_path / "state", collect([Remembers(state)], {}))
    restored = read(tmp_path / "state").hooks["Remembers"]
    assert restored == state
    if state is not None:
        assert list(restored) == list(state)


def test_the_state_of_a_trigger_is_checked_too():
    class Fires(triggers.Once):
        def state_dict(self):
            return {1: True}

    hook = Remembers({})
    hook.trigger = Fires()
    with pytest.raises(TypeError, match="Remembers must hold JSON values only: the key 1 is not a str"):
        collect([hook], {})


def test_what_is_remembered_does_not_change_afterwards():
    remembers = Remembers({"seen": []})
    state = collect([remembers], {})
    remembers.state["seen"].append(1)
    assert state.hooks == {"Remembers": {"seen": []}}


@pytest.mark.parametrize("state", [lambda: 1 / 0, {"set": {1}}])
def test_a_hook_that_only_logs_its_errors_is_left_out_when_it_has_no_state_to_tell(state, caplog):
    failing, well = Remembers(state), Remembers({"value": 1})
    failing.name, failing.on_error = "Failing", "log"
    assert collect([failing, well], {"loss": 0.5}) == HookState({"loss": 0.5}, {"Remembers": {"value": 1}})
    (record,) = caplog.records
    assert record.getMessage() == "Failing.state_dict failed" and record.exc_info[1] is not None


def test_a_hook_that_only_logs_its_errors_starts_anew_when_it_cannot_load_its_state(caplog):
    failing, well = Remembers(), Remembers()
    failing.name, failing.on_error = "Failing", "log"
    load([failing, well], HookState(hooks={"Failing": {}, "Remembers": {"value": 1}}))
    assert (failing.state, well.state) == (None, 1)
    assert "Failing.load_state_dict failed" in caplog.text


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
