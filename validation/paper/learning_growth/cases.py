"""Training curves: one case for each inputs, T, cell, weight law and arm, its seeds trained together."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random
from validation import core, data
from validation.paper import training
from validation.paper.learning_growth import arms

CELLS = ("minimal", "vanilla")
WEIGHTS = ("orthogonal", "gaussian")
# pixels: in reading order. permuted: one random order, the mean of every pixel removed, so that what a cell
# reads is nearer to the theory's inputs, which are independent in time.
INPUTS = ("pixels", "permuted")
# Rates of Adam lie on 10^(k/2); the search begins with these and goes on until the best is not at an end.
FIRST_RATES = {"vanilla": (-8, -7, -6), "minimal": (-5, -4, -3)}
LOWEST_RATE, HIGHEST_RATE = -12, 0
SEARCH_SEED, CHECKED = 311, 500  # seed and digits of the search; neither is used for the curves
LAWS = ("sigma_w", "sigma_v", "mu_b", "sigma_b")  # of the one gate, kept for each seed
PERMUTATION = 7  # stream of the order of the pixels

_ALL = {"arms": list(arms.ARMS), "weights": list(WEIGHTS), "inputs": list(INPUTS)}
_FEW = {"arms": ["published", "growth 0", "growth -0.1", "growth 0.1"], "weights": ["orthogonal"]}
SIZES: dict[str, dict[int, dict[str, Any]]] = {
    "quick": {
        196: {
            "N": 50, "batch": 32, "steps": 40, "search": 16, "seeds": 2, "held_out": 125, **_FEW,
            "inputs": ["pixels"],
        },
    },
    "standard": {
        196: {"N": 64, "batch": 32, "steps": 10_000, "search": 2500, "seeds": 3, "held_out": 2000, **_ALL},
        784: {
            "N": 50, "batch": 32, "steps": 10_000, "search": 2500, "seeds": 2, "held_out": 2000, **_FEW,
            "weights": list(WEIGHTS), "inputs": ["pixels"],
        },
    },
    "full": {
        196: {"N": 300, "batch": 128, "steps": 20_000, "search": 5000, "seeds": 5, "held_out": 9000, **_ALL},
        784: {"N": 300, "batch": 128, "steps": 100_000, "search": 5000, "seeds": 5, "held_out": 9000, **_ALL},
    },
}  # fmt: skip


def list_cases(size: str) -> list[core.Case]:
    """All combinations; the arms of one network follow each other."""
    listed = []
    for T, given in SIZES[size].items():
        own = {name: value for name, value in given.items() if name not in _ALL}
        for inputs in given["inputs"]:
            for weights in given["weights"]:
                for cell in CELLS:
                    for arm in given["arms"]:
                        settings = {"cell": cell, "weights": weights, "arm": arm, "inputs": inputs, "T": T}
                        settings |= own | {"R": arms.R, "seed": 11, "size": size}
                        listed.append(core.Case(key_of(cell, weights, arm, inputs, T), settings))
    return listed


def key_of(cell: str, weights: str, arm: str, inputs: str, T: int) -> str:
    """The key of a case."""
    return f"{cell}-{weights}-{inputs}-T{T}-{arm.replace(' ', '_')}"


def sequences(source: data.Digits, inputs: str, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test digits (n, T, 784/T) of mean 0 and second moment `arms.R`."""
    images = [
        one.reshape(len(one), -1).astype(np.float32) for one in (source.train_images, source.test_images)
    ]
    if inputs == "permuted":
        order = _random.stream(PERMUTATION, 0).permutation(images[0].shape[1])
        mean = images[0].mean(axis=0)
        images = [(one - mean)[:, order] for one in images]
    train, test = (training.digit_sequences(one, 784 // T) for one in images)
    return training.scaled(train, test, arms.R)


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Place the arm, choose its rate, train all seeds; keep the accuracies, the growth and the theory."""
    start = time.process_time()
    settings = case.settings
    source = training.digits(settings["size"])
    x, held_out = sequences(source, settings["inputs"], settings["T"])
    seeds = [settings["seed"] + index for index in range(settings["seeds"])]
    placed = [arms.drawn(settings["arm"], settings, x, seed) for seed in (SEARCH_SEED, *seeds)]
    meta: dict[str, Any] = {"training": training.provenance(), "data": source.name}
    if any(net is None for _, net in placed):
        return meta | {"placed": None}, {}
    order = _random.stream(settings["seed"], training.HELD_OUT).permutation(len(held_out))
    checked, tested = order[:CHECKED], order[CHECKED : CHECKED + settings["held_out"]]
    digits = {"x": x, "labels": source.train_labels}
    own = digits | {"held_out": held_out[checked], "wanted": source.test_labels[checked]}
    rate, tried = best_rate(settings, placed[0][1], own)
    ensembles, nets = zip(*placed[1:], strict=True)
    growths = [arms.module_growth(net, x[: arms.DIGITS]) for net in nets]
    accuracy = training.accuracy_curves(
        nets,
        seeds,
        [rate] * len(seeds),
        settings["steps"],
        settings["batch"],
        digits | {"held_out": held_out[tested], "wanted": source.test_labels[tested]},
    )
    gates = [ens.gate(ens.cell.gates[0]) for ens in ensembles]
    meta["placed"] = {
        **{name: [float(getattr(gate, name)) for gate in gates] for name in LAWS},
        "chi": [float(rt.mean_field(ens.replace(tied=False)).chi) for ens in ensembles],
        "growth": growths,
        "rate": rate,
        "area at rates": tried,
    }
    arrays = {"step": np.array(training.marks(settings["steps"])), "accuracy": accuracy}
    return meta, arrays | {"seconds": np.array(time.process_time() - start)}


def best_rate(
    settings: dict[str, Any], net: Any, digits: dict[str, np.ndarray]
) -> tuple[float, dict[str, float]]:
    """The rate of the largest `training.area` after a short training, and the areas of all rates tried.

    A best rate at an end of those tried sends the search on, until it is inside, or the rates are
    `LOWEST_RATE` or `HIGHEST_RATE`.
    """
    found: dict[int, float] = {}
    missing = list(FIRST_RATES[settings["cell"]])
    steps = np.array(training.marks(settings["search"]))
    while missing:
        rates, copies = [10.0 ** (k / 2) for k in missing], len(missing)
        accuracy = training.accuracy_curves(
            [net] * copies, [SEARCH_SEED] * copies, rates, settings["search"], settings["batch"], digits
        )
        found |= dict(zip(missing, training.area(steps, accuracy).tolist(), strict=True))
        best = max(found, key=lambda k: found[k])
        missing = [k for k in (best - 1, best + 1) if k not in found and LOWEST_RATE <= k <= HIGHEST_RATE]
    return 10.0 ** (best / 2), {f"{10.0 ** (k / 2):.3g}": value for k, value in sorted(found.items())}
