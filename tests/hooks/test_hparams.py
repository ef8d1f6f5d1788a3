"""HParamsHook: what a real TensorBoard's HParams plugin makes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import hparams_plugin
from werkzeug.test import Client

import hookrun
from hookrun import hooks

OFF = {"save_summaries_secs": 0, "save_model_secs": 0}


def table(logdir):
    """The rows of TensorBoard's table: each with its hyperparameters, status and metrics."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(logdir))
    provider = data_provider.MultiplexerDataProvider(multiplexer.Reload(), str(logdir))
    tensorboard = base_plugin.TBContext(data_provider=provider, logdir=str(logdir))
    plugin = hparams_plugin.HParamsPlugin(tensorboard)

    def ask(route, request):
        def application(environ, start_response):
            context.set_in_environ(environ, context.RequestContext())
            return plugin.get_plugin_apps()[route](environ, start_response)

        response = Client(application).post("/", json=request)
        assert response.status_code == 200, response.data
        return json.loads(response.data)

    experiment = ask("/experiment", {"experimentName": "0"})
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    columns = [{"hparam": info["name"]} for info in experiment["hparamInfos"]]
    columns += [{"metric": info["name"]} for info in experiment["metricInfos"]]
    groups = ask(
        "/session_groups",
        {"startIndex": 0, "sliceSize": 100, "allowedStatuses": statuses, "colParams": columns},
    )
    return {
        group["name"]: (
            group["hparams"],
            group["sessions"][0]["status"],
            {value["name"]["tag"]: value["value"] for value in group["sessions"][0].get("metricValues", [])},
        )
        for group in groups["sessionGroups"]
    }


def train(logdir, hparams, error=None, **arguments):
    with tf.Graph().as_default():
        step = tf.compat.v1.train.get_or_create_global_step()
        train_op = tf.compat.v1.assign_add(step, 1)
        hook = hooks.HParamsHook(hparams, metrics={"steps": step})
        sv = hookrun.Supervisor(logdir=logdir, hooks=[hook], **{**OFF, **arguments})
        with sv.managed_session() as sess:
            for accuracy in (0.5, 0.75):
                sess.run(train_op)
                sv.report_metrics({"accuracy": accuracy})
            if error is not None:
                raise error


def test_each_training_is_a_row_with_its_hyperparameters_status_and_final_metrics(tmp_path):
    train(tmp_path / "a", {"rate": 0.5, "layers": np.int64(3), "optimizer": "sgd", "dropout": True})
    with pytest.raises(ValueError, match="failed"):
        train(tmp_path / "b", {"rate": 2, "optimizer": "adam", "dropout": np.False_}, ValueError("failed"))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c", {"rate": 3}, KeyboardInterrupt())
    rows = table(tmp_path)
    final = {"final/accuracy": 0.75, "final/steps": 2.0}
    settings = {"rate": 0.5, "layers": 3.0, "optimizer": "sgd", "dropout": True}
    assert rows["a"] == (settings, "STATUS_SUCCESS", final)
    settings = {"rate": 2.0, "optimizer": "adam", "dropout": False}
    assert rows["b"] == (settings, "STATUS_FAILURE", {"final/accuracy": 0.75})
    assert rows["c"] == ({"rate": 3.0}, "STATUS_SUCCESS", final)


def test_the_row_is_there_while_the_training_runs_and_after_it_is_resumed(model, tmp_path):
    rows = []
    sv = hookrun.Supervisor(logdir=tmp_path / "a", hooks=[hooks.HParamsHook({"rate": 0.5})])
    for _ in range(2):
        with sv.managed_session() as sess:
            sess.run(model.train_op)
            sv.summary_writer.flush()
            rows.append(table(tmp_path)["a"][:2])
    assert rows[0] == ({"rate": 0.5}, "STATUS_UNKNOWN")
    assert rows[1][0] == {"rate": 0.5}
    assert table(tmp_path)["a"][:2] == ({"rate": 0.5}, "STATUS_SUCCESS")


def test_of_a_training_that_is_resumed_the_first_status_is_shown_with_the_last_metrics(tmp_path):
    with pytest.raises(ValueError, match="failed"):
        train(tmp_path / "a", {"rate": 0.5}, ValueError("failed"))
    train(tmp_path / "a", {"rate": 0.5})
    assert table(tmp_path)["a"][1:] == ("STATUS_FAILURE", {"final/accuracy": 0.75, "final/steps": 2.0})


def test_it_writes_with_tensorflows_own_writer_too(tmp_path):
    writer = tf.compat.v1.summary.FileWriter(str(tmp_path / "a"))
    train(tmp_path / "a", {"rate": 0.5}, summary_writer=writer)
    writer.close()
    assert table(tmp_path)["a"][0] == {"rate": 0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["rate"],), r"hparams must be a mapping from names, not \['rate'\]"),
        (({"rate": [0.1]},), r"hparams\['rate'\] must be a number, a string or a bool, not \[0.1\]"),
        (({"rate": np.complex64(1)},), r"hparams\['rate'\] must be a number, a string or a bool, not "),
        (({}, 3), "metrics must be a mapping from names, not 3"),
    ],
)
def test_wrong_arguments_are_refused_by_name_and_value(arguments, message):
    with pytest.raises(TypeError, match=message):
        hooks.HParamsHook(*arguments)


def test_a_metric_that_is_not_one_number_is_refused_by_its_name(model, tmp_path):
    with pytest.raises(ValueError, match=r"HParamsHook: metric 'weights' must .* of shape \(3,\): <tf"):
        hooks.HParamsHook({}, metrics={"weights": model.weights})
    unknown = tf.compat.v1.placeholder_with_default([1.0, 2.0], None)
    hook = hooks.HParamsHook({}, metrics={"unknown": unknown})
    with pytest.raises(ValueError, match=r"HParamsHook: metric must .* of shape \(2,\): unknown"):
        with hookrun.Supervisor(logdir=tmp_path, hooks=[hook]).managed_session():
            pass


def test_without_a_summary_writer_it_says_what_it_needs(model):
    sv = hookrun.Supervisor(hooks=[hooks.HParamsHook({"rate": 0.1})])
    with pytest.raises(ValueError, match="HParamsHook needs a summary writer"), sv.managed_session():
        pass
