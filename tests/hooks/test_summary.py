"""SummaryHook: what it writes when summaries are due."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from types import SimpleNamespace

import pytest
import tensorflow as tf

import hookrun
from hookrun import events, hooks, signals, writers
from hookrun.hooks.step_counter import HOOK_TIMES

tf1 = tf.compat.v1


def summaries(events):
    """The step and the tags of each summary but those of `StepCounterHook`."""
    found = [(e.step, {v.tag for v in e.summary.value}) for e in events if e.WhichOneof("what") == "summary"]
    return [row for row in found if row[1] not in ({"global_step/sec"}, {HOOK_TIMES})]


def values(events, tag):
    return [(e.step, v.simple_value) for e in events for v in e.summary.value if v.tag == tag]


@pytest.fixture
def fed_model(graph):
    """A model whose loss is its input plus the step, with a summary of it."""
    global_step = tf1.train.get_or_create_global_step()
    x = tf1.placeholder(tf.float32, [], name="x")
    loss = x + tf1.get_variable("weight", initializer=0.0)
    tf1.summary.scalar("loss", loss)
    return SimpleNamespace(x=x, loss=loss, train_op=tf1.assign_add(global_step, 1))


@pytest.fixture
def sv(tmp_path):
    """Make a Supervisor whose summaries are due when the test says so, with `send(signal)`."""

    def make(**arguments):
        arguments = {"logdir": tmp_path, "save_summaries_secs": 0, "save_model_secs": 0, **arguments}
        return hookrun.Supervisor(**arguments)

    return make


def test_the_merged_summaries_are_written_with_the_current_step(model, tmp_path, read_events, sv):
    with sv(save_summaries_steps=3).managed_session() as sess:
        for _ in range(6):
            sess.run(model.train_op)
    assert summaries(read_events(tmp_path)) == [(3, {"loss"}), (6, {"loss"})]


def test_computing_them_is_no_training_step(model, tmp_path, wait_until):
    sv = hookrun.Supervisor(logdir=tmp_path)
    told, written = [], threading.Event()
    sv.on(signals.step, lambda _, event: told.append(event))
    sv.on(signals.summary_due, lambda *_: written.set(), priority=1)
    with sv.managed_session():
        wait_until(written)
    assert told == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"save_summaries_steps": 1}, {"loss", "global_step/sec"}),
        ({"hooks": [hooks.SummaryHook(every_steps=1)]}, {"loss"}),
    ],
    ids=["due", "scheduled"],
)
def test_what_is_due_is_on_disk_without_a_further_flush(
    model, tmp_path, read_events, sv, arguments, expected
):
    """The writer's own interval is two minutes, but for its first event."""
    sv = sv(**arguments)
    with sv.managed_session() as sess:
        sv.summary_writer.flush()
        sess.run(model.train_op)
        deadline = time.monotonic() + 30
        tags = set()
        while tags != expected and time.monotonic() < deadline:
            with contextlib.suppress(tf.errors.DataLossError):  # a record is being written
                tags = {v.tag for e in read_events(tmp_path) for v in e.summary.value}
        assert tags == expected


def test_a_tick_of_the_timer_is_on_disk_when_it_is_over(model, tmp_path, read_events, wait_until):
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0.01, save_model_secs=0)
    on_disk, ticks, enough = [], [], threading.Event()

    @sv.on(signals.summary_due, priority=1)
    def look(sv, event):
        ticks.append(None)
        on_disk.append(sum("loss" in tags for _, tags in summaries(read_events(tmp_path))))
        if len(ticks) == 5:
            enough.set()

    with sv.managed_session():
        wait_until(enough)
    assert on_disk[:5] == [1, 2, 3, 4, 5]


# Without a global step


def test_without_a_global_step_they_are_written_with_one_warning(
    graph, tmp_path, read_events, caplog, wait_until
):
    tf1.summary.scalar("constant", 1.0)
    sv = hookrun.Supervisor(logdir=tmp_path)
    written = threading.Event()
    sv.on(signals.summary_due, lambda *_: written.set(), priority=1)
    with caplog.at_level(logging.WARNING, "hookrun"), sv.managed_session():
        wait_until(written)
    assert summaries(read_events(tmp_path)) == [(0, {"constant"})]
    assert len([r for r in caplog.records if "global step" in r.getMessage()]) == 1


def test_without_a_global_step_they_bear_the_number_of_the_step_in_the_session(
    graph, tmp_path, read_events, sv
):
    train_op = tf1.assign_add(tf1.get_variable("weight", initializer=0.0), 1.0)
    tf1.summary.scalar("constant", 1.0)
    with sv(save_summaries_steps=2).managed_session() as sess:
        for _ in range(4):
            sess.run(train_op)
    assert summaries(read_events(tmp_path)) == [(2, {"constant"}), (4, {"constant"})]


# Summaries that depend on a placeholder


def test_they_ride_in_the_next_training_step_with_its_feed(fed_model, tmp_path, read_events, sv):
    sv = sv(save_summaries_steps=3)
    with sv.managed_session() as sess:
        for i in range(1, 8):
            assert sess.run([fed_model.train_op, fed_model.loss], {fed_model.x: i}) == [i, i]
    assert values(read_events(tmp_path), "loss") == [(4, 4.0), (7, 7.0)]


def test_the_timer_makes_them_due_and_no_thread_fails(fed_model, tmp_path, read_events, wait_until):
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=1000)
    due = threading.Event()
    sv.on(signals.summary_due, lambda *_: due.set(), priority=1)
    with sv.managed_session() as sess:
        wait_until(due)
        for i in range(1, 4):
            sess.run(fed_model.train_op, {fed_model.x: i})
    assert values(read_events(tmp_path), "loss") == [(1, 1.0)]


def test_they_wait_for_a_step_that_feeds_them_with_one_warning(fed_model, tmp_path, read_events, caplog, sv):
    sv = sv(save_summaries_steps=3)
    with caplog.at_level(logging.WARNING, "hookrun"), sv.managed_session() as sess:
        for i in range(1, 10):
            sess.run(fed_model.train_op, {fed_model.x: i} if i % 3 == 0 else None)
    assert values(read_events(tmp_path), "loss") == [(6, 6.0), (9, 9.0)]
    (warning,) = [r.getMessage() for r in caplog.records if "placeholder" in r.getMessage()]
    assert warning.startswith("SummaryHook in the step") and "'x'" in warning


def test_a_run_that_is_no_training_step_does_not_take_them_along(fed_model, tmp_path, read_events, sv):
    sv = sv(save_summaries_steps=1)
    with sv.managed_session() as sess:
        sess.run(fed_model.train_op, {fed_model.x: 1})
        sess.run(fed_model.loss, {fed_model.x: 100})
        sess.run(fed_model.train_op, {fed_model.x: 2})
    assert values(read_events(tmp_path), "loss") == [(2, 2.0)]


def test_a_placeholder_that_has_a_default_needs_no_step(model, tmp_path, read_events, wait_until):
    tf1.summary.scalar("default", tf1.placeholder_with_default(5.0, []))
    sv = hookrun.Supervisor(logdir=tmp_path)
    due = threading.Event()
    sv.on(signals.summary_due, lambda *_: due.set(), priority=1)
    with sv.managed_session():
        wait_until(due)
    assert values(read_events(tmp_path), "default") == [(0, 5.0)]


def test_they_ride_in_a_later_session_too(fed_model, tmp_path, read_events, sv):
    sv = sv(save_summaries_steps=1)
    for _ in range(2):
        with sv.managed_session() as sess:
            for i in (1, 2):
                sess.run(fed_model.train_op, {fed_model.x: i})
    assert values(read_events(tmp_path), "loss") == [(2, 2.0)] * 2


def test_eight_threads_at_once_write_each_due_summary_once(fed_model, tmp_path, read_events, sv):
    sv = sv(save_summaries_steps=1000)
    with sv.managed_session() as sess:

        def train():
            for _ in range(250):
                sess.run(fed_model.train_op, {fed_model.x: 1})

        threads = [threading.Thread(target=train) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sess.run(fed_model.train_op, {fed_model.x: 1})
    assert len(values(read_events(tmp_path), "loss")) == 2


# Schedules of their own


def test_several_hooks_write_each_at_its_own_steps(model, tmp_path, read_events, sv):
    often, seldom = tf1.summary.scalar("often", model.loss), tf1.summary.scalar("seldom", model.loss)
    given = [
        hooks.SummaryHook(often, every_steps=2),
        hooks.SummaryHook(seldom, at_steps=[3, 5]),
    ]
    with sv(save_summaries_steps=1, hooks=given).managed_session() as sess:
        losses = [sess.run([model.train_op, model.loss])[1] for _ in range(6)]
    found = read_events(tmp_path)
    assert values(found, "often") == [(step, losses[step - 1]) for step in (2, 4, 6)]
    assert values(found, "seldom") == [(step, losses[step - 1]) for step in (3, 5)]
    assert values(found, "loss") == []  # a hook that is given takes the place of the default one


def test_a_schedule_waits_for_a_step_that_feeds_the_placeholder(fed_model, tmp_path, read_events, sv):
    with sv(hooks=[hooks.SummaryHook(every_steps=4)]).managed_session() as sess:
        for i in range(1, 10):
            sess.run(fed_model.train_op, {fed_model.x: i} if i % 3 == 0 else None)
    assert values(read_events(tmp_path), "loss") == [(6, 6.0), (9, 9.0)]


def test_a_removed_hook_writes_no_more(model, tmp_path, read_events, sv):
    hook = hooks.SummaryHook(every_steps=1)
    sv = sv(hooks=[hook])
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        sv.remove_hook(hook)
        for _ in range(2):
            sess.run(model.train_op)
    assert summaries(read_events(tmp_path)) == [(1, {"loss"})]
    assert [h for h in sv.hooks if isinstance(h, hooks.SummaryHook) or "in the step" in h.name] == []


def test_a_schedule_that_is_none_is_refused_at_once():
    with pytest.raises(ValueError, match="every_steps"):
        hooks.SummaryHook(every_steps=0)


@pytest.mark.parametrize("wrong", ["x", tf.constant(1.0), object()])
def test_an_op_that_returns_no_summaries_is_refused_at_once(wrong):
    with pytest.raises(TypeError, match="^summary_op must be a tensor of strings, .* not "):
        hooks.SummaryHook(wrong)


def test_without_any_summary_op_it_is_an_error_that_says_so(model, tmp_path, sv):
    sv = sv(summary_op=None, hooks=[hooks.SummaryHook()])
    with pytest.raises(ValueError, match="SummaryHook needs a summary op"), sv.managed_session():
        pytest.fail("the block must not be entered")


# Values that are not finite


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("schedule", [{}, {"every_steps": 1}], ids=["due", "in the step"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_histogram_that_is_not_finite_is_left_out_with_one_warning(
    model, tmp_path, read_events, caplog, sv, schedule, value, use_resource
):
    fine = tf1.get_variable("fine", initializer=[1.0, 2.0], use_resource=use_resource)
    bad = tf1.get_variable("bad", initializer=[1.0, value], use_resource=use_resource)
    tf1.summary.histogram("fine", fine)
    nested = tf1.summary.merge(
        [
            tf1.summary.histogram("bad", bad, collections=[]),
            tf1.summary.scalar("scalar", bad[1], collections=[]),
        ],
        collections=[],
    )
    merged = tf1.summary.merge([*tf1.get_collection(tf1.GraphKeys.SUMMARIES), nested])
    sv = sv(save_summaries_steps=1, hooks=[hooks.SummaryHook(merged, **schedule)])
    with caplog.at_level(logging.WARNING, "hookrun"), sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    found = read_events(tmp_path)
    assert [step for step, _ in summaries(found)] == [1, 2, 3]
    assert all(len(tags) == 3 for _, tags in summaries(found))
    assert [v.simple_value for e in found for v in e.summary.value if v.tag == "scalar"] == pytest.approx(
        [value] * 3, nan_ok=True
    )
    (warning,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert "bad" in warning
    histograms = [v.histo for e in found for v in e.summary.value if v.HasField("histo")]
    assert [(h.min, h.max, h.num) for h in histograms] == [(1, 2, 2)] * 3


def test_another_invalid_argument_stops_the_training(model, sv):
    tf1.summary.image("image", tf1.placeholder_with_default(tf.zeros([1, 1, 1, 5]), None))
    sv = sv(save_summaries_steps=1)
    with pytest.raises(tf.errors.InvalidArgumentError), sv.managed_session() as sess:
        for _ in range(2):
            sess.run(model.train_op)


# Further writers


class FailingWriter(writers.ScalarWriter):
    def write(self, scalars, step, wall_time):
        raise OSError("no more room")


class RecordingWriter(writers.ScalarWriter):
    def __init__(self):
        super().__init__()
        self.rows, self.calls = [], []

    def write(self, scalars, step, wall_time):
        self.rows.append((step, scalars))

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


def test_they_go_to_further_writers_of_which_one_may_fail(model, tmp_path, read_events, caplog, sv):
    recording = RecordingWriter()
    hook = hooks.SummaryHook(every_steps=1, writers=[FailingWriter(), recording])
    with caplog.at_level(logging.ERROR, "hookrun"), sv(hooks=[hook]).managed_session() as sess:
        losses = [sess.run([model.train_op, model.loss])[1] for _ in range(3)]
    assert recording.rows == [(step, {"loss": losses[step - 1]}) for step in (1, 2, 3)]
    assert recording.calls == ["flush"] * 3 + ["close"]
    assert values(read_events(tmp_path), "loss") == [(step, losses[step - 1]) for step in (1, 2, 3)]
    (record,) = caplog.records
    assert "FailingWriter" in record.getMessage() and isinstance(record.exc_info[1], OSError)


def test_they_go_to_further_writers_alone_where_the_supervisor_has_none(model, tmp_path):
    recording = RecordingWriter()
    sv = hookrun.Supervisor(hooks=[hooks.SummaryHook(every_steps=1, writers=[recording])])
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    assert [step for step, _ in recording.rows] == [1]


def test_what_is_no_writer_is_refused_at_once():
    with pytest.raises(TypeError, match="type str lacks"):
        hooks.SummaryHook(writers=["metrics.jsonl"])


def test_summaries_that_meet_the_end_of_the_input_end_the_training_as_a_step_does(graph, sv, tmp_path):
    tf1.train.get_or_create_global_step()
    numbers = tf1.train.range_input_producer(3, num_epochs=1, shuffle=False).dequeue()
    tf1.summary.scalar("number", numbers)
    supervisor = sv(hooks=[hooks.SummaryHook()])
    with supervisor.managed_session() as sess:
        for _ in range(4):
            supervisor.send(signals.summary_due, events.SummaryDue(sess))
        assert supervisor.should_stop()
    assert supervisor.coord.error is None
