"""The command line."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
import os
import pty
import re
import shutil
import subprocess
import sys
import time

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks
from hookrun.checkpoints import restore, state_file
from hookrun.logdir import contents, live, units
from hookrun.logdir.cli import main
from hookrun.runtime import hook_state
from hookrun.writers import EventFileWriter


@pytest.fixture(autouse=True)
def nothing_trains(monkeypatch):
    """What is wrong is not waited for."""
    monkeypatch.setattr(live, "_MOMENT_SECS", 0.0)


@pytest.fixture
def logdir(tmp_path):
    with EventFileWriter(tmp_path / "log") as writer:
        writer.add_scalar("loss", 0.5, 1)
    return tmp_path / "log"


def test_report_writes_a_page_into_the_logdir(logdir, capsys):
    assert main(["report", str(logdir)]) == 0
    assert "loss" in (logdir / "report.html").read_text()
    assert capsys.readouterr().out == f"{logdir / 'report.html'}\n"


def test_report_as_json(logdir, capsys):
    assert main(["report", str(logdir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(logdir / "report.html")}


def test_report_writes_to_another_file(logdir, tmp_path):
    assert main(["report", str(logdir), "--output", str(tmp_path / "page.html")]) == 0
    assert "loss" in (tmp_path / "page.html").read_text()
    assert not (logdir / "report.html").exists()


def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"hookrun: There are no event files in '{tmp_path / 'nowhere'}'\n"


def test_report_without_its_library_says_what_to_install(logdir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "hookrun.logdir.report", raising=False)
    assert main(["report", str(logdir)]) == 2
    assert "pip install hookrun[report]" in capsys.readouterr().err


class Counter(hooks.Hook):
    """Reports a metric at each tenth step, and remembers the last one."""

    def on_step(self, supervisor, event):
        self.seen = event.global_step
        supervisor.report_metrics({"error": abs(event.global_step - 20)})

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The logdir of a training to step 40, with a checkpoint at each tenth."""
    logdir = tmp_path_factory.mktemp("runs") / "trained"
    with tf.Graph().as_default():
        step = tf.compat.v1.train.get_or_create_global_step()
        tf.compat.v1.summary.scalar("value", 1 / (tf.cast(step, tf.float32) - 30))
        train_op = tf.compat.v1.assign_add(step, 1)
        checkpoints = hooks.CheckpointHook(every_steps=10, keep=hooks.retention.LatestN(None))
        sv = hookrun.Supervisor(
            logdir=logdir,
            save_summaries_secs=0,
            save_summaries_steps=10,
            save_model_secs=0,
            save_model_steps=10,
            hooks=[Counter(), checkpoints],
        )
        with sv.managed_session() as sess:
            for _ in range(40):
                sess.run(train_op)
    return logdir


@pytest.fixture
def run(trained, tmp_path, capsys):
    """Runs a command on a copy of the logdir; returns its exit status, its output, and what it told."""

    def run_command(name, *arguments):
        capsys.readouterr()
        status = main([name, str(tmp_path / "run"), *arguments])
        return status, *capsys.readouterr()

    shutil.copytree(trained, tmp_path / "run")
    return run_command


def steps_in(directory):
    return sorted(int(path.stem.rpartition("-")[2]) for path in directory.glob("*.index"))


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_inspect_shows_checkpoints_event_files_last_values_and_the_state_of_hooks(run, tmp_path):
    (tmp_path / "run" / "model.ckpt-30.index").unlink()
    status, out, err = run("inspect")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    (best,) = [line for line in lines if "model.ckpt-20" in line]
    assert best[0] == "20" and best[-4:] == ["intact,", "error", "0", "(least)"]
    (newest,) = [line for line in lines if "model.ckpt-40" in line]
    assert "a run starts here" in " ".join(newest) and "starts" not in " ".join(best)
    index, *others = sorted(
        (tmp_path / "run").glob("model.ckpt-20.*"), key=lambda path: path.suffix != ".index"
    )
    saved = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(index.stat().st_mtime))
    assert " ".join(best[1:5]) == f"{saved} {units.size(sum(f.stat().st_size for f in [index, *others]))}"
    assert "DAMAGED:" in next(line for line in lines if "model.ckpt-30" in line)
    assert ["40", "0.1", "value"] in lines
    assert ["Counter", '{"seen":', "40}"] in lines
    (events,) = (tmp_path / "run").glob("events.*")
    read = len(list(tf.compat.v1.train.summary_iterator(str(events))))
    told = ["10", "to", "40", str(read), *units.size(events.stat().st_size).split(), events.name]
    assert [*told, "intact"] in lines
    damage(events)
    out = run("inspect")[1]
    assert f"{events.name}  DAMAGED: corrupted record at " in out
    assert "Last values" not in out  # no summary comes before the damage


def test_inspect_and_scalars_tell_the_runs_below_apart(run, tmp_path):
    with EventFileWriter(tmp_path / "run" / "eval") as writer:
        writer.add_scalar("value", 7.5, 3)
    out = run("inspect")[1]
    assert "\nLast values\n" in out
    assert re.search(r"\nLast values in eval\n  step  value  tag\n  3     7.5    value\n", out)
    rows = list(csv.DictReader(io.StringIO(run("scalars", "value")[1])))
    assert [(row["run"], row["step"]) for row in rows][-2:] == [(".", "40"), ("eval", "3")]


def test_inspect_tells_the_steps_of_an_event_file_whose_last_summary_has_none(tmp_path, capsys):
    with EventFileWriter(tmp_path) as writer:
        for step in (3, 7):
            writer.add_scalar("value", 0.5, step)
        writer.add_summary(tf.compat.v1.Summary())  # as the end of a HParamsHook
    assert main(["inspect", str(tmp_path)]) == 0
    assert "\n  0 to 7 " in capsys.readouterr().out


def test_inspect_as_json(run, tmp_path):
    status, out, _ = run("inspect", "--json")
    found = json.loads(out)
    assert status == 0 and set(found) == {"checkpoints", "event_files", "last_values", "hook_state"}
    assert [c["step"] for c in found["checkpoints"]] == [10, 20, 30, 40]
    assert [c["best"] for c in found["checkpoints"]] == [{}, {"error": "least"}, {}, {"error": "most"}]
    assert [c["is_start"] for c in found["checkpoints"]] == [False, False, False, True]
    sizes = [f.stat().st_size for f in (tmp_path / "run").glob("model.ckpt-40.*")]
    assert found["checkpoints"][3]["size"] == sum(sizes)
    assert abs(found["checkpoints"][3]["wall_time"] - time.time()) < 300
    assert found["last_values"]["."]["value"]["step"] == 40
    assert found["hook_state"] == {"Counter": {"seen": 40}}


def test_inspect_shows_the_hooks_of_the_checkpoint_that_a_run_would_start_from(run, tmp_path):
    def shown():
        return json.loads(run("inspect", "--json")[1])["hook_state"]["Counter"]["seen"]

    def started():
        (start,) = [c for c in json.loads(run("inspect", "--json")[1])["checkpoints"] if c["is_start"]]
        return os.path.basename(start["path"])

    for path in (tmp_path / "run").glob("model.ckpt-10.*"):  # a base name that is not the one in use
        shutil.copy(path, path.with_name(path.name.replace("model", "other")))
    assert shown() == 40 and started() == "model.ckpt-40"
    for path in (tmp_path / "run").glob("model.ckpt-20.*"):  # of a process that was killed before it named it
        shutil.copyfile(path, path.with_name(path.name.replace("20", "50")))
    assert shown() == 20 and started() == "model.ckpt-50"
    damage(tmp_path / "run" / "model.ckpt-50.data-00000-of-00001")
    damage(tmp_path / "run" / "model.ckpt-40.data-00000-of-00001")
    assert shown() == 30 and started() == "model.ckpt-30"
    (tmp_path / "run" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-20"')
    assert shown() == 20 and started() == "model.ckpt-20"


def test_the_best_is_told_of_metrics_that_differ_and_are_numbers(run, tmp_path):
    for step, (error, same) in {10: (math.nan, 1.0), 20: (2.0, 1.0), 30: (1.0, 1.0), 40: (3.0, 1.0)}.items():
        path = tmp_path / "run" / f"model.ckpt-{step}{hook_state.SUFFIX}"
        hook_state.write(path, hook_state.HookState(metrics={"error": error, "same": same}))
    found = json.loads(run("inspect", "--json")[1])["checkpoints"]
    assert [c["best"] for c in found] == [{}, {}, {"error": "least"}, {"error": "most"}]


def test_verify_reads_every_byte_and_its_status_says_it(run, tmp_path):
    assert run("verify")[:2] == (0, "4 checkpoints, 1 event file: nothing damaged\n")
    (events,) = (tmp_path / "run").glob("events.*")
    data = tmp_path / "run" / "model.ckpt-20.data-00000-of-00001"
    damage(data)
    damage(events)
    status, out, _ = run("verify")
    assert status == 1 and "4 checkpoints, 1 event file: 2 damaged" in out
    assert (
        f"damaged: {tmp_path / 'run' / 'model.ckpt-20'}: " in out
        and f"damaged: {events}: corrupted record at " in out
    )
    status, out, _ = run("verify", "--json")
    assert status == 1
    assert {os.path.basename(p) for p, damage in json.loads(out).items() if damage} == {
        "model.ckpt-20",
        events.name,
    }


def test_a_record_that_is_no_event_is_damage_and_what_follows_it_is_shown(tmp_path, capsys):
    with EventFileWriter(tmp_path) as writer:
        writer.add_scalar("value", 0.5, 1)
    (path,) = tmp_path.glob("events.*")
    events = [*tf.compat.v1.io.tf_record_iterator(str(path))]
    with tf.io.TFRecordWriter(str(path)) as file:
        for record in (*events, b"hello", events[-1]):
            file.write(record)

    def run(*command):
        return main([command[0], str(tmp_path), *command[1:]]), capsys.readouterr().out

    damage = f"record {len(events) + 1} is no event"
    assert run("verify") == (
        1,
        f"damaged: {path}: {damage}\n0 checkpoints, 1 event file: 1 damaged\n",
    )
    status, out = run("inspect")
    assert status == 0 and f"DAMAGED: {damage}" in out and "1     0.5    value" in out
    status, out = run("scalars", "value")
    assert status == 0 and [row["value"] for row in csv.DictReader(io.StringIO(out))] == ["0.5", "0.5"]
    assert run("report")[0] == 0


@pytest.mark.parametrize(("left", "reason"), [(10, "cannot be read"), (0, "holds no graph")])
def test_verify_reads_the_meta_file_too_which_no_run_needs(run, tmp_path, left, reason):
    meta = tmp_path / "run" / "model.ckpt-40.meta"
    os.truncate(meta, left)
    status, out, _ = run("verify")
    assert status == 1 and f"damaged: {tmp_path / 'run' / 'model.ckpt-40'}: {meta} {reason}" in out
    assert "DAMAGED" not in run("inspect")[1]
    assert restore.newest_intact(str(tmp_path / "run" / "model.ckpt")).endswith("-40")
    meta.unlink()  # as by `saver.save(..., write_meta_graph=False)`
    assert run("verify")[0] == 0


def test_what_is_called_like_an_event_file_and_is_no_file_is_left_out(run, logdir):
    os.mkfifo(logdir / "events.out.tfevents.pipe")
    (logdir / "events.out.tfevents.gone").symlink_to("nowhere")
    assert main(["verify", str(logdir)]) == 0


def test_a_torn_last_record_is_told_and_is_no_damage(run, tmp_path):
    (events,) = (tmp_path / "run").glob("events.*")
    events.write_bytes(events.read_bytes()[:-3])
    assert run("verify")[0] == 0
    assert "the last record is torn" in run("inspect")[1]


def test_prune_changes_nothing_unless_told_to(run, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    status, out, _ = run("prune", "--keep", "latest:1", "--keep", "best:1:error:min")
    assert status == 0 and "Nothing was removed" in out
    told = [line.rpartition("-")[::2] for line in out.splitlines()[:-1]]
    prefix = tmp_path / "run" / "model.ckpt"
    assert told == [
        *((f"kept: {prefix}", step) for step in ("20", "40")),
        *((f"not kept: {prefix}", step) for step in ("10", "30")),
    ]
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("policies", "kept"),
    [
        (["latest:2"], [30, 40]),
        (["best:1:error:min"], [20, 40]),
        (["best:2:error:min"], [10, 20, 40]),
        (["best:1:error"], [40]),
        (["best:2:error:max"], [10, 40]),
        (["hours:1"], [20, 30, 40]),
        (["best:1:error:min", "latest:2"], [20, 30, 40]),
    ],
)
def test_prune_keeps_what_any_policy_keeps(run, tmp_path, policies, kept):
    save_path = str(tmp_path / "run" / "model.ckpt")
    times = {
        f"{save_path}-{step}": 60.0 * minute for step, minute in {10: 10, 20: 50, 30: 90, 40: 130}.items()
    }
    state_file.write(save_path, f"{save_path}-40", times, False, times)
    status, out, _ = run("prune", "--json", *(word for policy in policies for word in ("--keep", policy)))
    (found,) = json.loads(out)["checkpoints"]
    assert "removed" not in out and len(found["kept"]) + len(found["not_kept"]) == 4
    assert status == 0 and [int(path.rpartition("-")[2]) for path in found["kept"]] == kept


def test_prune_looks_at_each_base_name_for_itself(run, tmp_path):
    for path in (tmp_path / "run").glob("model.ckpt-[12]0.*"):
        shutil.copy(path, path.with_name(path.name.replace("model", "other")))
    status, out, _ = run("prune", "--keep", "latest:1", "--delete")
    assert status == 0 and out.count("removed: ") == 4
    names = {path.name for path in (tmp_path / "run").glob("*.index")}
    assert names == {"model.ckpt-40.index", "other.ckpt-20.index"}
    assert [c["step"] for c in json.loads(run("inspect", "--json")[1])["checkpoints"]] == [40, 20]


def test_prune_removes_what_is_not_kept_and_the_state_file_names_the_rest(run, tmp_path):
    status, out, _ = run("prune", "--keep", "latest:1", "--keep", "best:1:error:min", "--delete", "--json")
    pruned = json.loads(out)
    assert status == 0 and pruned["deleted"]
    assert [os.path.basename(path) for path in pruned["checkpoints"][0]["not_kept"]] == [
        "model.ckpt-10",
        "model.ckpt-30",
    ]
    assert not list((tmp_path / "run").glob("model.ckpt-10*"))
    state = tf.train.get_checkpoint_state(str(tmp_path / "run"))
    names = [os.path.basename(path) for path in state.all_model_checkpoint_paths]
    assert names == ["model.ckpt-20", "model.ckpt-40"] and state.model_checkpoint_path.endswith("-40")
    assert steps_in(tmp_path / "run") == [20, 40] and run("verify")[0] == 0


def test_prune_of_a_relative_logdir_names_what_is_left(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["prune", "run", "--keep", "latest:1", "--delete"]) == 0
    assert tf.train.latest_checkpoint("run") == os.path.join("run", "model.ckpt-40")


def test_prune_counts_what_is_intact_and_leaves_the_damaged_alone(run, tmp_path):
    damage(tmp_path / "run" / "model.ckpt-40.data-00000-of-00001")
    status, out, _ = run("prune", "--keep", "latest:1", "--delete")
    assert status == 0 and "damaged, left alone: " in out
    assert steps_in(tmp_path / "run") == [30, 40]


def test_prune_reads_the_checkpoint_that_a_run_would_start_from_whatever_the_policy(run, tmp_path):
    damage(tmp_path / "run" / "model.ckpt-40.data-00000-of-00001")
    assert run("prune", "--keep", "best:1:error:min", "--delete")[0] == 0
    assert steps_in(tmp_path / "run") == [20, 30, 40]  # 30 is intact, 40 is left alone


def test_prune_names_what_stays_before_it_removes_what_was_named(run, tmp_path, monkeypatch):
    for path in (tmp_path / "run").glob("model.ckpt-40.*"):  # by a process that was killed before it named it
        shutil.copyfile(path, path.with_name(path.name.replace("40", "50")))
    named, remove = [], contents.remove

    def watched(path):
        named.append(os.path.basename(tf.train.latest_checkpoint(str(tmp_path / "run"))))
        remove(path)

    monkeypatch.setattr(contents, "remove", watched)
    assert run("prune", "--keep", "latest:1", "--delete")[0] == 0
    assert named == ["model.ckpt-50"] * 4
    assert steps_in(tmp_path / "run") == [50]


def test_prune_that_removes_nothing_leaves_the_state_file_alone(run, tmp_path):
    before = (tmp_path / "run" / "checkpoint").read_bytes()
    assert run("prune", "--keep", "latest:4", "--delete")[0] == 0
    assert (tmp_path / "run" / "checkpoint").read_bytes() == before


@pytest.mark.parametrize("delete", [[], ["--delete"]])
def test_prune_never_leaves_nothing_intact(run, tmp_path, delete):
    status, _, err = run("prune", "--keep", "best:1:nothing", *delete)
    assert status == 2 and "BestN(1, metric='nothing', mode='max') keeps none" in err
    for data in (tmp_path / "run").glob("*.data-*"):
        damage(data)
    status, _, err = run("prune", "--keep", "latest:1", *delete)
    assert status == 2 and "none of the checkpoints" in err
    assert steps_in(tmp_path / "run") == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("newest:1", "no latest:N, hours:H or best:N:METRIC[:min]"),
        ("latest:0", "n must be a positive number of checkpoints, or None for all, not 0"),
        ("latest", "N must be a whole number, not ''"),
        ("latest:1.5", "N must be a whole number, not '1.5'"),
        ("best:2", "metric must be the name of a value"),
        ("best:loss", "N must be a whole number, not 'loss'"),
        ("hours:-1", "hours must be a positive number of hours, or 0 for all, not -1.0"),
        ("hours:x", "H must be a number, not 'x'"),
    ],
)
def test_prune_refuses_another_policy_by_its_name_and_says_what_is_expected(policy, reason, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["prune", "somewhere", "--keep", policy])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and repr(policy) in told and reason in told


def test_scalars_prints_a_curve_as_csv_and_json(run):
    status, out, _ = run("scalars", "value")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0 and [row["step"] for row in rows] == ["10", "20", "30", "40"]
    assert [float(row["value"]) for row in rows] == pytest.approx([-0.05, -0.1, math.inf, 0.1])
    points = json.loads(run("scalars", "value", "--json")[1], parse_constant=pytest.fail)
    assert [point["value"] for point in points][2] == "Infinity"
    assert [(point["run"], point["step"]) for point in points][0] == (".", 10)


def test_scalars_of_an_unknown_tag_names_those_that_there_are(run):
    status, out, err = run("scalars", "valu")
    assert (status, out) == (2, "") and "there is no scalar 'valu'" in err and "value" in err


def test_a_directory_that_is_none_is_an_error(tmp_path, capsys):
    (tmp_path / "file").touch()
    wrong = {"nowhere": "No such file or directory", "file": "Not a directory"}
    for command in (["inspect"], ["verify"], ["prune", "--keep", "latest:1"]):
        for name, reason in wrong.items():
            assert main([command[0], str(tmp_path / name), *command[1:]]) == 2
            told = capsys.readouterr().err
            assert reason in told and str(tmp_path / name) in told
    (tmp_path / "file").unlink()
    for command in (["inspect"], ["verify"], ["prune", "--keep", "latest:1"]):
        assert main([command[0], str(tmp_path), *command[1:]]) == 2
        assert "There are n" in capsys.readouterr().err


def test_the_terminal_shows_what_the_command_says_and_nothing_of_tensorflow(trained):
    command = [sys.executable, "-m", "hookrun"]
    reader, writer = os.pipe()
    os.close(reader)  # as `head` does once it has enough
    scalars = [*command, "scalars", str(trained), "value"]
    piped = subprocess.Popen(scalars, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    done = subprocess.run([*command, "verify", str(trained)], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "4 checkpoints, 1 event file: nothing damaged\n"
    assert (piped.communicate(timeout=100)[1], piped.returncode) == ("", 0)


@pytest.mark.parametrize(
    "command", ["--help", "inspect", "verify", "prune --keep latest:2 --delete", "scalars value", "report"]
)
def test_no_command_imports_tensorflow(run, tmp_path, command):
    name, *arguments = command.split()
    given = [name] if name == "--help" else [name, str(tmp_path / "run"), *arguments]
    program = f"import sys\nfrom hookrun.logdir.cli import main\ntry: status = main({given})\n"
    program += "except SystemExit as error: status = error.code\nassert not status\n"
    program += "sys.exit(not {'tensorflow', 'tensorboardX', 'torch'}.isdisjoint(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout


def test_linked_runs_are_seen_by_each_command(run, tmp_path, capsys):
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "a").symlink_to(tmp_path / "run")
    (tmp_path / "compared" / "again").symlink_to(".")

    def printed(name, *arguments):
        assert main([name, str(tmp_path / "compared"), *arguments]) == 0
        return capsys.readouterr().out

    assert json.loads(printed("inspect", "--json"))["last_values"].keys() == {"a"}
    assert {row["run"] for row in json.loads(printed("scalars", "value", "--json"))} == {"a"}
    assert len(json.loads(printed("verify", "--json"))) == 1
    assert "<h3>value</h3>" in (tmp_path / "compared" / printed("report").strip()).read_text()


def test_files_of_other_tools_are_no_checkpoints_and_are_left_alone(run, tmp_path):
    foreign = {
        "faiss.index": b"IxFI" + bytes(4000),
        "model.ckpt.index": b"a file of the training's own base name",
        "faiss.meta": b"{}",
        "photo.jpg": b"JFIF",
        "photo.jpg.meta": b"{}",
        "table.data-00000-of-00004": b"a shard",
        "empty.index": b"",
    }
    for name, content in foreign.items():
        (tmp_path / "run" / name).write_bytes(content)
    (tmp_path / "run" / "directory.index").mkdir()
    assert run("verify")[:2] == (0, "4 checkpoints, 1 event file: nothing damaged\n")
    assert [c["step"] for c in json.loads(run("inspect", "--json")[1])["checkpoints"]] == [10, 20, 30, 40]
    assert run("prune", "--keep", "latest:2", "--delete")[0] == 0
    assert [(tmp_path / "run" / name).read_bytes() for name in foreign] == list(foreign.values())
    for path in (tmp_path / "run").glob("model.ckpt-40.*"):  # of another base name, and a checkpoint
        shutil.copy(path, path.with_name(path.name.replace("model.ckpt", "other")))
    os.truncate(tmp_path / "run" / "other-40.index", 20)
    os.truncate(tmp_path / "run" / "model.ckpt-30.index", 0)
    status, out, _ = run("verify")
    assert status == 1 and "3 checkpoints, 1 event file: 2 damaged" in out
    assert "run/other-40: " in out and "run/model.ckpt-30: " in out


def test_a_damaged_index_that_asks_for_much_memory_is_damaged(run, tmp_path):
    """TensorFlow's reader ends with a MemoryError."""
    path = tmp_path / "run" / "model.ckpt-30.index"
    table = path.read_bytes()
    places, magic = table[-48:-8], table[-8:]
    end_of_third = [at for at, byte in enumerate(places) if byte < 0x80][2] + 1
    huge = b"\xff" * 8 + b"\x3f"  # 2^62 - 1, as the size of the block that has the places of the others
    path.write_bytes(table[:-48] + (places[:end_of_third] + huge).ljust(40, b"\0") + magic)
    status, out, _ = run("inspect")
    (line,) = [line for line in out.splitlines() if "model.ckpt-30" in line]
    assert status == 0 and "DAMAGED: " in line and "there is no block of 4611686018427387903 bytes" in line
    (tmp_path / "run" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-30"')
    assert restore.newest_intact(str(tmp_path / "run" / "model.ckpt")).endswith("-20")


def test_a_bar_is_shown_on_a_terminal_for_what_takes_long(trained):
    program = (
        "import hookrun.logdir.cli as cli, sys; cli._PATIENCE_SECS = {}; sys.exit(cli.main(sys.argv[1:]))"
    )

    def shown(patience):
        reader, terminal = pty.openpty()
        command = [sys.executable, "-c", program.format(patience), "verify", str(trained)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=100)
        os.close(terminal)
        assert (done.returncode, done.stdout) == (0, "4 checkpoints, 1 event file: nothing damaged\n")
        try:
            return os.read(reader, 1 << 16)
        except OSError:  # nothing was written before it was closed
            return b""
        finally:
            os.close(reader)

    assert b"%|" in shown(0) and b"B/s" in shown(0)
    assert shown(1000) == b""


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"hookrun {hookrun.__version__}\n"
    assert hookrun.__version__ == importlib.metadata.version("hookrun")
