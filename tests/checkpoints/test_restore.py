"""Restore: a run starts from the newest intact checkpoint, says what it skipped, and changes no file."""

from __future__ import annotations

import logging
import os
import shutil
import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import signals
from hookrun.checkpoints import restore

tf1 = tf.compat.v1
DATA, INDEX = ".data-00000-of-00001", ".index"


@pytest.fixture
def logdir(tmp_path):
    """Checkpoints of the steps 2, 9 and 10; `weight` holds the step."""
    path = tmp_path / "run"
    path.mkdir()
    save(path, "model.ckpt", 2, 9, 10)
    return path


def build():
    step = tf1.train.get_or_create_global_step()
    return step, tf1.get_variable("weight", initializer=0.0)


def save(path, basename, *steps, **saver_args):
    with tf.Graph().as_default(), tf1.Session() as sess:
        step, weight = build()
        saver = tf1.train.Saver(**saver_args)
        for number in steps:
            sess.run([step.assign(number), weight.assign(number)])
            saver.save(sess, os.path.join(path, basename), global_step=number)


def resume(path, prepare=None, **arguments):
    """The step that a run in `path` starts from, and the prefix that hooks are told."""
    told = []
    with tf.Graph().as_default():
        step, weight = build()
        sv = hookrun.Supervisor(logdir=path, summary_writer=None, save_model_secs=0, **arguments)
        sv.on(signals.session_created, lambda _, event: told.append(event.restored_from))
        sess = sv.prepare_or_wait_for_session(**(prepare or {}))
        number, value = sess.run([step, weight])
        sv.stop()
        sess.close()
    assert value == number
    return int(number), told[0] and os.path.relpath(told[0], path)


class MadeLate:
    """A session manager that is made when it is needed, in the graph of the run."""

    def __init__(self, make):
        self._make = make

    def prepare_session(self, *args, **kwargs):
        return self._make().prepare_session(*args, **kwargs)


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.name != "graph.pbtxt"}


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "truncated data": (DATA, lambda p: p.write_bytes(p.read_bytes()[:-1])),
    "empty data": (DATA, lambda p: p.write_bytes(b"")),
    "missing data": (DATA, lambda p: p.unlink()),
    "a flipped byte in the data": (DATA, lambda p: flip(p, 3)),
    "garbage for data": (DATA, lambda p: p.write_bytes(b"x" * p.stat().st_size)),
    "truncated index": (INDEX, lambda p: p.write_bytes(p.read_bytes()[:-1])),
    "empty index": (INDEX, lambda p: p.write_bytes(b"")),
    "missing index": (INDEX, lambda p: p.unlink()),
    "a flipped byte in the index": (INDEX, lambda p: flip(p, 3)),
    "a flipped byte in the index's padding": (INDEX, lambda p: flip(p, -20)),
    "garbage for an index": (INDEX, lambda p: p.write_bytes(b"x" * p.stat().st_size)),
}


class TestDamage:
    def test_of_the_state_of_hooks_beside_it_counts_too(self, logdir, caplog):
        (logdir / "model.ckpt-10.hooks.json").write_text("{")
        assert resume(logdir) == (9, "model.ckpt-9")
        assert "model.ckpt-10.hooks.json is damaged" in caplog.text

    def test_half_of_a_checkpoint_moved_in_by_a_process_that_was_killed_is_undone(self, tmp_path, caplog):
        save(tmp_path, "model.ckpt", 3)
        (tmp_path / "model.ckpt.saving").mkdir()
        (tmp_path / "model.ckpt-3.index").rename(tmp_path / "model.ckpt.saving" / "model.ckpt-3.index")
        (tmp_path / "checkpoint").unlink()
        assert resume(tmp_path) == (0, None)
        assert not list(tmp_path.glob("model.ckpt*"))

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_run_resumes_at_the_newest_intact_one_and_changes_no_file(self, logdir, damage, caplog):
        suffix, do = DAMAGES[damage]
        do(logdir / f"model.ckpt-10{suffix}")
        before = contents(logdir)
        assert resume(logdir) == (9, "model.ckpt-9")
        assert contents(logdir) == before
        assert [r.levelname for r in caplog.records if "is skipped" in r.message] == ["WARNING"]
        assert f"{logdir}/model.ckpt-10 is skipped: " in caplog.text
        assert f"model.ckpt-10{suffix[:5]}" in caplog.text

    def test_a_flip_of_any_byte_is_noticed(self, logdir):
        prefix = logdir / "model.ckpt-10"
        for suffix in (DATA, INDEX):
            path = logdir / f"model.ckpt-10{suffix}"
            for position in range(path.stat().st_size):
                flip(path, position)
                assert restore.verify(str(prefix)) is not None, (suffix, position)
                flip(path, position)
        assert restore.verify(str(prefix)) is None

    def test_none_intact_is_an_error_that_lists_what_was_tried_and_why(self, logdir):
        for step in (2, 9):
            (logdir / f"model.ckpt-{step}{INDEX}").write_bytes(b"")
        (logdir / f"model.ckpt-10{INDEX}").unlink()
        before = contents(logdir)
        with pytest.raises(tf.errors.DataLossError) as raised:
            resume(logdir)
        lines = str(raised.value).splitlines()
        assert [line.split(": ")[0].strip() for line in lines[1:4]] == [
            str(logdir / f"model.ckpt-{step}") for step in (10, 9, 2)
        ]
        assert "model.ckpt-10.index is missing" in lines[1]
        assert contents(logdir) == before

    def test_variables_that_do_not_match_are_no_damage(self, logdir):
        tf1.train.get_or_create_global_step()
        tf1.get_variable("another", initializer=0.0)
        with pytest.raises(tf.errors.NotFoundError, match="another"):
            hookrun.Supervisor(logdir=logdir).prepare_or_wait_for_session()

    def test_the_state_of_an_iterator_is_checked_too(self, tmp_path):
        iterator = tf1.data.make_initializable_iterator(tf.data.Dataset.range(9))
        saveable = tf.data.experimental.make_saveable_from_iterator(iterator)
        with tf1.Session() as sess:
            sess.run(iterator.initializer)
            prefix = tf1.train.Saver([saveable]).save(sess, str(tmp_path / "model.ckpt"))
        assert restore.verify(prefix) is None
        flip(tmp_path / f"model.ckpt{DATA}", 3)
        assert "cannot be read" in restore.verify(prefix)

    def test_all_files_of_a_sharded_checkpoint_are_looked_at(self, tmp_path):
        with tf1.Session(config=tf1.ConfigProto(device_count={"CPU": 2})) as sess:
            for number in range(2):
                with tf.device(f"/cpu:{number}"):
                    tf1.get_variable(f"on_{number}", initializer=1.0)
            sess.run(tf1.global_variables_initializer())
            prefix = tf1.train.Saver(sharded=True).save(sess, str(tmp_path / "model.ckpt"))
        assert restore.verify(prefix) is None
        (tmp_path / "model.ckpt.data-00001-of-00002").unlink()
        assert "model.ckpt.data-00001-of-00002" in restore.verify(prefix)

    def test_an_end_of_file_in_a_restore_is_no_end_of_input(self, logdir):
        class Failing(tf1.train.Saver):
            def restore(self, *args):
                raise tf.errors.OutOfRangeError(None, None, "read less than expected")

        build()
        sv = hookrun.Supervisor(logdir=logdir, saver=Failing())
        with pytest.raises(tf.errors.OutOfRangeError, match="read less"), sv.managed_session():
            pytest.fail("the block must not be entered")


class TestStateFile:
    def test_an_intact_logdir_resumes_at_what_it_names_without_a_warning(self, logdir, caplog):
        with caplog.at_level(logging.WARNING, "hookrun.checkpoints.restore"):
            assert resume(logdir) == (10, "model.ckpt-10")
        assert not [r for r in caplog.records if r.name == "hookrun.checkpoints.restore"]

    @pytest.mark.parametrize(
        "content", [None, b"", b"garbage", b"\xff\xfe\x00", b'model_checkpoint_path: ""']
    )
    def test_without_a_usable_one_the_highest_step_on_disk_is_found_with_a_warning(
        self, logdir, content, caplog
    ):
        (logdir / "checkpoint").unlink()
        if content is not None:
            (logdir / "checkpoint").write_bytes(content)
        assert resume(logdir) == (10, "model.ckpt-10")
        assert f"{logdir}/checkpoint is missing or names no checkpoint" in caplog.text

    def test_one_of_a_killed_process_does_not_hide_a_later_checkpoint(self, logdir, caplog):
        stale = (logdir / "checkpoint").read_bytes()
        save(logdir, "model.ckpt", 11)
        (logdir / "checkpoint").write_bytes(stale)
        os.utime(logdir / "checkpoint", (1, 1))
        assert resume(logdir) == (11, "model.ckpt-11")
        assert "which is older" in caplog.text

    def test_one_that_was_edited_to_an_older_step_is_obeyed(self, logdir, caplog):
        (logdir / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
        assert resume(logdir) == (9, "model.ckpt-9")
        assert f"{logdir}/model.ckpt-10 is skipped" in caplog.text
        (logdir / f"model.ckpt-9{INDEX}").unlink()
        assert resume(logdir) == (2, "model.ckpt-2")
        (logdir / f"model.ckpt-2{INDEX}").unlink()
        assert resume(logdir) == (10, "model.ckpt-10")

    def test_a_moved_logdir_resumes(self, logdir, tmp_path):
        shutil.move(logdir, tmp_path / "elsewhere")
        assert resume(tmp_path / "elsewhere") == (10, "model.ckpt-10")

    def test_a_copied_logdir_resumes_from_its_own_files(self, logdir, tmp_path):
        shutil.copytree(logdir, tmp_path / "copy")
        assert resume(tmp_path / "copy") == (10, "model.ckpt-10")

    def test_paths_of_another_machine_are_looked_up_in_the_logdir(self, logdir):
        (logdir / "checkpoint").write_text('model_checkpoint_path: "/no/such/machine/model.ckpt-9"\n')
        assert resume(logdir) == (9, "model.ckpt-9")

    def test_one_that_names_a_model_elsewhere_is_followed(self, logdir, tmp_path):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "checkpoint").write_text(f'model_checkpoint_path: "{logdir}/model.ckpt-9"\n')
        assert resume(tmp_path / "new", checkpoint_basename="mine")[0] == 9

    def test_a_relative_logdir_resumes(self, logdir, monkeypatch):
        monkeypatch.chdir(logdir.parent)
        assert resume("run") == (10, "model.ckpt-10")

    def test_several_base_names_are_kept_apart(self, logdir):
        save(logdir, "model.ckpt-best", 70)
        save(logdir, "other", 30)
        assert resume(logdir) == (10, "model.ckpt-10")
        assert resume(logdir, checkpoint_basename="model.ckpt-best") == (70, "model.ckpt-best-70")
        assert resume(logdir, checkpoint_basename="other") == (30, "other-30")

    def test_a_checkpoint_of_the_first_format_is_left_to_tensorflow(self, tmp_path):
        save(tmp_path, "model.ckpt", 4, write_version=1)
        assert resume(tmp_path) == (4, "model.ckpt-4")
        (tmp_path / "checkpoint").unlink()
        assert resume(tmp_path) == (4, "model.ckpt-4")


class TestFilesOfOtherTools:
    def test_are_no_checkpoints_also_where_they_have_the_base_name(self, logdir, caplog):
        (logdir / "model.ckpt.index").write_text("chapter 1: 12")
        (logdir / "model.ckpt-70.index").write_text("chapter 1: 12")
        (logdir / "notes.index").write_text("chapter 1: 12")
        (logdir / "checkpoint").unlink()
        assert resume(logdir) == (10, "model.ckpt-10")
        assert "is skipped" not in caplog.text
        assert restore.save_paths_in(str(logdir)) == [str(logdir / "model.ckpt")]

    def test_what_little_is_left_of_a_checkpoint_is_one(self, logdir, caplog):
        (logdir / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-10"')
        for path in logdir.glob("model.ckpt-10.*"):  # the state file names it
            path.unlink()
        (logdir / f"model.ckpt-10{INDEX}").write_bytes(b"")
        (logdir / f"model.ckpt-9{INDEX}").write_bytes(b"half of it")  # its data is there
        assert resume(logdir) == (2, "model.ckpt-2")
        assert caplog.text.count("is skipped: ") == 2


class TestSession:
    def test_without_a_checkpoint_or_a_saver_nothing_is_restored(self, logdir, tmp_path):
        assert resume(tmp_path / "new") == (0, None)
        assert resume(logdir, saver=None) == (0, None)

    def test_waiting_for_a_checkpoint_takes_the_one_that_is_there(self, logdir):
        (logdir / "checkpoint").unlink()
        assert resume(logdir, {"wait_for_checkpoint": True}) == (10, "model.ckpt-10")

    def test_waiting_for_a_checkpoint_takes_the_one_that_comes(self, tmp_path, when_logged):
        other = threading.Thread(target=save, args=(tmp_path, "model.ckpt", 3))
        when_logged(f"Waiting for a checkpoint: there is no checkpoint in {tmp_path}", other.start)
        waiting = {"wait_for_checkpoint": True, "max_wait_secs": 20}
        assert resume(tmp_path, waiting, recovery_wait_secs=0.05) == (3, "model.ckpt-3")
        other.join()

    @pytest.mark.parametrize("kind", ["tensorflow's", "a subclass", "an object of one's own"])
    def test_a_session_manager_restores_as_ever_or_is_told_the_checkpoint(self, logdir, kind):
        calls = []

        class Subclass(tf1.train.SessionManager):
            def prepare_session(self, *args, **kwargs):
                calls.append(kwargs)
                return super().prepare_session(*args, **kwargs)

        class Own:
            def prepare_session(self, master, saver, checkpoint_dir=None, **kwargs):
                calls.append({"checkpoint_dir": checkpoint_dir, **kwargs})
                sess = tf1.Session(master)
                path = kwargs.get("checkpoint_filename_with_path")
                saver.restore(sess, path or tf.train.latest_checkpoint(checkpoint_dir))
                return sess

        manager = MadeLate({"tensorflow's": tf1.train.SessionManager, "a subclass": Subclass}.get(kind, Own))
        assert resume(logdir, session_manager=manager) == (10, "model.ckpt-10")
        (logdir / f"model.ckpt-10{DATA}").unlink()
        assert resume(logdir, session_manager=manager) == (9, "model.ckpt-9")
        assert len(calls) == (0 if kind == "tensorflow's" else 2)
        if calls:
            assert calls[0]["checkpoint_dir"] == str(logdir)
            assert "checkpoint_filename_with_path" not in calls[0]
            assert calls[1].get("checkpoint_dir") is None
            assert calls[1]["checkpoint_filename_with_path"] == str(logdir / "model.ckpt-9")
