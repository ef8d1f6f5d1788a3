"""Retention policies: which checkpoints each of them keeps, without a disk."""

from __future__ import annotations

import math
import random
import time

import pytest
import tensorflow as tf

from hookrun.hooks.retention import AnyOf, BestN, Checkpoint, EveryNHours, LatestN

HOUR = 3600.0


def checkpoints(*, times=None, accuracies=None):
    """Checkpoints at steps 1, 2, ...; an accuracy of None is one that was not measured."""
    times = times or [60.0 * i for i in range(len(accuracies))]
    accuracies = accuracies or [None] * len(times)
    return [
        Checkpoint(f"model.ckpt-{step}", step, at, {} if accuracy is None else {"accuracy": accuracy})
        for step, (at, accuracy) in enumerate(zip(times, accuracies, strict=True), start=1)
    ]


def steps(kept):
    return sorted(checkpoint.step for checkpoint in kept)


class TestLatestN:
    def test_it_keeps_the_newest(self):
        assert steps(LatestN(2).kept(checkpoints(times=[1, 2, 3, 4]))) == [3, 4]

    def test_it_keeps_all_while_there_are_no_more(self):
        assert steps(LatestN(5).kept(checkpoints(times=[1, 2]))) == [1, 2]
        assert LatestN(5).kept([]) == set()

    def test_none_keeps_all(self):
        assert steps(LatestN(None).kept(checkpoints(times=range(1, 101)))) == list(range(1, 101))

    def test_the_order_is_that_of_saving_not_of_steps_or_of_a_clock_that_was_set_back(self):
        later, earlier = Checkpoint("a-9", 9, 50.0, {}), Checkpoint("a-3", 3, 20.0, {})
        assert LatestN(1).kept([later, earlier]) == {earlier}

    @pytest.mark.parametrize("n", [0, -1, 1.5, True, "3"])
    def test_another_number_is_refused_by_name_and_value(self, n):
        with pytest.raises(ValueError, match=f"n must be a positive .* or None for all, not {n!r}"):
            LatestN(n)


class TestEveryNHours:
    def test_it_keeps_the_last_before_each_multiple_and_the_newest(self):
        times = [HOUR * t for t in (0.2, 0.9, 1.0, 1.5, 2.7, 3.1, 3.2)]
        assert steps(EveryNHours(1).kept(checkpoints(times=times))) == [2, 4, 5, 7]

    def test_an_hour_without_checkpoints_keeps_none(self):
        assert steps(EveryNHours(1).kept(checkpoints(times=[0.5 * HOUR, 9.5 * HOUR, 9.6 * HOUR]))) == [1, 3]

    def test_zero_keeps_all_and_infinity_the_newest(self):
        given = checkpoints(times=[1, 2, 9 * HOUR])
        assert steps(EveryNHours(0).kept(given)) == [1, 2, 3]
        assert steps(EveryNHours(math.inf).kept(given)) == [3]

    def test_pruned_after_each_save_it_leaves_one_for_each_interval(self):
        policy = LatestN(2) | EveryNHours(1)
        there = []
        for new in checkpoints(times=[60.0 * minute for minute in range(0, 601, 10)]):
            there = [c for c in (*there, new) if c in policy.kept([*there, new])]
        assert [c.time / HOUR for c in there[:-2]] == pytest.approx([hour + 5 / 6 for hour in range(9)])

    @pytest.mark.parametrize("hours, every_minutes", [(1, 10), (0.5, 7), (2, 45), (10000, 60)])
    def test_as_many_are_kept_as_by_tensorflows_saver_give_or_take_one(
        self, graph, tmp_path, monkeypatch, hours, every_minutes
    ):
        now = math.ceil(time.time() / (hours * HOUR)) * hours * HOUR + 17.0
        monkeypatch.setattr(time, "time", lambda: now)
        tf.compat.v1.get_variable("weights", [], initializer=tf.compat.v1.zeros_initializer())
        saver = tf.compat.v1.train.Saver(max_to_keep=3, keep_checkpoint_every_n_hours=hours)
        policy = LatestN(3) | EveryNHours(saver.saver_def.keep_checkpoint_every_n_hours)
        there = []
        with tf.compat.v1.Session() as sess:
            sess.run(tf.compat.v1.global_variables_initializer())
            for step in range(1, 61):
                now += 60.0 * every_minutes
                saved = Checkpoint(
                    saver.save(sess, str(tmp_path / "model"), step, write_meta_graph=False), step, now, {}
                )
                there = [c for c in (*there, saved) if c in policy.kept([*there, saved])]
        assert len(there) == pytest.approx(len(list(tmp_path.glob("*.index"))), abs=1)
        assert len(there) >= 3 + math.floor(60 * every_minutes / 60 / hours) - 1

    @pytest.mark.parametrize("hours", [-1, math.nan, "1", True, None])
    def test_other_hours_are_refused_by_name_and_value(self, hours):
        with pytest.raises(ValueError, match=f"hours must be a positive .* not {hours!r}"):
            EveryNHours(hours)


class TestBestN:
    def test_more_is_better_unless_said_otherwise(self):
        given = checkpoints(accuracies=[0.3, 0.9, 0.1, 0.7])
        assert steps(BestN(2, metric="accuracy").kept(given)) == [2, 4]
        assert steps(BestN(2, metric="accuracy", mode="min").kept(given)) == [1, 3]

    @pytest.mark.parametrize("mode", ["max", "min"])
    def test_of_equal_ones_the_older_is_kept(self, mode):
        given = checkpoints(accuracies=[0.5, 0.5, 0.5])
        assert steps(BestN(1, metric="accuracy", mode=mode).kept(given)) == [1]

    def test_a_value_counts_for_the_first_checkpoint_after_its_report(self):
        given = [
            Checkpoint(f"model.ckpt-{step}", step, step, {"accuracy": accuracy}, {"accuracy": times})
            for step, accuracy, times in [(1, 0.9, 1), (2, 0.9, 1), (3, 0.5, 2), (4, 0.5, 2), (5, 0.5, 3)]
        ]
        assert steps(BestN(2, metric="accuracy").kept(given)) == [1, 3]
        assert steps(BestN(9, metric="accuracy").kept(given)) == [1, 3, 5]
        assert steps(BestN(2, metric="accuracy").kept(given[2:])) == [3, 5]

    def test_without_the_number_of_reports_each_counts(self):
        assert steps(BestN(2, metric="accuracy").kept(checkpoints(accuracies=[0.5, 0.5, 0.4]))) == [1, 2]

    @pytest.mark.parametrize("mode", ["max", "min"])
    def test_one_without_the_metric_or_with_nan_is_never_best(self, mode):
        given = checkpoints(accuracies=[None, math.nan, 0.5, math.nan, None])
        assert steps(BestN(3, metric="accuracy", mode=mode).kept(given)) == [3]

    def test_where_none_has_a_value_none_is_kept(self):
        assert BestN(3, metric="accuracy").kept(checkpoints(accuracies=[None, math.nan])) == set()

    def test_a_worse_one_does_not_push_out_the_best_after_a_restart_from_what_is_left(self):
        policy = LatestN(1) | BestN(1, metric="accuracy")
        given = checkpoints(accuracies=[0.5, 0.9, 0.6, 0.7])
        left = [c for c in given[:3] if c in policy.kept(given[:3])]
        assert steps(policy.kept([*left, given[3]])) == [2, 4]

    def test_a_name_fetches_nothing(self):
        assert BestN(1, metric="accuracy").fetches == {}

    def test_a_tensor_or_a_variable_is_fetched_under_its_own_name(self, graph):
        with tf.name_scope("eval"):
            accuracy = tf.constant(0.5, name="accuracy")
        loss = tf.compat.v1.get_variable("loss", [])
        second = tf.unstack(tf.constant([1.0, 2.0]), name="both")[1]
        assert BestN(1, metric=accuracy).fetches == {"eval/accuracy": accuracy}
        assert BestN(1, metric=accuracy).metric == "eval/accuracy"
        assert list(BestN(1, metric=loss).fetches) == ["loss"]
        assert list(BestN(1, metric=second).fetches) == ["both:1"]

    @pytest.mark.parametrize("metric", [None, "", 3, ["accuracy"]])
    def test_a_metric_that_is_no_name_and_has_none_is_refused(self, metric):
        with pytest.raises(TypeError, match="metric must be the name of a value, or a fetch with a name"):
            BestN(1, metric=metric)

    def test_other_arguments_are_refused_by_name_and_value(self):
        with pytest.raises(ValueError, match="n must be a positive number of checkpoints, not 0"):
            BestN(0, metric="accuracy")
        with pytest.raises(ValueError, match="mode must be 'max' or 'min', not 'best'"):
            BestN(1, metric="accuracy", mode="best")


class TestUnion:
    def test_it_keeps_what_either_keeps(self):
        given = checkpoints(accuracies=[0.9, 0.1, 0.2, 0.3])
        policy = LatestN(1) | BestN(1, metric="accuracy") | BestN(1, metric="accuracy", mode="min")
        assert steps(policy.kept(given)) == [1, 2, 4]

    def test_it_fetches_what_each_needs(self, graph):
        accuracy, loss = tf.constant(0.5, name="accuracy"), tf.constant(0.1, name="loss")
        policy = LatestN(5) | BestN(1, metric=accuracy) | (EveryNHours(1) | BestN(2, metric=loss, mode="min"))
        assert policy.fetches == {"accuracy": accuracy, "loss": loss}

    def test_only_policies_combine(self):
        with pytest.raises(TypeError):
            LatestN(1) | 3

    def test_it_shows_what_it_is_made_of(self):
        policy = LatestN(None) | EveryNHours(2) | BestN(1, metric="loss", mode="min")
        assert repr(policy) == "LatestN(None) | EveryNHours(2) | BestN(1, metric='loss', mode='min')"


@pytest.mark.parametrize("seed", range(50))
def test_pruning_never_loses_what_would_be_wanted_later_and_always_keeps_the_newest(seed):
    """Pruned after every save, each policy has what it keeps of all that was ever saved."""
    chance = random.Random(seed)
    policies = [
        LatestN(chance.randint(1, 4)),
        EveryNHours(chance.uniform(0.2, 3.0)),
        BestN(chance.randint(1, 3), metric="accuracy", mode=chance.choice(["max", "min"])),
    ]
    policy = AnyOf(*chance.sample(policies, chance.randint(0, 2)), policies[0])
    now, given = 1.7e9, []
    for step in range(1, 41):
        now += chance.expovariate(1.0) * 0.4 * HOUR
        value = chance.choice([chance.randint(0, 9) / 10, math.nan])
        metrics = {"accuracy": value} if chance.random() < 0.8 else {}
        given.append(Checkpoint(f"model.ckpt-{step}", step, now, metrics))
    there = []
    for count, new in enumerate(given, start=1):
        there = [c for c in (*there, new) if c in policy.kept([*there, new])]
        assert set(there) == policy.kept(given[:count])
        assert set(there) == policy.kept(there)
        assert new in there
