"""MetaGraph: the file that the saver writes, made anew only when it would be another one."""

from __future__ import annotations

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks
from hookrun.graph.meta_graph import MetaGraph

v1 = tf.compat.v1
NEVER = {"save_model_secs": 0, "save_summaries_secs": 0}


@pytest.fixture
def exports(monkeypatch):
    """The paths of the files that a saver exported."""
    exported, export = [], v1.train.Saver.export_meta_graph

    def counted(saver, filename=None, **kwargs):
        exported.append(filename)
        return export(saver, filename, **kwargs)

    monkeypatch.setattr(v1.train.Saver, "export_meta_graph", counted)
    return exported


@pytest.mark.parametrize("background", [True, False])
def test_each_checkpoint_has_the_file_that_the_saver_writes_exported_once(
    model, tmp_path, exports, background
):
    hook = hooks.CheckpointHook(every_steps=1, background=background)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    assert len(exports) == 1
    with sv.graph.as_default():
        sv.saver.export_meta_graph(str(tmp_path / "theirs"))
    theirs = (tmp_path / "theirs").read_bytes()
    assert [(tmp_path / f"model.ckpt-{step}.meta").read_bytes() for step in (1, 2, 3)] == [theirs] * 3


def test_the_graph_is_imported_from_it_and_the_checkpoint_restored(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_steps=1, **NEVER)
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
        weights = sess.run(model.weights)
    with tf.Graph().as_default(), v1.Session() as sess:
        saver = v1.train.import_meta_graph(str(tmp_path / "model.ckpt-3.meta"))
        saver.restore(sess, str(tmp_path / "model.ckpt-3"))
        (imported,) = (variable for variable in v1.global_variables() if variable.op.name == "weights")
        assert sess.run(imported).tolist() == weights.tolist()


class TestIsMadeAnew:
    """When what it tells of has changed."""

    def changed(self, tmp_path, exports, change):
        saver = v1.train.Saver()
        meta_graph = MetaGraph(v1.get_default_graph(), saver)
        for name in "ab":
            meta_graph.write(str(tmp_path / name))
        assert len(exports) == 1
        change(saver)
        meta_graph.write(str(tmp_path / "c"))
        assert len(exports) == 2
        meta_graph.write(str(tmp_path / "d"))
        assert len(exports) == 2
        return v1.MetaGraphDef.FromString((tmp_path / "d.meta").read_bytes())

    def test_for_an_op(self, model, tmp_path, exports):
        meta = self.changed(tmp_path, exports, lambda saver: tf.constant(1.0, name="added"))
        assert "added" in [node.name for node in meta.graph_def.node]

    def test_for_a_collection(self, model, tmp_path, exports):
        v1.add_to_collection("names", "first")
        collection = v1.get_collection_ref("names")
        meta = self.changed(tmp_path, exports, lambda saver: collection.append("second"))
        assert list(meta.collection_def["names"].bytes_list.value) == [b"first", b"second"]

    def test_for_an_item_in_the_place_of_another(self, model, tmp_path, exports):
        v1.add_to_collection("names", "first")
        collection = v1.get_collection_ref("names")
        meta = self.changed(tmp_path, exports, lambda saver: collection.__setitem__(0, "second"))
        assert list(meta.collection_def["names"].bytes_list.value) == [b"second"]

    def test_for_what_the_saver_keeps(self, model, tmp_path, exports):
        meta = self.changed(tmp_path, exports, lambda saver: setattr(saver.saver_def, "max_to_keep", 77))
        assert meta.saver_def.max_to_keep == 77

    def test_always_by_a_saver_that_exports_in_its_own_way(self, model, tmp_path):
        class Stripped(v1.train.Saver):
            exported = 0

            def export_meta_graph(self, filename=None, **kwargs):
                self.exported += 1
                return super().export_meta_graph(filename, **kwargs)

        saver = Stripped()
        meta_graph = MetaGraph(v1.get_default_graph(), saver)
        for name in "ab":
            meta_graph.write(str(tmp_path / name))
        assert saver.exported == 2
