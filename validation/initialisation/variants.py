"""What a plan lacks where it trains slowly: the same draws with other biases of the gates.

python -m validation.initialisation.variants FOLDER

GRU, minimalRNN and LSTM, adding and copying with T = 50, N = 32; steps to the targets of `cases.RULE`, on
seeds that no other run uses. Written to ``variants.txt``; about two minutes of one core.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from validation import core
from validation.core.provenance import code_digest
from validation.initialisation import arms, tasks, trainer
from validation.initialisation.cases import RULE
from validation.initialisation.steps import layout

T, N, STEPS, RATES, SEEDS = 50, 32, 500, (0.01, 0.03), range(8000, 8004)
NEGATED, FAST, BOTH = "bias of i = −bias of f", "half of the units fast", "both"
VARIANTS = {
    "gru": ("plan", FAST, "chrono", "orthogonal, bias 1"),
    "minimal": ("plan", FAST, "chrono", "orthogonal, bias 1"),
    "lstm": ("plan", FAST, NEGATED, BOTH, "chrono", "orthogonal, bias 1"),
}


def network(cell: str, variant: str, plan: Any, task: tasks.Task, seed: int) -> tuple[Any, Any]:
    """The module and its readout: a recipe of `arms`, or the plan with the biases that the variant names.

    Fast units have a bias of 0 of the gate that keeps (LSTM with "both": and of the input gate).
    """
    if variant in arms.METHODS:
        return arms.module(cell, variant, None, task, N, seed)
    net, readout = arms.module(cell, "initialize", plan, task, N, seed)
    bias = next(p for name, p in net.named_parameters() if name.startswith("bias"))
    rows = {gate: slice(k * N, (k + 1) * N) for k, gate in enumerate(arms.BLOCKS[cell])}
    with torch.no_grad():
        keeping = bias[rows[arms.KEEPING[cell]]]
        if variant in (FAST, BOTH):
            keeping[::2] = 0.0
        if variant in (NEGATED, BOTH):
            bias[rows["i"]] = -keeping
    return net, readout


def compare(name: str, cell: str) -> list[list[str]]:
    """A row for each variant: steps of every seed at each rate, −1 where the target is not reached."""
    task = tasks.task(name, T)
    target, shapes = RULE.target(name) * task.without, layout(cell, N, task.inputs, task.outputs)
    plan = arms.source(cell, "initialize", task, N)
    runs = {
        (variant, rate): [
            trainer.Run(arms.flat(cell, shapes, *network(cell, variant, plan, task, seed)), rate, seed, STEPS)
            for seed in SEEDS
        ]
        for variant in VARIANTS[cell]
        for rate in RATES
    }
    trainer.train(cell, task, N, RULE.batch, [run for own in runs.values() for run in own], target)
    return [
        [name, cell, variant]
        + [", ".join(str(run.reached(target)) for run in runs[variant, rate]) for rate in RATES]
        for variant in VARIANTS[cell]
    ]


def main(folder: Path) -> None:
    """Write ``variants.txt``."""
    start = time.process_time()
    rows = [row for name in ("copy", "adding") for cell in VARIANTS for row in compare(name, cell)]
    header = ("task", "cell", "biases", *(f"steps at rate {rate:g}" for rate in RATES))
    text = core.table(header, rows)
    made = f"{time.process_time() - start:.0f} s of one core, rmtrnn {code_digest()}, NumPy {np.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "variants.txt").write_text(f"{text}\n\n{made}, PyTorch {torch.__version__}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
