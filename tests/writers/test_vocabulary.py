"""tensorboardX's vocabulary on an EventFileWriter, read back with TensorFlow and TensorBoard."""

from __future__ import annotations

import logging
import sys
import types

import numpy as np
import pytest
import tensorboardX
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hookrun
from hookrun import signals
from hookrun.writers import EventFileWriter

tf1 = tf.compat.v1
RANDOM = np.random.default_rng(0)


def events(logdir):
    paths = sorted(logdir.glob("events.out.tfevents.*"))
    found = [event for path in paths for event in tf1.train.summary_iterator(str(path))]
    return [event for event in found if event.WhichOneof("what") != "file_version"]


def values(logdir):
    return [value for event in events(logdir) for value in event.summary.value]


def without_times(logdir):
    """The events with their times set to 0: what two writers have in common."""
    found = events(logdir)
    for event in found:
        event.wall_time = 0
    return [event.SerializeToString(deterministic=True) for event in found]


CALLS = {
    "add_scalar": ("lr", 0.5, 3),
    "add_histogram": ("weights", RANDOM.normal(size=100), 3),
    "add_histogram_raw": ("raw", 0, 2, 3, 3, 5, [1.0, 2.0], [1, 2], 3),
    "add_image": ("image", RANDOM.integers(0, 255, (3, 4, 4), np.uint8), 3),
    "add_images": ("images", RANDOM.integers(0, 255, (2, 3, 4, 4), np.uint8), 3),
    "add_image_with_boxes": ("boxes", RANDOM.random((3, 9, 9)), np.array([[1, 1, 5, 5]]), 3),
    "add_text": ("text", "words", 3),
    "add_pr_curve": ("curve", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.6]), 3),
    "add_pr_curve_raw": ("raw curve", *[np.array([1, 2])] * 4, *[np.array([0.5, 1.0])] * 2, 3, 2),
    "add_custom_scalars": ({"all": {"losses": ["Multiline", ["a", "b"]]}},),
    "add_custom_scalars_multilinechart": (["a", "b"],),
    "add_custom_scalars_marginchart": (["a", "b", "c"],),
    "add_mesh": ("mesh", RANDOM.random((1, 4, 3)), None, None, None, 3),
}


@pytest.mark.parametrize("method", CALLS)
def test_what_is_added_is_what_tensorboardx_writes(tmp_path, method):
    with tensorboardX.SummaryWriter(str(tmp_path / "theirs")) as theirs:
        getattr(theirs, method)(*CALLS[method])
    with EventFileWriter(tmp_path / "ours") as ours:
        getattr(ours, method)(*CALLS[method])
    assert without_times(tmp_path / "ours") == without_times(tmp_path / "theirs") != []


def test_a_figure_is_added_as_an_image(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.subplots().plot([1, 2, 3])
    pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    with EventFileWriter(tmp_path) as writer:
        writer.add_figure("figure", figure, 3, close=False)
    (value,) = values(tmp_path)
    assert value.image.encoded_image_string.startswith(b"\x89PNG")


def test_audio_is_added(tmp_path):
    pytest.importorskip("soundfile")
    with EventFileWriter(tmp_path) as writer:
        writer.add_audio("audio", np.zeros(800), 3, sample_rate=8000)
    (value,) = values(tmp_path)
    assert value.audio.sample_rate == 8000 and value.audio.encoded_audio_string.startswith(b"RIFF")


def test_a_video_is_added(tmp_path):
    pytest.importorskip("moviepy")
    with EventFileWriter(tmp_path) as writer:
        writer.add_video("video", RANDOM.integers(0, 255, (1, 4, 3, 16, 16), np.uint8), 3)
    (value,) = values(tmp_path)
    assert value.image.encoded_image_string.startswith(b"GIF")


def test_an_embedding_is_written_beside_the_events(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        writer.add_embedding(RANDOM.random((3, 2)), metadata=["a", "b", "c"], global_step=3, tag="words")
    assert len((tmp_path / "00003" / "words" / "tensors.tsv").read_text().splitlines()) == 3
    assert "words" in (tmp_path / "projector_config.pbtxt").read_text()


def test_step_and_time_may_be_given_and_set_for_a_block(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        writer.add_scalar("lr", 0.5, np.int64(3), walltime=12.5)
        with writer.use_metadata(global_step=7, walltime=13.5):
            writer.add_scalar("lr", 0.5)
    assert [(event.step, event.wall_time) for event in events(tmp_path)] == [(3, 12.5), (7, 13.5)]


def test_a_method_that_tensorboardx_does_not_have_is_an_attribute_error(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        with pytest.raises(AttributeError, match="'EventFileWriter' object has no attribute 'add_nothing'"):
            writer.add_nothing()
        assert "add_scalar" in dir(writer) and not hasattr(writer, "__length_hint__")


# Names that both use


def test_add_summary_and_add_event_take_the_arguments_of_both(tmp_path):
    summary = tf1.Summary(value=[tf1.Summary.Value(tag="loss", simple_value=0.5)])
    with EventFileWriter(tmp_path) as writer:
        writer.add_summary(summary, 1, 12.5)
        writer.add_summary(summary, global_step=2, walltime=13.5)
        writer.add_event(tf1.Event(step=9, wall_time=99, summary=summary), step=3, walltime=14.5)
    assert [(e.step, e.wall_time) for e in events(tmp_path)] == [(1, 12.5), (2, 13.5), (3, 14.5)]
    assert all(event.summary == summary for event in events(tmp_path))


def test_add_graph_takes_a_graph_of_tensorflow_or_a_module_of_pytorch(tmp_path, monkeypatch):
    """PyTorch itself is too large to be installed for this: its tracing is stood in for."""

    class Module:
        pass

    def graph(model, args, verbose, use_strict_trace):
        assert isinstance(model, Module) and (args, verbose, use_strict_trace) == ("x", False, False)
        node = tensorboardX.proto.graph_pb2.GraphDef(node=[{"name": "layer"}])
        return node, tf1.RunMetadata()

    tracing = types.SimpleNamespace(graph=graph)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(nn=types.SimpleNamespace(Module=Module)))
    for name in ("torch.utils", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard._pytorch_graph", tracing)
    with EventFileWriter(tmp_path) as writer:
        writer.add_graph(Module(), "x", use_strict_trace=False)
        with tf.Graph().as_default() as tensorflow_graph:
            tf.constant(1.0, name="constant")
        writer.add_graph(tensorflow_graph, 3)
    graphs = [tf1.GraphDef.FromString(event.graph_def) for event in events(tmp_path) if event.graph_def]
    assert [graph.node[0].name for graph in graphs] == ["layer", "constant"]


# Runs beneath


def test_add_scalars_writes_each_to_a_run_of_its_own_that_closes_with_the_writer(tmp_path):
    writer = EventFileWriter(tmp_path)
    for step in range(1, 4):
        writer.add_scalars("losses", {"train": step, "test": 2 * step}, step)
    writer.flush()
    for name, factor in (("train", 1), ("test", 2)):
        curve = EventAccumulator(str(tmp_path / "losses" / name)).Reload().Scalars("losses")
        assert [(point.step, point.value) for point in curve] == [(s, factor * s) for s in (1, 2, 3)]
    writer.add_scalars("losses", {"train": 4}, 4)
    writer.close()
    assert [event.step for event in events(tmp_path / "losses" / "train")] == [1, 2, 3, 4]
    with pytest.warns(UserWarning, match="ignored: the writer is closed"):
        writer.add_scalars("losses", {"train": 5, "new": 5}, 5)
    writer.reopen()
    writer.add_scalars("losses", {"train": 6}, 6)
    writer.close()
    assert [event.step for event in events(tmp_path / "losses" / "train")] == [1, 2, 3, 4, 6]
    assert events(tmp_path / "losses" / "new") == []


def test_a_restart_draws_no_curve_of_add_scalars_twice(tmp_path):
    for first, last in ((1, 15), (11, 20)):
        with EventFileWriter(tmp_path) as writer:
            writer.add_scalars("before", {"train": 0}, 1)
            writer.add_session_log(tf1.SessionLog(status=tf1.SessionLog.START), first)
            for step in range(first, last + 1):
                writer.add_scalars("losses", {"train": step}, step)
        assert len(events(tmp_path / "before" / "train")) == (2 if first == 1 else 4)
    curve = EventAccumulator(str(tmp_path / "losses" / "train")).Reload().Scalars("losses")
    assert [point.step for point in curve] == list(range(1, 21))


def test_add_hparams_twice_in_one_second_loses_nothing(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        writer.add_hparams({"lr": 0.1}, {"accuracy": 0.5}, name="trial", global_step=3)
        writer.add_hparams({"lr": 0.2}, {"accuracy": 0.7}, name="trial", global_step=4)
    tags = [value.tag for value in values(tmp_path / "trial")]
    assert tags.count("_hparams_/session_start_info") == 2
    found = [(e.step, e.summary.value[0].simple_value) for e in events(tmp_path / "trial")]
    assert [row for row in found if row[0]] == [(3, 0.5), (4, pytest.approx(0.7))]
    with EventFileWriter(tmp_path) as writer, pytest.raises(TypeError, match="should be dictionary"):
        writer.add_hparams([("lr", 0.1)], {})


def test_flush_and_close_reach_every_run_though_one_fails(tmp_path, monkeypatch):
    writer = EventFileWriter(tmp_path, flush_secs=1000)
    writer.add_scalars("losses", {"train": 1, "test": 1}, 1)
    for name in ("flush", "close"):

        def fail(name=name):
            raise OSError(name)

        with monkeypatch.context() as patch:
            patch.setattr(writer.beneath("losses/test"), name, fail)
            with pytest.raises(OSError, match=name):
                writer.add_scalars("losses", {"train": 1}, 1)
                getattr(writer, name)()
        assert len(events(tmp_path / "losses" / "train")) == (2 if name == "flush" else 3)
    writer.beneath("losses/test").close()


# On a Supervisor


def test_a_hook_adds_what_it_likes_to_the_supervisors_writer(model, tmp_path, caplog):
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_model_secs=0)

    @sv.on(signals.step, every_steps=2)
    def learning_rate(sv, event):
        sv.summary_writer.add_scalar("lr", 1 / event.global_step, event.global_step)

    with caplog.at_level(logging.WARNING), sv.managed_session() as sess:
        for _ in range(6):
            sess.run(model.train_op)
    curve = EventAccumulator(str(tmp_path)).Reload().Scalars("lr")
    assert [(p.step, p.value) for p in curve] == [(s, pytest.approx(1 / s)) for s in (2, 4, 6)]
    assert caplog.records == []
