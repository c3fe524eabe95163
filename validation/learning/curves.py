"""Training curves: one case for each network, weight law, regime and T; one kept trial for each seed."""

from __future__ import annotations

from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn import _random
from validation import study, training

R = 0.46  # second moment of what the cell reads
# Rates of Adam were chosen in a few short runs of the orthogonal critical networks with seeds not used here
# (vanilla from 1e-4, 3e-4, 1e-3; minimalRNN from 3e-3, 1e-2); the other networks take the same.
CELLS: dict[str, dict[str, float]] = {
    # lowest and highest σ_w between which χ = 1 is solved for; the published σ_v; rate of Adam
    "vanilla": {"sigma_v": 0.025, "low": 0.9, "high": 1.4, "rate": 3e-4},
    "minimal": {"sigma_v": 1.39, "low": 5.0, "high": 9.0, "rate": 1e-2},
}
WEIGHTS = ("orthogonal", "gaussian")
# The paper's off-critical parameters are unknown. A smaller σ_w is the ordered phase: the past fades.
REGIMES = {"critical": 1.0, "off-critical": 0.75}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"T": (196,), "N": 100, "batch": 32, "steps": 128, "seeds": 3, "held_out": 500},
    "full": {"T": (196, 784), "N": 300, "batch": 128, "steps": 20000, "seeds": 5, "held_out": 10000},
}


def list_cases(size: str) -> list[study.Case]:
    """All combinations; the two regimes of one network follow each other."""
    listed = []
    own = SIZES[size]
    for T in own["T"]:
        for cell, parameters in CELLS.items():
            for weights in WEIGHTS:
                for regime, factor in REGIMES.items():
                    settings = {"cell": cell, "weights": weights, "regime": regime, "factor": factor, "R": R}
                    settings |= parameters | own | {"T": T, "mu_b": 0.0, "seed": 11, "size": size}
                    listed.append(study.Case(f"{cell}-{weights}-{regime}-T{T}", settings))
    return listed


def marks(steps: int) -> list[int]:
    """Training steps at which the accuracy is measured: powers of √2, rounded, from 4 to ``steps``."""
    return sorted({*(round(2 ** (k / 2)) for k in range(4, 64) if 2 ** (k / 2) < steps), steps})


def compute(case: study.Case, workers: study.Workers) -> study.Result:
    """Solve for the critical σ_w, train all seeds, and keep the accuracies and the theory at the start."""
    settings = dict(case.settings)
    names = ("sigma_v", "mu_b", "R", "weights")
    free = rt.Ensemble(settings["cell"], sigma_w=1.0, **{name: settings[name] for name in names})
    critical = training.critical_gain(free, settings["low"], settings["high"])
    settings["sigma_w"] = settings["factor"] * critical
    field = rt.mean_field(free.replace(sigma_w=settings["sigma_w"]))
    found = training.sweep(train_seed, f"learning-{case.key}", settings, settings["seeds"], workers)
    accuracy = np.array([values[:-1] for values in found])
    seconds = np.array([values[-1] for values in found])
    theory = {"sigma_w": settings["sigma_w"], "chi": float(field.chi), "critical sigma_w": critical}
    steps = np.array(marks(settings["steps"]))
    meta = {"theory": theory, "training": training.provenance()}
    return meta, {"step": steps, "accuracy": accuracy, "seconds": seconds}


def train_seed(settings: dict[str, Any], index: int) -> np.ndarray:
    """Train with one seed; return the test accuracies at `marks` and, last, the seconds."""
    import torch

    seed, N, pixels = settings["seed"] + index, settings["N"], 784 // settings["T"]
    where = training.device()
    source = training.digits(settings["size"])
    own, held_out = training.scaled(
        training.digit_sequences(source.train_images, pixels),
        training.digit_sequences(source.test_images, pixels),
        R,
    )
    pick = _random.stream(seed, training.HELD_OUT).permutation(len(held_out))[: settings["held_out"]]
    names = ("sigma_w", "sigma_v", "mu_b", "R", "weights")
    ens = rt.Ensemble(settings["cell"], **{name: settings[name] for name in names})
    sample = own[:200].reshape(-1, pixels)
    gated = ens.cell == rt.MinimalRNN()
    embedded = training.embedding(sample, N, R, seed) if gated else None
    parts = {
        "cell": training.recurrent(ens, pixels, N, seed, embedded),
        "out": training.readout(N, training.CLASSES, seed),
    }
    model = torch.nn.ModuleDict(parts).to(where)
    inputs, labels = torch.from_numpy(own).to(where), torch.from_numpy(source.train_labels).to(where)
    choose = _random.stream(seed, training.BATCHES)

    def scores(sequences: Any) -> Any:
        return model["out"](model["cell"](sequences.transpose(0, 1))[1][0])

    def loss_of() -> Any:
        rows = torch.from_numpy(choose.integers(len(labels), size=settings["batch"])).to(where)
        return torch.nn.functional.cross_entropy(scores(inputs[rows]), labels[rows])

    tested, wanted = torch.from_numpy(held_out[pick]).to(where), source.test_labels[pick]
    steps = marks(settings["steps"])
    accuracy = dict.fromkeys(steps, float("nan"))

    def measure(step: int) -> None:
        if step in accuracy:
            with torch.no_grad():
                guesses = torch.cat([scores(part).argmax(1) for part in tested.split(500)])
            accuracy[step] = float((guesses.cpu().numpy() == wanted).mean())

    seconds = training.train(model, loss_of, settings["steps"], settings["rate"], after=measure)
    return np.array([*accuracy.values(), seconds])
