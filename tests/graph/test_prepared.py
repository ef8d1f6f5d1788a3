"""Prepared runs: the results, errors and types of `Session.run`, prepared once."""

from __future__ import annotations

import collections
import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import signals
from hookrun.graph import plan_cache, tf_internals
from hookrun.graph.prepared import InlineChoice, NotPreparable, PreparedRun

v1 = tf.compat.v1
Pair = collections.namedtuple("Pair", ["first", "second"])


@pytest.fixture
def ops(graph):
    """A graph with one of everything that can be fetched or fed."""
    ops = type("Ops", (), {})()
    ops.x = v1.placeholder(tf.float32, [None, 3], name="x")
    ops.rate = v1.placeholder(tf.float32, [], name="rate")
    ops.count = v1.placeholder(tf.int32, [], name="count")
    ops.text = v1.placeholder(tf.string, [None], name="text")
    ops.variable = v1.get_variable("variable", initializer=[1.0, 2.0])
    ops.total = tf.reduce_sum(ops.x, name="total")
    ops.scaled = tf.multiply(ops.x, ops.rate, name="scaled")
    ops.counted = tf.add(ops.count, 1, name="counted")
    ops.read = tf.identity(ops.text, name="read")
    ops.nothing = tf.no_op("nothing")
    ops.fed_sparse = v1.sparse_placeholder(tf.float32, name="fed_sparse")
    ops.summed = tf.sparse.reduce_sum(ops.fed_sparse)
    ops.sparse = tf.SparseTensor([[0, 1]], [5.0], [2, 2])
    ops.slices = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([0]), tf.constant([4, 1]))
    ops.ragged = tf.ragged.constant([[1], [2, 3]])
    ops.checked = tf.debugging.check_numerics(ops.rate, "not a number")
    ops.unset = v1.get_variable("unset", initializer=ops.rate, collections=[])
    ops.taken = v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(1).take(0)).get_next()
    ops.never = tf.queue.FIFOQueue(1, [tf.float32], [[]]).dequeue()
    ops.constant = tf.constant([[1, 2], [3, 4]], name="constant")
    return ops


@pytest.fixture
def sess(ops):
    config = v1.ConfigProto(operation_timeout_in_ms=200)
    with hookrun.Supervisor().managed_session(config=config) as sess:
        yield sess


FETCHES = {
    "a tensor": lambda o: o.constant,
    "an operation": lambda o: o.nothing,
    "a variable": lambda o: o.variable,
    "a name": lambda o: "constant:0",
    "the name of an operation": lambda o: "nothing",
    "a list": lambda o: [o.nothing, o.constant, o.variable],
    "a list of one": lambda o: [o.constant],
    "a list of one operation": lambda o: [o.nothing],
    "an empty list": lambda o: [],
    "a tuple": lambda o: (o.constant, o.nothing),
    "a tuple of one": lambda o: (o.constant,),
    "the same twice": lambda o: [o.constant, o.constant],
    "a dict": lambda o: {"a": o.constant, "b": {"c": o.nothing}},
    "an ordered dict": lambda o: collections.OrderedDict(b=o.constant, a=o.variable),
    "a default dict": lambda o: collections.defaultdict(list, a=o.constant),
    "a namedtuple": lambda o: Pair(o.constant, [o.nothing, Pair(o.variable, o.constant)]),
    "a sparse tensor": lambda o: o.sparse,
    "slices": lambda o: [o.slices],
    "a ragged tensor": lambda o: [o.ragged, o.constant],
    "a mixture": lambda o: [o.sparse, {"r": o.ragged}, ("constant:0", [o.nothing])],
}


def same(left, right):
    if isinstance(left, dict):
        assert type(left) is type(right)
        assert list(left) == list(right)
        return all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        assert type(left) is type(right)
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, np.ndarray):
        assert (left.dtype, left.shape, type(left)) == (right.dtype, right.shape, type(right))
        return bool((left == right).all())
    if type(left).__name__ == "RaggedTensorValue":
        return same(left.to_list(), right.to_list())
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("name", FETCHES)
def test_results_are_those_of_session_run(ops, sess, name):
    fetches = FETCHES[name](ops)
    expected = sess.run_without_hooks(fetches)
    for _ in range(2):
        assert same(sess.run(fetches), expected)


FEEDS = {
    "an array": lambda o: (o.total, {o.x: np.ones([2, 3], np.float32)}),
    "an array of another length": lambda o: (o.total, {o.x: np.ones([5, 3], np.float32)}),
    "an array of another type": lambda o: (o.total, {o.x: np.ones([2, 3])}),
    "a list": lambda o: (o.total, {o.x: [[1, 2, 3]]}),
    "a float": lambda o: (o.scaled, {o.x: np.ones([1, 3], np.float32), o.rate: 0.1}),
    "an int for a float": lambda o: (o.scaled, {o.x: np.ones([1, 3], np.float32), o.rate: 2}),
    "a numpy scalar": lambda o: (o.scaled, {o.x: np.ones([1, 3], np.float32), o.rate: np.float64(0.1)}),
    "an int": lambda o: (o.counted, {o.count: 41}),
    "texts": lambda o: (o.read, {o.text: ["one", b"two"]}),
    "an array of texts": lambda o: (o.read, {o.text: np.array(["one", "two"])}),
    "a name": lambda o: (o.counted, {"count:0": 41}),
    "a tensor between": lambda o: (o.counted, {o.counted: 7}),
    "a fed variable's constant": lambda o: ([o.constant, o.nothing], {o.constant: [[0, 0], [0, 1]]}),
    "a sparse tensor": lambda o: (o.summed, {o.fed_sparse: v1.SparseTensorValue([[1, 1]], [2.0], [2, 2])}),
    "nothing": lambda o: (o.constant, {}),
}


@pytest.mark.parametrize("name", FEEDS)
def test_feeds_are_converted_as_by_session_run(ops, sess, name):
    fetches, feeds = FEEDS[name](ops)
    expected = sess.run_without_hooks(fetches, feeds)
    for _ in range(2):
        assert same(sess.run(fetches, feeds), expected)


WRONG = {
    "a failed check": lambda o: ([o.checked, o.constant], {o.rate: float("nan")}),
    "a variable without a value": lambda o: ([o.unset], None),
    "the end of the input": lambda o: ([o.taken, o.constant], None),
    "what takes too long": lambda o: ([o.never], None),
    "None among texts": lambda o: (o.read, {o.text: np.array(["one", None], object)}),
    "a generator": lambda o: (iter(()), None),
    "a wrong shape": lambda o: (o.total, {o.x: np.ones([2, 2], np.float32)}),
    "an int that does not fit": lambda o: (o.counted, {o.count: 2**40}),
    "a float for an int": lambda o: (o.counted, {o.count: "many"}),
    "a tensor as value": lambda o: (o.counted, {o.count: o.constant}),
    "nothing fed": lambda o: (o.total, None),
    "no such tensor": lambda o: ("none:0", None),
    "None": lambda o: (None, None),
    "a number": lambda o: (3, None),
    "None in a list": lambda o: ([o.constant, None], None),
    "a feed that is no tensor": lambda o: (o.constant, {3: 4}),
    "a feed that does not exist": lambda o: (o.constant, {"none:0": 4}),
    "feeds that are no dict": lambda o: (o.total, [o.x]),
}


def message(error):
    """Its message without TensorFlow's recent log lines, of whatever ran before, which it may append, and
    without the places in the program that it looks up for the nodes in those."""
    lines = [line for line in str(error).splitlines() if ".cc:" not in line]
    return [line for line in lines if line and not line.startswith(("  ", "Detected at node", "node "))]


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_those_of_session_run(ops, sess, name):
    fetches, feeds = WRONG[name](ops)
    with pytest.raises(Exception) as expected:
        sess.run_without_hooks(fetches, feeds)
    for _ in range(2):
        with pytest.raises(Exception) as error:
            sess.run(fetches, feeds)
        assert error.type is expected.type
        assert message(error.value) == message(expected.value)
        assert getattr(error.value, "op", None) is getattr(expected.value, "op", None)
        assert getattr(error.value, "node_def", None) == getattr(expected.value, "node_def", None)


def test_a_good_run_after_a_wrong_value_is_right(ops, sess):
    good = np.ones([2, 3], np.float32)
    assert sess.run(ops.total, {ops.x: good}) == 6
    with pytest.raises(ValueError, match="Cannot feed value of shape"):
        sess.run(ops.total, {ops.x: np.ones([2, 2], np.float32)})
    assert sess.run(ops.total, {ops.x: good}) == 6


def test_a_changed_list_and_a_changed_dict_do_not_hit_the_old_run(ops, sess):
    fetches = [ops.constant]
    assert len(sess.run(fetches)) == 1
    fetches.append(ops.variable)
    assert len(sess.run(fetches)) == 2
    inner = {"a": ops.constant}
    assert set(sess.run([inner])[0]) == {"a"}
    inner["b"] = ops.variable
    assert set(sess.run([inner])[0]) == {"a", "b"}
    del inner["a"]
    assert set(sess.run([inner])[0]) == {"b"}


def test_a_dict_whose_keys_are_equal_but_differ_does_not_hit_the_old_run(ops, sess):
    results = [sess.run({key: ops.constant}) for key in (1, True, 1.0)]
    assert [type(key) for result in results for key in result] == [int, bool, float]


def test_results_are_the_programs_own_to_change(ops, sess):
    for _ in range(3):
        value = sess.run([ops.variable])[0]
        value += 100.0
    assert sess.run(ops.variable).tolist() == [1.0, 2.0]


def test_a_fetched_variable_does_not_change_while_training_goes_on(model):
    with hookrun.Supervisor().managed_session() as sess:
        held = sess.run([model.weights])[0]
        copy = held.copy()
        for _ in range(5):
            sess.run(model.train_op)
    assert held.tolist() == copy.tolist()


def test_fetch_lists_built_afresh_hit_the_prepared_run_and_nothing_grows(ops, sess, monkeypatch):
    plans = sess._training_steps._plans
    known = len(plans)
    for _ in range(100):
        sess.run([ops.constant, ops.nothing])
    assert len(plans) == known + 1
    monkeypatch.setattr(plan_cache, "_ROOM", 6_000)
    for i in range(100):
        sess.run([ops.constant] * (i + 1))
    assert 1 < len(plans) <= 50


def test_several_threads_share_a_prepared_run(ops, sess):
    errors = []

    def run(length):
        for _ in range(200):
            value = np.ones([length, 3], np.float32)
            if sess.run([ops.total], {ops.x: value})[0] != 3 * length:
                errors.append(length)

    threads = [threading.Thread(target=run, args=(length,)) for length in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_session_that_was_closed_is_let_go(model):
    sv = hookrun.Supervisor()
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    assert len(sess._training_steps._plans) == 0


def test_hooks_that_fetch_the_same_tensor_share_it(model):
    values = []
    sv = hookrun.Supervisor()
    for _ in range(3):
        sv.on(signals.step, lambda _, event: values.append(event.values), fetches=model.weights)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    assert values[0] is values[1] is values[2]


def test_without_tensorflows_internals_everything_goes_through_session_run(monkeypatch):
    monkeypatch.setattr(tf_internals, "can_prepare", False)
    monkeypatch.setattr(tf_internals, "raw_run", None)
    told = []
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        train_op = v1.assign_add(step, 1)
        sv = hookrun.Supervisor(inline_steps="auto")
        sv.on(signals.step, lambda _, event: told.append(event), fetches={"s": step})
        with sv.managed_session() as plain:
            for _ in range(3):
                plain.run([train_op, {"again": train_op}])
    assert [event.global_step for event in told] == [1, 2, 3]
    assert all(set(event.values) == {"s"} for event in told)


class TestInline:
    def test_results_are_the_same(self, model):
        told = []
        sv = hookrun.Supervisor(inline_steps=True)
        sv.on(signals.step, lambda _, event: told.append(event.global_step))
        with sv.managed_session() as sess:
            for _ in range(5):
                sess.run([model.train_op, model.loss])
            assert sess.run(model.weights)[0] == pytest.approx(1 - 0.8**5)
        assert told == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize(("inline_secs", "threads_secs", "chosen"), [(1.0, 2.0, True), (2.0, 1.0, False)])
    def test_auto_measures_both_and_keeps_the_faster(self, inline_secs, threads_secs, chosen, caplog):
        caplog.set_level("INFO", logger="hookrun")
        now, runs = [0.0], []

        def run(feed_dict, inline):
            runs.append(inline)
            now[0] += inline_secs if inline else threads_secs

        choice = InlineChoice("auto", clock=lambda: now[0])
        while choice.choice is None:
            choice.measured(SimpleNamespace(run=run), None)
        assert len(runs) <= 50
        assert choice.choice is chosen
        (line,) = caplog.messages
        assert line.startswith("Steps run inline" if chosen else "Steps run not inline")

    def test_auto_trains(self, model):
        sv = hookrun.Supervisor(inline_steps="auto")
        with sv.managed_session() as sess:
            for _ in range(60):
                sess.run(model.train_op)
            assert sess.run(model.global_step) == 60

    def test_another_value_is_refused(self, graph):
        with pytest.raises(ValueError, match="inline_steps must be True, False or 'auto', not 'fast'"):
            hookrun.Supervisor(inline_steps="fast")


class TestPreparedRun:
    def test_a_fetch_that_is_fed_is_left_to_tensorflow(self, ops, sess):
        with pytest.raises(NotPreparable):
            PreparedRun(sess, ops.constant, [], [], [ops.constant])

    def test_parts_come_back_each_in_its_structure(self, ops, sess):
        run = PreparedRun(sess, ops.constant, [ops.nothing], [{"v": ops.variable}], [])
        first, second, (third,) = run.run(None)
        assert (first.tolist(), second, third["v"].tolist()) == ([[1, 2], [3, 4]], [None], [1.0, 2.0])


def test_nothing_is_kept_of_arrays_that_were_fed(ops, sess):
    array = np.ones([2, 3], np.float32)
    sess.run(ops.total, {ops.x: array})
    gc.collect()
    assert len(gc.get_referrers(array)) <= 1


@pytest.mark.parametrize("make_session", [v1.Session, lambda: hookrun.Supervisor().managed_session()])
def test_a_tensor_stays_in_the_session_until_its_handle_is_deleted(graph, make_session):
    name = "GetSessionHandle;0;/job:localhost/replica:0/task:0/device:CPU:0"
    kept = v1.get_session_handle(tf.constant([1.0, 2.0]))
    holder, value = v1.get_session_tensor(name, tf.float32)
    to_delete, delete = v1.delete_session_tensor(name)
    with make_session() as sess:
        first, second = sess.run(kept), sess.run(kept)
        assert first.handle != second.handle
        for _ in range(2):
            assert sess.run(value, {holder: first.handle}).tolist() == [1.0, 2.0]
        assert sess.run(delete, {to_delete: first.handle}) is None
        with pytest.raises(tf.errors.InvalidArgumentError, match="is not in the session store"):
            sess.run(value, {holder: first.handle})
        assert sess.run(value, {holder: second.handle}).tolist() == [1.0, 2.0]


def test_a_graph_that_grows_again_is_run_as_it_is_then(graph):
    step = v1.train.get_or_create_global_step()
    train_op = v1.assign_add(step, 1).op
    told = []
    sv = hookrun.Supervisor()
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as sess:
        sess.run(train_op)
        graph._unsafe_unfinalize()  # as programs do that build their evaluation late
        later = v1.get_variable("later", initializer=5.0)
        doubled = later * 2.0
        sess.run(later.initializer)
        assert sess.run([later, doubled]) == [5.0, 10.0]
        sess.run(train_op)
    assert told == [1, 2]


@pytest.mark.parametrize("waits", [True, False], ids=["in a run that waits", "in steps"])
def test_a_session_that_is_closed_ends_the_runs_of_other_threads_as_tensorflow_does(graph, waits):
    step = v1.train.get_or_create_global_step()
    train_op = v1.assign_add(step, 1).op
    dequeue = tf.queue.FIFOQueue(1, [tf.float32], [[]]).dequeue()
    sess = hookrun.Supervisor().prepare_or_wait_for_session(start_standard_services=False)
    begun, raised = threading.Event(), []

    def run():
        try:
            while True:
                begun.set()
                sess.run(dequeue if waits else [train_op, step])
        except (tf.errors.CancelledError, RuntimeError) as error:
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    sess.close()
    for thread in threads:
        thread.join(30)
    assert len(raised) == 2
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        sess.run(train_op)
