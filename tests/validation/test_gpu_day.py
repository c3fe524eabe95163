"""The GPU command on the stand-in: complete, resumed after a kill, never taken for a measurement."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from validation.gpu.record import Job, Record

ROOT = Path(__file__).resolve().parents[2]


def command(folder, *more):
    return [sys.executable, "-m", "validation", "gpu", "--stand-in", "--output", str(folder), *more]


def test_it_is_resumed_after_a_kill_and_measures_nothing(tmp_path):
    record = tmp_path / "stand-in.json"
    started = subprocess.Popen(
        command(tmp_path, "--minutes", "60"), cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while started.poll() is None:
        if record.exists() and len(json.loads(record.read_text())["jobs"]) > 30:
            break
        time.sleep(0.05)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    before = json.loads(record.read_text())["jobs"]
    done = subprocess.run(
        command(tmp_path, "--minutes", "60"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(record.read_text())
    assert {key: found["jobs"][key] for key in before} == before
    assert found["head"]["device"] == "stand-in" and found["head"]["stand-in"] is True
    assert {"rmtrnn", "numpy", "commit", "date"} <= set(found["head"]["made"])
    states = {key: job["state"] for key, job in found["jobs"].items()}
    assert set(states.values()) == {"holds", "not measured"}
    assert all(state == "not measured" for key, state in states.items() if "time" in key or "sampling" in key)
    assert "measures nothing" in done.stdout


def test_what_does_not_fit_into_the_budget_is_passed_over(tmp_path):
    done = subprocess.run(
        command(tmp_path, "--minutes", "0.01", "--part", "dyson"), cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0
    jobs = json.loads((tmp_path / "stand-in.json").read_text())["jobs"]
    assert jobs and all(job["state"] == "passed over" and "left" in job["why"] for job in jobs.values())


def test_without_a_card_it_says_what_to_do(tmp_path):
    line = [sys.executable, "-m", "validation", "gpu", "--output", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "--stand-in" in done.stderr


class _Card:
    name, versions, stand_in = "a card", {}, False


@pytest.mark.parametrize(
    ("find", "goal", "state"),
    [
        (lambda device: {"difference": 1.0}, False, "wrong"),
        (lambda device: {"difference": 1.0}, True, "goal missed"),
        (lambda device: {"difference": 0.0}, True, "holds"),
        (lambda device: 1 / 0, False, "failed"),
    ],
)
def test_states(tmp_path, find, goal, state):
    record = Record(tmp_path / "card.json", _Card())
    record.add(Job("one", lambda device: 0.0, find, lambda found: found["difference"] < 0.5, goal), _Card())
    assert record.jobs["one"]["state"] == state
    assert record.failures() == (["one"] if state in ("wrong", "failed") else [])
    again = Record(tmp_path / "card.json", _Card())
    assert again.has("one") == (state != "failed")
