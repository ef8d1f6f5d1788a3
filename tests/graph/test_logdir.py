"""The logdir of a Supervisor: a relative path, or a URL."""

from __future__ import annotations

import os
import re
import time

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks
from hookrun.checkpoints import state_file
from hookrun.hooks import CheckpointHook, Hook, retention


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


class TestURL:
    def train(self, logdir, last_step, hooks=(), **arguments):
        """The step at which a training begins that ends at `last_step`."""
        with tf.Graph().as_default():
            step = tf.compat.v1.train.get_or_create_global_step()
            train_op = step.assign_add(1, read_value=False)
            sv = hookrun.Supervisor(
                logdir=logdir,
                hooks=[CheckpointHook(every_steps=2, keep=retention.LatestN(2)), *hooks],
                **arguments,
            )
            with sv.managed_session() as sess:
                first = sv.read_global_step(sess)
                for _ in range(first, last_step):
                    sess.run(train_op)
        return first

    @pytest.fixture
    def url(self):
        url = "ram://logdir/run"
        yield url
        tf.io.gfile.rmtree("ram://logdir")

    def names_in(self, url):
        names = tf.io.gfile.listdir(url)
        return sorted(name for name in names if ".data" not in name and "tfevents" not in name)

    def test_a_training_goes_on_and_old_checkpoints_are_removed(self, url):
        assert [self.train(url, last) for last in (6, 9)] == [0, 6]
        assert self.names_in(url) == [
            "checkpoint",
            "graph.pbtxt",
            "model.ckpt-8.index",
            "model.ckpt-8.meta",
            "model.ckpt-9.index",
            "model.ckpt-9.meta",
        ]
        assert tf.train.latest_checkpoint(url) == f"{url}/model.ckpt-9"
        assert len([name for name in tf.io.gfile.listdir(url) if "tfevents" in name]) == 2

    def test_hooks_remember_and_what_they_remember_goes_with_its_checkpoint(self, url):
        class Counting(Hook):
            count = 0

            def on_step(self, supervisor, event):
                self.count += 1

            def state_dict(self):
                return {"count": self.count}

            def load_state_dict(self, state):
                self.count = state["count"]

        for last in (3, 9):
            counting = Counting()
            self.train(url, last, hooks=[counting])
            assert counting.count == last
        assert [name for name in self.names_in(url) if name.endswith(".json")] == [
            "model.ckpt-8.hooks.json",
            "model.ckpt-9.hooks.json",
        ]

    def test_the_times_of_saves_are_known_where_files_have_none(self, url):
        before = time.time()
        self.train(url, 2)
        assert before <= state_file.time_saved(f"{url}/model.ckpt-2") <= time.time()

    def test_a_damaged_checkpoint_is_passed_over(self, url, caplog):
        self.train(url, 4)
        with tf.io.gfile.GFile(f"{url}/model.ckpt-4.index", "wb") as file:
            file.write(b"x")
        assert self.train(url, 4) == 2
        assert f"{url}/model.ckpt-4 is skipped" in caplog.text

    def test_a_file_url_is_a_path(self, tmp_path):
        url = f"file://{tmp_path}/run"
        assert [self.train(url, last) for last in (6, 9)] == [0, 6]
        assert (tmp_path / "run" / "model.ckpt-9.index").exists()
        assert self.train(tmp_path / "run", 9) == 9

    def test_a_file_url_without_a_path_is_refused(self, model):
        with pytest.raises(ValueError, match="must have an absolute path.*file://runs/first"):
            hookrun.Supervisor(logdir="file://runs/first")
