"""A GRU before and after training on the adding task: the singular values of its Jacobian over 50 steps.

The adding task (Hochreiter and Schmidhuber 1997): inputs (value in [0, 1), mark), two marks in a sequence;
the target is the sum of the two marked values. A constant answer of 1 has mean squared error 1/6.
PyTorch is imported only where a module is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

import rmtrnn as rt
from rmtrnn import plotting
from validation import core

if TYPE_CHECKING:
    from validation.core.runner import Workers

HIDDEN, LENGTH, STEPS, BATCH, RATE = 128, 50, 500, 64, 2e-3
SEQUENCES = 4  # along which the Jacobian is taken


@dataclass(frozen=True)
class AddingTask:
    """Sequences of ``length`` steps."""

    length: int

    def sample(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (count, length, 2) and targets (count,)."""
        half = self.length // 2
        inputs = np.zeros((count, self.length, 2))
        inputs[:, :, 0] = rng.uniform(size=(count, self.length))
        rows = np.arange(count)
        for low, high in ((0, half), (half, self.length)):
            inputs[rows, rng.integers(low, high, size=count), 1] = 1.0
        return inputs, (inputs[:, :, 0] * inputs[:, :, 1]).sum(axis=1)


class Trained(NamedTuple):
    """The recurrent module and the training losses."""

    recurrent: Any
    losses: np.ndarray


def train(task: AddingTask, hidden: int, steps: int, seed: int) -> Trained:
    """Train PyTorch's GRU, as PyTorch initialises it, with Adam and clipped gradients."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    recurrent, readout = torch.nn.GRU(2, hidden, batch_first=True), torch.nn.Linear(hidden, 1)
    parameters = [*recurrent.parameters(), *readout.parameters()]
    optimizer, losses = torch.optim.Adam(parameters, lr=RATE), []
    for _ in range(steps):
        inputs, targets = (torch.as_tensor(part, dtype=torch.float32) for part in task.sample(BATCH, rng))
        found = readout(recurrent(inputs)[0][:, -1])[:, 0]
        loss = torch.mean((found - targets) ** 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return Trained(recurrent, np.array(losses))


def list_cases(size: str) -> list[core.Case]:
    """Before and after training."""
    shared = {"hidden": HIDDEN, "length": LENGTH, "seed": 0}
    return [core.Case(name, {**shared, "steps": steps}) for name, steps in (("before", 0), ("after", STEPS))]


def compute(case: core.Case, workers: Workers) -> core.Result:
    """Log singular values of the GRU of one case, and its losses."""
    own = case.settings
    task = AddingTask(own["length"])
    trained = train(task, own["hidden"], own["steps"], own["seed"])
    inputs = task.sample(SEQUENCES, np.random.default_rng(own["seed"] + 1))[0]
    found = rt.jacobian_log_s(trained.recurrent, inputs, T=own["length"])
    return {"error": found.error, **own}, {"log_s": found.log_s, "losses": trained.losses}


def report(results: dict[str, core.Result], size: str, folder: Path) -> None:
    """Write the data, the table of quantiles, and the figure."""
    core.save_data(folder, "data", results)
    levels = (0.05, 0.5, 0.95, 1.0)
    rows = []
    for name, (meta, arrays) in results.items():
        quantiles = np.quantile(arrays["log_s"].ravel(), levels)
        loss = arrays["losses"][-50:].mean() if len(arrays["losses"]) else np.nan
        rows.append([name, f"{loss:.3g}", *(f"{value:.2f}" for value in quantiles), f"{meta['error']:.0e}"])
    text = core.table(("GRU", "loss", *(f"log s at {p:g}" for p in levels), "error"), rows)
    print(text)
    (folder / "report.md").write_text(
        f"# A GRU before and after training\n\n{text}\n\n{HIDDEN} units, {LENGTH} steps, {STEPS} updates.\n"
    )
    with plotting.style():
        figure, ax = plt.subplots(figsize=(4.2, 2.6))
        lowest = min(arrays["log_s"].min() for _, arrays in results.values())
        bins = np.arange(5.0 * np.floor(lowest / 5.0), 5.1, 2.5)
        for name, (_, arrays) in results.items():
            ax.hist(
                arrays["log_s"].ravel(),
                bins=bins.tolist(),
                density=True,
                alpha=0.6,
                label=name,
            )
        ax.set_xlabel(f"log s of the Jacobian over {LENGTH} steps")
        ax.set_ylabel("density")
        ax.legend()
        core.save_figure(figure, folder, "before_after")
        plt.close(figure)


STUDY = core.Study(
    name="trained_gru",
    summary="a PyTorch GRU before and after training on the adding task: its singular values over 50 steps",
    cost={"quick": "about 1 minute of one core"},
    cases=list_cases,
    compute=compute,
    report=report,
    requires=("torch",),
    draft=True,
)
