"""CheckpointDirectory: what was saved is never lost because of what is saved now."""

from __future__ import annotations

import os
import time

import pytest
import tensorflow as tf

from hookrun.checkpoints import directory
from hookrun.checkpoints.directory import CheckpointDirectory, undo_interrupted_save
from hookrun.graph.snapshots import policy_of
from hookrun.hooks.retention import BestN, LatestN
from hookrun.runtime import hook_state
from hookrun.runtime.hook_state import HookState

v1 = tf.compat.v1
NOTHING = HookState()


@pytest.fixture
def saving(graph, tmp_path):
    """A directory of checkpoints, and a function that saves `value` as a step in it."""

    class Saving:
        def __init__(self):
            self.variable = v1.get_variable("v", [], initializer=v1.zeros_initializer())
            self.saver = v1.train.Saver(max_to_keep=3)
            self.sess = v1.Session()
            self.path = str(tmp_path / "model.ckpt")
            self.open(policy_of(self.saver))

        def open(self, policy, **arguments):
            self.directory = CheckpointDirectory(self.saver, self.path, policy, **arguments)

        def __call__(self, step, value=None, state=NOTHING):
            def save(path):
                return self.saver.save(self.sess, path, global_step=step, write_state=False)

            self.variable.load(step if value is None else value, self.sess)
            return self.directory.add(save, state)

    saving = Saving()
    with saving.sess:
        yield saving


def value_in(path):
    return tf.train.load_checkpoint(path).get_tensor("v")


def warnings_in(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def steps_in(tmp_path):
    return sorted(int(path.stem.rpartition("-")[2]) for path in tmp_path.glob("*.index"))


def test_a_checkpoint_is_where_the_saver_would_put_it_and_the_newest(saving, tmp_path):
    path = saving(5)
    assert path == str(tmp_path / "model.ckpt-5")
    assert tf.train.latest_checkpoint(str(tmp_path)) == path
    assert value_in(path) == 5
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint",
        "model.ckpt-5.data-00000-of-00001",
        "model.ckpt-5.index",
        "model.ckpt-5.meta",
    ]


def test_the_saver_knows_of_it(saving):
    paths = [saving(step) for step in (1, 2)]
    assert saving.saver.last_checkpoints == paths


def test_what_the_saver_was_told_to_keep_is_kept_also_over_restarts(saving, tmp_path):
    for step in range(1, 6):
        saving(step)
    assert steps_in(tmp_path) == [3, 4, 5]
    for step in range(6, 9):
        saving.saver = v1.train.Saver([saving.variable], max_to_keep=3)
        saving.open(policy_of(saving.saver))
        saving(step)
    assert steps_in(tmp_path) == [6, 7, 8]
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert [path[-1] for path in state.all_model_checkpoint_paths] == ["6", "7", "8"]


def test_one_that_a_killed_process_could_not_name_is_counted_too(saving, tmp_path, monkeypatch):
    for step in (1, 2):
        saving(step)
    for step in (3, 4):  # two such processes, one after the other
        saving.open(policy_of(saving.saver))
        monkeypatch.setattr(saving.directory, "_write_state_file", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            saving(step)
    saving.open(policy_of(saving.saver))
    saving(5)
    assert steps_in(tmp_path) == [3, 4, 5]


def test_with_max_to_keep_0_all_are_kept_and_the_state_file_names_the_newest(saving, tmp_path):
    saving.saver = v1.train.Saver([saving.variable], max_to_keep=0)
    saving.open(policy_of(saving.saver))
    for step in range(1, 8):
        saving(step)
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert list(state.all_model_checkpoint_paths) == [saving.path + "-7"]


def test_a_metric_that_no_checkpoint_has_is_named_once(saving, caplog):
    saving.open(LatestN(2) | BestN(1, metric="accurracy"))
    for step in range(1, 6):
        saving(step, state=HookState(metrics={"accuracy": 0.5}))
    assert warnings_in(caplog) == [
        "LatestN(2) | BestN(1, metric='accurracy', mode='max') uses the metric 'accurracy', "
        "which no checkpoint has so far; reported metrics: accuracy"
    ]


def test_a_metric_that_comes_with_the_third_checkpoint_is_not_missed(saving, caplog):
    saving.open(LatestN(2) | BestN(1, metric="accuracy"))
    for step in range(1, 6):
        saving(step, state=HookState(metrics={"accuracy": 0.5} if step > 2 else {}))
    assert warnings_in(caplog) == []


def test_the_best_is_never_removed_nor_outdone_by_a_worse_one_after_a_restart(saving, tmp_path):
    policy = LatestN(1) | BestN(1, metric="accuracy")
    saving.open(policy)
    for step, accuracy in [(1, 0.5), (2, 0.9), (3, 0.7)]:
        saving(step, state=HookState(metrics={"accuracy": accuracy}))
    assert steps_in(tmp_path) == [2, 3]
    saving.open(policy)
    saving(4, state=HookState(metrics={"accuracy": 0.8}))
    assert steps_in(tmp_path) == [2, 4]
    saving(5, state=HookState(metrics={"accuracy": 0.95}))
    assert steps_in(tmp_path) == [5]
    assert not os.path.exists(saving.path + "-2" + hook_state.SUFFIX)


def test_a_manual_save_of_the_program_is_counted_and_does_not_remove_the_best(saving, tmp_path):
    saving.open(LatestN(2) | BestN(1, metric="accuracy"))
    saving(1, state=HookState(metrics={"accuracy": 0.9}))
    saving(2, state=HookState(metrics={"accuracy": 0.1}))
    saving.saver.save(saving.sess, saving.path, global_step=3)
    saving(4, state=HookState(metrics={"accuracy": 0.1}))
    assert steps_in(tmp_path) == [1, 3, 4]


def test_saves_of_the_same_saver_under_other_names_are_counted_as_tensorflow_does(saving, tmp_path):
    for start in (0, 10):
        saver = saving.saver = v1.train.Saver([saving.variable], max_to_keep=3)
        saving.open(policy_of(saver))
        for step, other in [(start + 1, "mine"), (start + 2, "other")]:
            saving(step)
            saver.save(saving.sess, str(tmp_path / other), global_step=step)
            assert len(steps_in(tmp_path)) <= 3
    assert [os.path.basename(p) for p in saver.last_checkpoints] == ["mine-11", "model.ckpt-12", "other-12"]
    assert steps_in(tmp_path) == [11, 12, 12]


def test_saves_under_other_names_alone_are_those_of_another_saver(saving, tmp_path):
    other = v1.train.Saver([saving.variable])
    saving.variable.load(0.0, saving.sess)
    for step in (1, 2):
        other.save(saving.sess, str(tmp_path / "mine"), global_step=step)
    saving.open(LatestN(1))
    saving(3)
    assert steps_in(tmp_path) == [1, 2, 3]


def test_what_is_named_is_on_disk_and_what_is_removed_has_a_successor(saving, tmp_path, monkeypatch):
    for step in (1, 2, 3):
        saving(step)
    done = []

    def noting(owner, name, told_of):
        real = getattr(owner, name)

        def noted(*args):
            done.append((name, os.path.basename(told_of(args))))
            return real(*args)

        monkeypatch.setattr(owner, name, noted)

    noting(os, "fsync", lambda args: os.readlink(f"/proc/self/fd/{args[0]}"))
    noting(os, "replace", lambda args: args[1])
    noting(os, "unlink", lambda args: args[0])
    saving(4)
    files = [f"model.ckpt-4.{ending}" for ending in ("data-00000-of-00001", "meta", "index")]
    state_file = [("fsync", "model.ckpt.checkpoint"), ("replace", "checkpoint"), ("fsync", tmp_path.name)]
    assert done == [
        *(("fsync", file) for file in files),
        *(("replace", file) for file in files),
        ("fsync", tmp_path.name),
        *state_file,
        *(("unlink", file.replace("-4", "-1")) for file in files),
        *state_file,
    ]


def test_those_of_another_base_name_are_left_alone_though_the_saver_recovered_them(saving, tmp_path):
    for step in (1, 2, 3):
        saving(step)
    other = v1.train.Saver([saving.variable], max_to_keep=1)
    other.recover_last_checkpoints([f"{saving.path}-{step}" for step in (1, 2, 3)])
    saving.saver, saving.path = other, str(tmp_path / "other")
    saving.open(policy_of(other))
    for step in (4, 5):
        saving(step)
    assert steps_in(tmp_path) == [1, 2, 3, 5]


def test_two_that_share_a_directory_do_not_share_a_file_that_is_being_written(saving, tmp_path, monkeypatch):
    real, written = os.replace, []

    def replace(source, target):
        if target.endswith("/checkpoint"):
            written.append(source)
        real(source, target)

    monkeypatch.setattr(directory.os, "replace", replace)
    saving(1)
    saving.path = str(tmp_path / "other")
    saving.open(policy_of(saving.saver))
    saving(1)
    assert len(written) == len(set(written)) == 2


def test_paths_are_relative_where_that_is_asked_for_or_the_directory_is(saving, tmp_path, monkeypatch):
    saving.open(policy_of(saving.saver), relative=True)
    saving(1)
    assert tf.io.gfile.GFile(tmp_path / "checkpoint").readline() == 'model_checkpoint_path: "model.ckpt-1"\n'
    monkeypatch.chdir(tmp_path.parent)
    saving.saver, saving.path = v1.train.Saver([saving.variable]), f"{tmp_path.name}/model.ckpt"
    saving.open(policy_of(saving.saver))
    saving(2)
    assert tf.io.gfile.GFile(tmp_path / "checkpoint").readline() == 'model_checkpoint_path: "model.ckpt-2"\n'
    assert tf.train.latest_checkpoint(tmp_path.name) == f"{tmp_path.name}/model.ckpt-2"


class TestFailure:
    @pytest.fixture
    def fail(self, monkeypatch):
        """Makes a function of `os` fail when it comes to a file whose name ends in `ending`."""

        def fail(function, ending):
            real = getattr(os, function)

            def failing(*args, **kwargs):
                if str(args[-1 if function == "replace" else 0]).endswith(ending):
                    raise OSError(28, "No space left on device")
                return real(*args, **kwargs)

            monkeypatch.setattr(directory.os, function, failing)

        return fail

    @pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ".meta", "checkpoint"])
    def test_of_a_move_leaves_everything_as_it_was(self, saving, tmp_path, fail, ending):
        saving(1)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        fail("replace", ending)
        with pytest.raises(OSError, match="No space"):
            saving(2)
        after = {
            path.name: path.read_bytes() for path in tmp_path.iterdir() if "model.ckpt-2" not in path.name
        }
        assert after == before
        if ending != "checkpoint":
            assert not list(tmp_path.glob("model.ckpt-2*"))

    @pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ".meta"])
    def test_while_one_of_the_same_name_is_replaced_leaves_that_as_it_was(
        self, saving, tmp_path, fail, ending
    ):
        saving(1, value=10)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.MonkeyPatch.context() as patch:
            real = os.replace

            def failing(source, target):
                if ".saving" in source and target.endswith(ending):
                    raise OSError(28, "No space left on device")
                real(source, target)

            patch.setattr(directory.os, "replace", failing)
            with pytest.raises(OSError, match="No space"):
                saving(1, value=11, state=HookState(metrics={"loss": 1.0}))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        saving(1, value=12)
        assert value_in(saving.path + "-1") == 12

    def test_of_the_saver_removes_what_it_left(self, saving, tmp_path):
        def save(path):
            with open(f"{path}-1.data-00000-of-00001.tempstate", "w") as file:
                file.write("half")
            raise OSError(28, "No space left on device")

        saving(1)
        with pytest.raises(OSError, match="No space"):
            saving.directory.add(save, NOTHING)
        assert not [path for path in tmp_path.iterdir() if "saving" in path.name]

    def test_to_remove_an_old_one_is_a_warning(self, saving, tmp_path, monkeypatch, caplog):
        for step in (1, 2, 3):
            saving(step)

        def failing(path):
            raise PermissionError("not yours")

        monkeypatch.setattr(os, "unlink", failing)
        assert saving(4) == saving.path + "-4"
        assert "model.ckpt-1 could not be removed: not yours" in caplog.text


class TestReplacement:
    def test_keeps_no_state_of_the_one_before(self, saving):
        saving(1, state=HookState(metrics={"loss": 1.0}))
        saving(1)
        assert not hook_state.read(saving.path + "-1" + hook_state.SUFFIX)

    @pytest.mark.parametrize("moved", range(3))
    def test_that_was_killed_is_undone(self, saving, tmp_path, monkeypatch, moved):
        saving(1, value=10)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        real, calls = os.replace, []

        def killed(source, target):
            if ".saving" in source:
                calls.append(target)
                if len(calls) > moved:
                    os._exit(9)
            real(source, target)

        child = os.fork()
        if child == 0:
            directory.os.replace = killed
            with open(saving.path + "-1.index", "rb") as index:
                content = index.read()

            def save(path):
                for ending in (".index", ".data-00000-of-00001", ".meta"):
                    with open(f"{path}-1{ending}", "wb") as file:
                        file.write(content)
                return f"{path}-1"

            saving.directory.add(save, NOTHING)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        undo_interrupted_save(saving.path)
        undo_interrupted_save(saving.path)
        left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert left == before
        saving(2)
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []


def test_times_come_from_the_files(saving):
    saving(1)
    (checkpoint,) = saving.directory.checkpoints
    assert checkpoint.step == 1
    assert abs(checkpoint.time - time.time()) < 60


def test_a_removal_that_was_killed_is_finished_by_the_next_save(saving, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def unlink(path):
        monkeypatch.undo()
        os.unlink(path)
        raise Killed

    for step in (1, 2, 3):
        saving(step)
    monkeypatch.setattr(directory.os, "unlink", unlink)
    with pytest.raises(Killed):
        saving(4)
    assert directory.files_of(f"{saving.path}-1")
    saving.open(policy_of(saving.saver))  # as a process that is started again
    saving(5)
    assert not directory.files_of(f"{saving.path}-1")
