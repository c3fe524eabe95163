"""Does critical initialisation matter when a minimalRNN is trained? (Needs PyTorch: "rmtrnn[torch]".)

A memory task: the first input is one of four patterns, then come T − 1 steps of noise, then the network says
which pattern it was. The same module, data and optimiser, with two initialisations of W, V and b: PyTorch's
habit (uniform ±1/√N), and a critical point for T steps from `rt.critical`.

    python train_minimal_rnn.py [--quick] [--output FILE]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import rmtrnn as rt
from rmtrnn.torch import MinimalRNN, initialize_

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="small enough for a test")
parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
options = parser.parse_args()
T, N, batch, updates, seeds = (20, 16, 32, 5, 1) if options.quick else (60, 32, 64, 300, 3)
R, CLASSES = 0.5, 4
torch.set_num_threads(1)

bounds = {"q": (1.0, 4.0), "mu_b": 4.0} if options.quick else {}
critical = rt.critical("minimal", T=T, R=R, weights="orthogonal", **bounds).ensemble
print(f"critical for {T} steps: {critical!r}")


def batches(seed):
    """Endless batches: inputs (T, batch, N) of mean square R, and the pattern that came first."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(CLASSES, N, generator=generator) * R**0.5
    while True:
        x = torch.randn(T, batch, N, generator=generator) * R**0.5
        labels = torch.randint(CLASSES, (batch,), generator=generator)
        x[0] = patterns[labels]
        yield x, labels


def train(ensemble, seed):
    """Accuracy on each batch before it is learned from. ``ensemble`` None: PyTorch's habit."""
    torch.manual_seed(seed)
    cell, readout = MinimalRNN(N, N, embed=False), torch.nn.Linear(N, CLASSES)
    if ensemble is not None:
        initialize_(cell, ensemble, rng=seed)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=3e-3)
    accuracy = []
    for _, (x, labels) in zip(range(updates), batches(seed), strict=False):
        logits = readout(cell(x)[0][-1])
        accuracy.append((logits.argmax(dim=1) == labels).float().mean().item())
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return np.array(accuracy)


with rt.plotting.style():
    figure, ax = plt.subplots(figsize=(5.0, 3.4))
window = max(updates // 20, 1)
for name, ensemble, color in (
    ("critical", critical, rt.plotting.PALETTE[1]),
    ("PyTorch's habit", None, rt.plotting.PALETTE[2]),
):
    runs = np.array([train(ensemble, seed) for seed in range(seeds)])
    smooth = np.array([np.convolve(run, np.ones(window) / window, mode="valid") for run in runs])
    for run in smooth:
        ax.plot(np.arange(window, updates + 1), run, color=color, linewidth=0.8, alpha=0.6)
    ax.plot(np.arange(window, updates + 1), smooth.mean(axis=0), color=color, label=name)
    last = smooth[:, -1]
    print(f"{name}: accuracy {last.mean():.3f} over the last {window} updates, runs {np.round(last, 3)}")
ax.axhline(1 / CLASSES, color="0.5", linestyle="--", linewidth=1.0, label="chance")
ax.set(xlabel="updates (Adam, rate 0.003)", ylabel="accuracy", ylim=(0, 1.02))
ax.set_title(f"minimalRNN, N = {N}: remember the first of {T} inputs")
ax.legend()
figure.savefig(options.output, dpi=200)
