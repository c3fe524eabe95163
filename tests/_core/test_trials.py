"""Independent trials on executors: dead workers, their own errors, checkpoints that are damaged."""

import math
import os
import signal
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from workers import dying_once, processes, run

from rmtrnn._core.trials import CheckpointFolder


def dying_trial(parameters, trial):
    """Kills its own process, but only where it is not the parent's."""
    if os.getpid() != parameters["parent"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([float(trial)])


def failing_trial(parameters, trial):
    raise ZeroDivisionError("the trial's own error")


def test_trials_of_dead_workers_run_again():
    with processes(2) as pool:
        assert [row[0] for row in run(dying_trial, executor=pool)] == [0.0, 1.0, 2.0, 3.0]


def test_one_killed_worker_of_a_pool_loses_no_trial(tmp_path):
    """The pool is broken by it; what it had finished is kept, and the rest runs in this process."""
    parameters = {"marker": str(tmp_path / "died"), "parent": os.getpid()}
    folder = tmp_path / "checkpoint"
    with processes(2) as pool:
        rows = run(dying_once, parameters, executor=pool, checkpoint=folder)
    assert (tmp_path / "died").exists()
    assert [row[0] for row in rows] == [0.0, 1.0, 2.0, 3.0]
    assert len(CheckpointFolder(folder, parameters).finished(4)) == 4


def test_an_error_of_the_trial_itself_is_raised():
    with processes(1) as pool, pytest.raises(ZeroDivisionError, match="own error"):
        run(failing_trial, executor=pool)


class BrokenFromTheStart(Executor):
    def submit(self, fn, /, *args, **kwargs) -> Future:
        raise BrokenProcessPool("no workers")


def test_an_executor_that_takes_nothing():
    assert [row[0] for row in run(dying_trial, executor=BrokenFromTheStart())] == [0.0, 1.0, 2.0, 3.0]


def test_every_flipped_byte_of_a_checkpoint_is_noticed(tmp_path):
    folder = CheckpointFolder(tmp_path, {"seed": 1})
    folder.write(0, np.array([1.0, -math.inf]))
    good = folder.path(0).read_bytes()
    for position in range(len(good)):
        folder.path(0).write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(ValueError, match="is damaged"):
            folder.finished(1)
    for length in range(len(good)):
        folder.path(0).write_bytes(good[:length])
        with pytest.raises(ValueError, match="is damaged"):
            folder.finished(1)
