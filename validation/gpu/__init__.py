"""A GPU day in one command: ``python -m validation gpu --minutes 20``.

Runs, in order of value, what can only be found out on a CUDA device: correctness against the CPU, the time of
sampling against its floor, large networks against theory, Dyson laws, Lyapunov spectra. Each job is written
down when it is done, so an interrupted run goes on where it stopped. A job whose estimate exceeds what is
left of the budget is passed over, and the record says so. ``--stand-in`` runs the same jobs, tiny, on the
host's stand-in for CuPy. It checks the command, compiles the kernels for real cards, and measures nothing.
Its record is kept apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rmtrnn._core.progress import ProgressBar
from validation.core import places
from validation.gpu import correctness, kernels, laws, lyapunov, sampling
from validation.gpu.device import Device, on_card, on_stand_in
from validation.gpu.record import Job, Record

PARTS = {
    "kernels": kernels.jobs,  # first: a process makes the kernels of a cell once
    "correctness": correctness.jobs,
    "sampling": sampling.jobs,
    "dyson": laws.jobs,
    "lyapunov": lyapunov.jobs,
}


def main(arguments: Sequence[str]) -> int:
    """Run the jobs that fit into the budget; return 0, or 1 if one failed or its finding is wrong."""
    parser = argparse.ArgumentParser(prog="python -m validation gpu", description="a GPU day in one command")
    parser.add_argument("--minutes", type=float, default=20.0, help="budget; default 20")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--stand-in", action="store_true", help="tiny sizes on the stand-in for CuPy")
    parser.add_argument("--output", type=Path, help="folder of the record; default build/gpu")
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes}: must be positive")
    device = on_stand_in() if options.stand_in else on_card()
    folder = options.output or places.ROOT / "build" / "gpu"
    record = Record(folder / ("stand-in.json" if device.stand_in else "card.json"), device)
    chosen = [job for name in PARTS if name in (options.part or PARTS) for job in PARTS[name](device)]
    run(chosen, record, device, end=time.monotonic() + 60.0 * options.minutes)
    print(record.table())
    print(f"record: {record.path}")
    return 1 if record.failures() else 0


def run(jobs: Sequence[Job], record: Record, device: Device, end: float) -> None:
    """Run the jobs that are not recorded yet, as long as their estimates fit before ``end``."""
    bar = ProgressBar() if sys.stderr.isatty() else None
    for position, job in enumerate(jobs):
        if bar is not None:
            bar(position, len(jobs), job.key)
        if record.has(job.key):
            continue
        needed, left = job.seconds(device), end - time.monotonic()
        if needed > left:
            record.pass_over(job.key, f"needs about {needed:.0f} s, {max(left, 0.0):.0f} s are left")
            continue
        record.add(job, device)
