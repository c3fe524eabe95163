"""Ctrl-C: it comes through at once, and what follows is as if nothing had been begun."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rmtrnn as rt
from rmtrnn._core.parallel import thread_map

SAMPLE = {"T": 1, "N": 8, "trials": 6, "burn_in": 1}
LONG = {
    "spectrum": lambda p: rt.spectrum(rt.Ensemble("minimal", R=0.5), 1, population=512, progress=p),
    "critical": lambda p: rt.critical("gru", 2, sigma_v=0.5, free={"sigma_w": (0.5, 4.0)}, progress=p),
    "sample": lambda p: rt.sample(rt.Ensemble("vanilla"), **SAMPLE, progress=p),
}


@pytest.mark.parametrize("name", LONG)
def test_an_interrupted_call_leaves_a_usable_state(name):
    calls = 0

    def interrupt(done, total, label):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    settings = np.geterr()
    with pytest.raises(KeyboardInterrupt):
        LONG[name](interrupt)
    assert calls == 2 and np.geterr() == settings
    seen = []
    again, undisturbed = LONG[name](lambda *call: seen.append(call)), LONG[name](None)
    assert again == undisturbed and seen


def test_finished_trials_are_kept(tmp_path):
    def interrupt(done, total, label):
        if done == 3:
            raise KeyboardInterrupt

    ens = rt.Ensemble("vanilla")
    with pytest.raises(KeyboardInterrupt):
        rt.sample(ens, **SAMPLE, checkpoint=tmp_path, progress=interrupt)
    counts = []
    found = rt.sample(
        ens, **SAMPLE, checkpoint=tmp_path, progress=lambda done, total, label: counts.append(done)
    )
    assert counts[0] == 3 and found == rt.sample(ens, **SAMPLE)


def test_threads_begin_nothing_more(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.02)
        if item == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        thread_map(work, range(200))
    time.sleep(0.1)
    assert len(begun) < 100
    assert thread_map(lambda item: item + 1, range(5)) == [1, 2, 3, 4, 5]


def test_the_command_line_stops_with_one_line_and_goes_on_from_there(tmp_path):
    line = [sys.executable, "-m", "rmtrnn", "sample", "minimal", "--T", "4", "--N", "64", "--trials", "40"]
    line += ["--burn-in", "200", "--checkpoint", str(tmp_path), "--json"]
    root = Path(rt.__file__).resolve().parents[1]
    started = subprocess.Popen(
        line, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while started.poll() is None and len(os.listdir(tmp_path)) < 2:
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130 and out == "" and err.strip().splitlines()[-1] == "rmtrnn: interrupted"
    assert "Traceback" not in err
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    shorter = [word if word != "40" else "4" for word in line]
    done = subprocess.run(shorter, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("{")
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in kept.items())
