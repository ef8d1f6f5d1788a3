"""Where hookrun differs from TensorFlow's Supervisor on purpose: what the one does, and what the other.

Each test has the program of the same name in `programs/`.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(600)  # the first test waits for all programs


def test_start_standard_services_without_logdir(observed):
    """The documentation says ValueError. Preparing a session goes on to work."""
    assert observed.tensorflow == {"called": None, "step": 0}
    assert observed.hookrun["called"][0] == "ValueError"
    assert "logdir" in observed.hookrun["called"][1]
    assert observed.hookrun["step"] == 0


def test_final_checkpoint_at_a_clean_end(observed):
    assert observed.tensorflow["checkpoints"] == ["model.ckpt-0"]
    assert observed.hookrun["checkpoints"] == ["model.ckpt-0", "model.ckpt-3"]
    stream = observed.tensorflow["stream"]
    assert observed.hookrun["stream"] == [*stream[:5], "CHECKPOINT 3 LOGDIR/model.ckpt", *stream[5:]]


def test_final_checkpoint_at_the_end_of_the_input(observed):
    assert observed.tensorflow["checkpoints"] == ["model.ckpt-0"]
    assert observed.hookrun["checkpoints"] == ["model.ckpt-0", "model.ckpt-3"]
    assert observed.hookrun["raised"] == observed.tensorflow["raised"] == []


def test_final_checkpoint_after_a_keyboard_interrupt(observed):
    assert observed.tensorflow["checkpoints"] == ["model.ckpt-0"]
    assert observed.hookrun["checkpoints"] == ["model.ckpt-0", "model.ckpt-3"]
    assert observed.hookrun["raised"] == observed.tensorflow["raised"] == [["KeyboardInterrupt", ""]]


def test_final_checkpoint_by_stop(observed):
    assert observed.tensorflow == ["model.ckpt-0"]
    assert observed.hookrun == ["model.ckpt-0", "model.ckpt-1"]


def test_no_final_checkpoint_after_an_error(observed):
    """A model that diverged must not become the newest one."""
    assert observed.tensorflow["checkpoints"] == ["model.ckpt-0"]
    assert observed.hookrun == observed.tensorflow


def test_no_final_checkpoint_without_standard_services(observed):
    assert observed.tensorflow["checkpoints"] == []
    assert observed.hookrun == observed.tensorflow


def test_no_final_checkpoint_when_checkpoints_are_off(observed):
    assert observed.hookrun == observed.tensorflow == []


def test_no_final_checkpoint_for_a_step_that_is_saved(observed):
    start, stop, checkpoint = 1, 2, 3
    assert observed.hookrun == observed.tensorflow == [start, checkpoint, stop]


def test_no_second_checkpoint_of_a_restored_step(observed):
    """A checkpoint that is there already is not written over."""
    assert observed.tensorflow == ["CHECKPOINT 0 LOGDIR/model.ckpt"] * 2
    assert observed.hookrun == ["CHECKPOINT 0 LOGDIR/model.ckpt"]


def test_logdir_that_is_a_path(observed):
    assert observed.tensorflow[0][0][0] == "AttributeError"
    assert observed.hookrun == [[], ["model.ckpt-0"]]


def test_logdir_that_is_relative(observed):
    """It is the directory that was meant, also when the program changes its own."""
    named = 'model_checkpoint_path: "model.ckpt-0"\n'
    assert observed.tensorflow == [False, named]
    assert observed.hookrun == [True, named]


def test_request_stop_outside_an_except_block(observed):
    """TensorFlow's class stops nothing and looks for the exception where there is none."""
    assert observed.tensorflow["request_stop"][0] == "TypeError"
    assert not observed.tensorflow["should_stop"]
    assert observed.hookrun == {"request_stop": None, "should_stop": True, "stop": ["ValueError", "x"]}


def test_summary_computed_of_text(observed):
    """The documentation says TypeError."""
    assert observed.tensorflow == "AttributeError"
    assert observed.hookrun == "TypeError"


def test_meta_graph_of_the_graph_argument(observed):
    """TensorFlow's class takes the collections of the default graph."""
    assert observed.tensorflow == [True, []]
    assert observed.hookrun[0]
    assert {"global_step", "summaries", "trainable_variables", "variables", "savers"} <= set(
        observed.hookrun[1]
    )


def test_session_reopened_within_a_second(observed):
    """TensorFlow's event file is overwritten: of two sessions, one is left."""
    assert observed.tensorflow == 1
    assert observed.hookrun == 2


def test_out_of_range_error_in_init_fn(observed):
    """It does not mean the end of the input."""
    assert observed.tensorflow == [["RuntimeError", "generator didn't yield"]]
    assert observed.hookrun == [["OutOfRangeError", "the weights' file is too short"]]


def test_out_of_range_error_in_a_save(observed):
    """It does not mean the end of the input."""
    assert observed.tensorflow == []
    assert observed.hookrun == [["OutOfRangeError", "read less than expected"]]


def test_resource_variable_named_global_step(observed):
    assert observed.tensorflow == [False, ["model.ckpt"]]
    assert observed.hookrun == [True, ["model.ckpt-4"]]


def test_global_step_of_shape_1(observed):
    """`the op named 'global_step' ... of rank 1, size 1`; TensorFlow's class fails on it with numpy 2."""
    assert observed.tensorflow[:2] == [["TypeError"], []]
    begin = ["brain.Event:2", "graph def", "meta graph def", "START 6"]
    end = ["CHECKPOINT 6 LOGDIR/model.ckpt", "summary 6 global_step/sec", "STOP 0"]
    assert observed.hookrun == [[], ["model.ckpt-6"], [[*begin, *end]]]


def test_ops_in_the_graph(observed):
    """What hookrun adds beyond TensorFlow's ops is in a name scope of its own."""
    extra = [name for name in observed.hookrun if name not in observed.tensorflow]
    assert [name for name in extra if not name.startswith("hookrun/")] == []
    assert [name for name in observed.hookrun if name not in extra] == observed.tensorflow


def test_threads_of_the_standard_services(observed):
    """One timer for summaries and the step counter, one for checkpoints."""
    assert observed.tensorflow == 3
    assert observed.hookrun == 2


def test_training_step_after_a_loop_failed(observed):
    error = ["ValueError", "in the loop"]
    assert observed.tensorflow == {"training step": None, "evaluation": None, "block": [error]}
    assert observed.hookrun == {"training step": error, "evaluation": None, "block": [error]}


def test_training_step_after_a_service_failed(observed):
    error = ["InvalidArgumentError", "StringToNumberOp could not correctly convert string: four"]
    assert observed.tensorflow == {"training step": None, "block": [error]}
    assert observed.hookrun == {"training step": error, "block": [error]}


def test_services_under_the_defaults_of_tensorflow_2(observed):
    """TensorFlow's threads find themselves in eager mode; hookrun's run inside the graph of their session."""
    assert observed.tensorflow[0][0][0] != []
    stream = ["brain.Event:2", "graph def", "meta graph def", "START 0", "CHECKPOINT 0 LOGDIR/model.ckpt"]
    assert observed.hookrun == [
        [],
        [[*stream, "summary 0 global_step/sec", "summary 0 weight_now=1.0", "STOP 0"]],
    ]


def test_start_after_an_earlier_run_without_a_global_step(observed):
    """It lets TensorBoard drop what the run before wrote: both are at step 0 and on."""
    assert observed.tensorflow == [0, 0]
    assert observed.hookrun == [0, 2]  # the first that it finds tells it of a beginning alone


def test_session_that_the_program_closes(observed):
    """Its last step is saved, with `stop` after it and without."""
    assert observed.tensorflow == [["model.ckpt-0"]] * 2
    assert observed.hookrun == [["model.ckpt-0", "model.ckpt-3"]] * 2


def test_private_method_of_a_subclass(observed):
    """It is not called; a warning names it."""
    assert observed.tensorflow == ["called", None]
    assert observed.hookrun[0] is None
    assert "_init_saver (pass saver=)" in observed.hookrun[1]
