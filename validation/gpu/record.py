"""What a GPU run found: one JSON file, written after every job."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validation.core import provenance, table
from validation.gpu.device import Device


@dataclass(frozen=True)
class Job:
    """One finding. ``seconds(device)`` estimates its time; ``find(device)`` gives plain numbers.

    ``holds(found)``: whether what was found is right (correctness) or reaches the goal (times).
    """

    key: str
    seconds: Callable[[Device], float]
    find: Callable[[Device], dict[str, Any]]
    holds: Callable[[Mapping[str, Any]], bool]
    goal: bool = False


class Record:
    """The findings of one device and one state of the code; another device or code begins a new record."""

    def __init__(self, path: Path, device: Device) -> None:
        self.path = path
        self.head = {"device": device.name, "stand-in": device.stand_in, "versions": device.versions}
        self.head |= {"made": provenance.provenance()}
        self.jobs: dict[str, dict[str, Any]] = {}
        if path.exists():
            kept = json.loads(path.read_text())
            same = all(kept["head"][name] == self.head[name] for name in ("device", "stand-in", "versions"))
            if same and kept["head"]["made"]["code"] == self.head["made"]["code"]:
                self.jobs = kept["jobs"]

    def has(self, key: str) -> bool:
        """Whether the job is done; one that was passed over or failed is tried again."""
        return self.jobs.get(key, {}).get("state") in ("holds", "wrong", "goal missed", "not measured")

    def add(self, job: Job, device: Device) -> None:
        """Run a job and write down what it found, or how it failed."""
        start = time.perf_counter()
        try:
            found = job.find(device)
        except Exception as error:  # one job that fails on a new device does not end the day
            self.jobs[job.key] = {"state": "failed", "why": repr(error), "trace": traceback.format_exc()}
        else:
            self.jobs[job.key] = {"state": _state(job, found, device), "found": found}
        self.jobs[job.key]["wall seconds"] = round(time.perf_counter() - start, 3)
        self._write()

    def pass_over(self, key: str, why: str) -> None:
        """Write down that the job did not fit into the budget."""
        self.jobs[key] = {"state": "passed over", "why": why}
        self._write()

    def failures(self) -> list[str]:
        """Jobs that failed or found something wrong."""
        return [key for key, job in self.jobs.items() if job["state"] in ("failed", "wrong")]

    def table(self) -> str:
        """One line for each job."""
        rows = [
            [key, job["state"], f"{job.get('wall seconds', 0.0):.2f}", _words(job)]
            for key, job in self.jobs.items()
        ]
        device = f"{self.head['device']} (measures nothing)" if self.head["stand-in"] else self.head["device"]
        return f"device: {device}\n" + table(["job", "state", "s", "found"], rows)

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps({"head": self.head, "jobs": self.jobs}, indent=1) + "\n")
        draft.replace(self.path)


def _state(job: Job, found: Mapping[str, Any], device: Device) -> str:
    if job.goal and device.stand_in:
        return "not measured"  # the times of a stand-in meet no goal and miss none
    return "holds" if job.holds(found) else "goal missed" if job.goal else "wrong"


def _words(job: Mapping[str, Any]) -> str:
    if "found" not in job:
        return str(job.get("why", ""))
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in job["found"].items()
    )
