"""file_writer: which writers it takes, and what reaches their files."""

from __future__ import annotations

import pathlib
import threading
import types

import pytest
import tensorboardX
import tensorflow as tf

from hookrun.writers import EventFileWriter, file_writer

tf1 = tf.compat.v1
METHODS = ("add_summary", "add_session_log", "add_graph", "add_meta_graph", "close", "reopen")


def scalar(value):
    return tf1.Summary(value=[tf1.Summary.Value(tag="loss", simple_value=value)])


def files(logdir):
    return sorted(str(path) for path in pathlib.Path(logdir).glob("*tfevents*"))


def events(logdir):
    found = [event for path in files(logdir) for event in tf1.train.summary_iterator(path)]
    return [event for event in found if event.WhichOneof("what") != "file_version"]


@pytest.fixture(params=[tensorboardX.SummaryWriter, tensorboardX.FileWriter])
def tensorboardx_writer(request, tmp_path):
    writer = request.param(str(tmp_path))
    yield writer
    writer.close()
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":  # it ends some time after tensorboardX closed its queue
            thread.join(30)


def test_file_writer_of_tensorflow_is_returned_itself(tmp_path):
    with tf.Graph().as_default():
        writer = tf1.summary.FileWriter(str(tmp_path))
    assert file_writer(writer) is writer
    writer.close()


def test_event_file_writer_is_returned_itself(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        assert file_writer(writer) is writer


def test_object_with_the_methods_is_returned_itself():
    writer = types.SimpleNamespace(**dict.fromkeys(METHODS, print))
    assert file_writer(writer) is writer


@pytest.mark.parametrize("missing", METHODS)
def test_object_without_one_of_the_methods_is_refused_and_the_method_named(missing):
    writer = types.SimpleNamespace(**{name: print for name in METHODS if name != missing})
    with pytest.raises(TypeError, match=f"type SimpleNamespace lacks {missing}$"):
        file_writer(writer)


def test_all_missing_methods_are_named_and_an_attribute_is_no_method():
    writer = types.SimpleNamespace(add_summary=print, add_graph=print, close=print, reopen=True)
    with pytest.raises(TypeError, match="lacks add_session_log, add_meta_graph, reopen$"):
        file_writer(writer)


def test_tensorboardx_writer_takes_everything_that_a_file_writer_takes(tmp_path, tensorboardx_writer):
    with tf.Graph().as_default() as graph:
        tf1.placeholder(tf.float32, [3], name="x")
        meta_graph = tf1.train.export_meta_graph()
    assert file_writer(tensorboardx_writer).get_logdir() == str(tmp_path)
    file_writer(tensorboardx_writer).add_summary(scalar(0.5).SerializeToString(), 1)
    file_writer(tensorboardx_writer).add_summary(scalar(1.5), 2)
    file_writer(tensorboardx_writer).add_session_log(tf1.SessionLog(status=tf1.SessionLog.STOP), 3)
    file_writer(tensorboardx_writer).add_graph(graph, 4)
    file_writer(tensorboardx_writer).add_meta_graph(meta_graph, 5)
    file_writer(tensorboardx_writer).add_run_metadata(tf1.RunMetadata(), "tag", 6)
    file_writer(tensorboardx_writer).add_event(tf1.Event(wall_time=12.5, step=7, summary=scalar(2.5)))
    file_writer(tensorboardx_writer).flush()
    file_writer(tensorboardx_writer).close()
    one, two, log, drawn, meta, metadata, event = events(tmp_path)
    assert [event.step for event in events(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]
    assert (one.summary, two.summary, event.summary) == (scalar(0.5), scalar(1.5), scalar(2.5))
    assert event.wall_time == 12.5
    assert log.session_log.status == tf1.SessionLog.STOP
    assert tf1.GraphDef.FromString(drawn.graph_def) == graph.as_graph_def(add_shapes=True)
    assert tf1.MetaGraphDef.FromString(meta.meta_graph_def) == meta_graph
    assert metadata.tagged_run_metadata.tag == "tag"


def test_tensorboardx_writer_refuses_what_a_file_writer_refuses(tensorboardx_writer):
    with pytest.raises(TypeError, match="summary must be .* not str"):
        file_writer(tensorboardx_writer).add_summary("text", 1)


@pytest.mark.parametrize("tensorboardx_writer", [tensorboardX.SummaryWriter], indirect=True)
def test_own_methods_of_a_tensorboardx_writer_go_to_the_same_file(tmp_path, tensorboardx_writer):
    tensorboardx_writer.add_scalar("own", 1.0, 1)
    file_writer(tensorboardx_writer).add_summary(scalar(1.0), 2)
    tensorboardx_writer.close()
    assert [event.step for event in events(tmp_path)] == [1, 2] and len(files(tmp_path)) == 1


def test_closed_tensorboardx_writer_ignores_events_until_it_is_reopened(tmp_path, tensorboardx_writer):
    file_writer(tensorboardx_writer).add_summary(scalar(1.0), 1)
    file_writer(tensorboardx_writer).close()
    file_writer(tensorboardx_writer).close()
    file_writer(tensorboardx_writer).add_summary(scalar(1.0), 2)
    file_writer(tensorboardx_writer).flush()
    file_writer(tensorboardx_writer).reopen()
    file_writer(tensorboardx_writer).add_summary(scalar(1.0), 3)
    file_writer(tensorboardx_writer).close()
    assert [event.step for event in events(tmp_path)] == [1, 3]


def test_reopening_an_open_tensorboardx_writer_does_nothing(tmp_path, tensorboardx_writer):
    file_writer(tensorboardx_writer).add_summary(scalar(1.0), 1)
    file_writer(tensorboardx_writer).reopen()
    file_writer(tensorboardx_writer).add_summary(scalar(1.0), 2)
    file_writer(tensorboardx_writer).close()
    assert [event.step for event in events(tmp_path)] == [1, 2] and len(files(tmp_path)) == 1
