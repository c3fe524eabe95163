"""What the share of fast units, the largest gain and the tie of writing gates do to training.

python -m validation.initialisation.variants FOLDER

Plans of GRU, minimalRNN and LSTM for T = 100 under other bounds, adding and copying, N = 128; steps to the
targets of `cases.RULE`, on seeds that no other run uses. `rmtrnn.initialisation.space.LIMITS` was chosen by
such runs, before those of the study. Written to ``variants.txt``; some ten minutes of one core.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rmtrnn as rt
from validation import core
from validation.core.provenance import code_digest
from validation.initialisation import arms, tasks, trainer
from validation.initialisation.cases import RULE
from validation.networks.modules import flat

T, N, STEPS, RATES, SEEDS = 100, 128, 400, (0.01, 0.03), range(9003, 9006)
BOUNDS: dict[str, dict[str, Any]] = {
    "plan": {},
    "no fast units": {"fast": 0.0},
    "fast: 1/2": {"fast": 0.5},
    "fast: 3/4": {"fast": 0.75},
    "σ_w ≤ 4": {"sigma_w": (0.01, 4.0)},
}
UNTIED = {"bias of i free": {"mu_b": {"i": (-1.0, 1.0)}}}  # LSTM
RECIPES = ("chrono", "orthogonal, bias 1")


def compare(name: str, cell: str) -> list[list[str]]:
    """A row for each variant: steps of every seed at each rate, −1 where the target is not reached."""
    task = tasks.task(name, T)
    R = arms.second_moment(cell, task, N)
    target = RULE.target(name) * task.without
    bounds = BOUNDS | (UNTIED if cell == "lstm" else {})
    plans = {variant: rt.initialize(cell, T, R=R, bounds=own) for variant, own in bounds.items()}

    def run(variant: str, rate: float, seed: int) -> trainer.Run:
        method = variant if variant in RECIPES else "initialize"
        drawn = arms.module(cell, method, plans.get(variant), task, N, seed)
        return trainer.Run(flat(*drawn), rate, seed, STEPS)

    names = [*plans, *RECIPES]
    runs = {(v, rate): [run(v, rate, seed) for seed in SEEDS] for v in names for rate in RATES}
    trainer.train(cell, task, N, RULE.batch, [run for own in runs.values() for run in own], target)
    return [
        [name, cell, variant, f"{plans[variant].smallest:.2g}" if variant in plans else ""]
        + [", ".join(str(run.reached(target)) for run in runs[variant, rate]) for rate in RATES]
        for variant in names
    ]


def main(folder: Path) -> None:
    """Write ``variants.txt``."""
    start = time.process_time()
    rows = [
        row
        for name in ("copy", "adding")
        for cell in ("gru", "lstm", "minimal")
        for row in compare(name, cell)
    ]
    header = ("task", "cell", "bounds", "smallest", *(f"steps at rate {rate:g}" for rate in RATES))
    text = core.table(header, rows)
    made = f"{time.process_time() - start:.0f} s of one core, rmtrnn {code_digest()}, NumPy {np.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "variants.txt").write_text(f"{text}\n\n{made}, PyTorch {torch.__version__}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
