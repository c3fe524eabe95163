"""Training curves: one case for each network, weight law, regime and T, its seeds trained together."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random
from validation import core, data
from validation.paper import training

R = 0.46  # second moment of what the cell reads
# Rates of Adam were chosen in a few short runs of the orthogonal critical networks with a seed not used here
# (vanilla from 1e-4, 3e-4, 1e-3; minimalRNN from 3e-3, 1e-2, 3e-2); the other networks take the same.
CELLS: dict[str, dict[str, float]] = {
    # lowest and highest σ_w between which χ = 1 is solved for; the published σ_v; rate of Adam
    "vanilla": {"sigma_v": 0.025, "low": 0.9, "high": 1.4, "rate": 3e-4},
    "minimal": {"sigma_v": 1.39, "low": 5.0, "high": 9.0, "rate": 3e-3},
}
WEIGHTS = ("orthogonal", "gaussian")
# The paper's off-critical parameters are unknown: one network on either side of the critical σ_w.
REGIMES = {"critical": 1.0, "ordered": 0.75, "chaotic": 1.5}
SIZES: dict[str, dict[int, dict[str, Any]]] = {
    "quick": {
        196: {"N": 50, "batch": 32, "steps": 45, "seeds": 2, "held_out": 125},
        784: {"N": 50, "batch": 32, "steps": 8, "seeds": 2, "held_out": 125},
    },
    "standard": {
        196: {"N": 64, "batch": 32, "steps": 2048, "seeds": 3, "held_out": 250},
        784: {"N": 50, "batch": 32, "steps": 512, "seeds": 3, "held_out": 250},
    },
    "full": {
        196: {"N": 300, "batch": 128, "steps": 20000, "seeds": 5, "held_out": 10000},
        784: {"N": 300, "batch": 128, "steps": 100_000, "seeds": 5, "held_out": 10000},
    },
}


def list_cases(size: str) -> list[core.Case]:
    """All combinations; the regimes of one network follow each other."""
    listed = []
    for T, own in SIZES[size].items():
        for cell, parameters in CELLS.items():
            for weights in WEIGHTS:
                for regime, factor in REGIMES.items():
                    settings = {"cell": cell, "weights": weights, "regime": regime, "factor": factor, "R": R}
                    settings |= parameters | own | {"T": T, "mu_b": 0.0, "seed": 11, "size": size}
                    listed.append(core.Case(f"{cell}-{weights}-{regime}-T{T}", settings))
    return listed


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Solve for the critical σ_w, train all seeds, and keep the accuracies and the theory at the start."""
    settings = dict(case.settings)
    names = ("sigma_v", "mu_b", "R", "weights")
    free = rt.Ensemble(settings["cell"], sigma_w=1.0, **{name: settings[name] for name in names})
    critical = training.critical_gain(free, settings["low"], settings["high"])
    settings["sigma_w"] = settings["factor"] * critical
    field = rt.mean_field(free.replace(sigma_w=settings["sigma_w"]))
    source = training.digits(settings["size"])
    accuracy, seconds = train(settings, source)
    theory = {"sigma_w": settings["sigma_w"], "chi": float(field.chi), "critical sigma_w": critical}
    steps = np.array(training.marks(settings["steps"]))
    meta = {"theory": theory, "training": training.provenance(), "data": source.name}
    return meta, {"step": steps, "accuracy": accuracy, "seconds": np.array(seconds)}


def train(settings: dict[str, Any], source: data.Digits) -> tuple[np.ndarray, float]:
    """Train all seeds on ``source``; return test accuracies (seeds, marks) and the processor's seconds."""
    start = time.process_time()
    pixels = 784 // settings["T"]
    seeds = [settings["seed"] + index for index in range(settings["seeds"])]
    own, held_out = training.scaled(
        training.digit_sequences(source.train_images, pixels),
        training.digit_sequences(source.test_images, pixels),
        R,
    )
    names = ("sigma_w", "sigma_v", "mu_b", "R", "weights")
    ens = rt.Ensemble(settings["cell"], **{name: settings[name] for name in names})
    drawn = [training.digit_network(ens, own, settings["N"], seed) for seed in seeds]
    pick = _random.stream(settings["seed"], training.HELD_OUT).permutation(len(held_out))
    pick = pick[: settings["held_out"]]
    digits = {"x": own, "labels": source.train_labels}
    digits |= {"held_out": held_out[pick], "wanted": source.test_labels[pick]}
    rates = [settings["rate"]] * len(seeds)
    accuracy = training.accuracy_curves(drawn, seeds, rates, settings["steps"], settings["batch"], digits)
    return accuracy, time.process_time() - start
