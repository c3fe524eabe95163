"""Processes for tests of trials on executors."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from rmtrnn._core.trials import run_trials


def processes(count):
    """A pool of fresh interpreters (forked ones are unsafe beside threads)."""
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


def run(trial, parameters=None, **options):
    defaults = {"executor": None, "checkpoint": None, "report": lambda *_: None, "label": "test"}
    return run_trials(trial, parameters or {"parent": os.getpid()}, 4, **defaults | options)


def dying_once(parameters, trial):
    """Trial 1 kills the process it is in, the first time it is run."""
    marker = parameters["marker"]
    if trial == 1 and not os.path.exists(marker):
        with open(marker, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([float(trial)])
