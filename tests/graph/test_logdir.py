"""The logdir of a Supervisor: a relative path, or a URL."""

from __future__ import annotations

import os
import re

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks


class TestRelativeLogdir:
    """It is the one that was meant when the Supervisor was made, wherever the program goes then."""

    @pytest.fixture
    def places(self, tmp_path, monkeypatch):
        places = [tmp_path / "home", tmp_path / "elsewhere"]
        for place in places:
            place.mkdir()
        monkeypatch.chdir(places[0])
        return places

    def names_in(self, directory):
        names = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
        return sorted(re.sub(r"(tfevents)\..*", r"\1", name) for name in names)

    @pytest.mark.parametrize("logdir", ["run", "./run/", "../home/run"])
    def test_everything_is_in_one_place(self, model, places, logdir):
        home, elsewhere = places
        sv = hookrun.Supervisor(
            logdir=logdir,
            save_summaries_secs=3600,
            hooks=[hooks.CheckpointHook(every_steps=2), hooks.HeartbeatHook("beat.json")],
        )
        csv = hookrun.writers.CSVWriter("values.csv")
        os.chdir(elsewhere)
        for last in (4, 6):
            with sv.managed_session() as sess:
                while sv.read_global_step(sess) < last:
                    sess.run(model.train_op)
                sv.saver.save(sess, f"{sv.save_path}-mine")
        csv.add_scalar("loss", 1.0, 1)
        csv.close()
        assert self.names_in(elsewhere) == []
        found = self.names_in(home)
        assert {"beat.json", "values.csv", "run/checkpoint", "run/graph.pbtxt"} <= set(found)
        assert [name for name in found if name.endswith(".index")] == [
            f"run/model.ckpt-{step}.index" for step in (2, 4, 6, "mine")
        ]
        assert {name for name in found if "tfevents" in name} == {"run/events.out.tfevents"}

    def test_the_state_file_names_relative_paths_as_tensorflow_does(self, model, places):
        sv = hookrun.Supervisor(logdir="run", hooks=[hooks.CheckpointHook(every_steps=1)])
        os.chdir(places[1])
        with sv.managed_session() as sess:
            sess.run(model.train_op)
        text = (places[0] / "run" / "checkpoint").read_text()
        assert text.splitlines()[0] == 'model_checkpoint_path: "model.ckpt-1"'

    def test_a_saver_that_names_relative_paths_does_so_here(self, model, tmp_path):
        saver = tf.compat.v1.train.Saver(save_relative_paths=True)
        sv = hookrun.Supervisor(logdir=tmp_path, saver=saver)
        with sv.managed_session() as sess:
            sess.run(model.train_op)
        assert 'model_checkpoint_path: "model.ckpt-1"' in (tmp_path / "checkpoint").read_text()
