"""The trained networks: a case for each sweep and value, at longer and longer T until nothing is learned."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random
from validation import core, data
from validation.paper import training

R_DIGIT = 0.46  # second moment of the digit's entries
# The noise after the digit is the input that the theory's R describes. For the vanilla cell it is weak: its
# state adds the noise of all steps up, so that strong noise buries a digit whatever the time scale is.
# For minimalRNN it has the digit's own second moment, the paper's R.
VANILLA = {"cell": "vanilla", "sigma_v": 0.025, "mu_b": 0.0, "R": 0.01, "rates": [1e-3, 2e-4]}
MINIMAL = {"cell": "minimal", "sigma_v": 1.39, "R": R_DIGIT, "rates": [1e-2, 3e-3]}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "vanilla-sigma_w": (0.5, 0.8, 0.9, 1.0, 1.1, 1.3),
        "minimal-mu_b": (-4.0, -2.0, 0.0, 3.5, 5.5, 8.0),
        "minimal-sigma_w": (1.0, 3.0, 5.0, 7.0, 9.0),
        "lengths": (4, 8, 16, 32, 64),
        "steps": 100,
        "seeds": 2,
        "held_out": 500,
    },
    "standard": {
        "vanilla-sigma_w": (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.3, 1.5),
        "minimal-mu_b": (-4.0, -2.0, 0.0, 1.0, 2.0, 2.75, 3.5, 4.5, 5.5, 8.0),
        "minimal-sigma_w": (1.0, 5.0, 6.0, 7.0, 8.0, 9.0),
        "lengths": (2, 4, 8, 16, 32, 64, 128, 256, 512, 1000),
        "steps": 2000,
        "seeds": 3,
        "held_out": 500,
    },
    "full": {
        "vanilla-sigma_w": tuple(np.linspace(0.5, 1.5, 21).round(3).tolist()),
        "minimal-mu_b": tuple(np.linspace(-4.0, 8.0, 25).tolist()),
        "minimal-sigma_w": tuple(np.linspace(1.0, 10.0, 19).tolist()),
        "lengths": (5, 10, 20, 40, 80, 160, 320, 640, 1000),
        "steps": 10_000,
        "seeds": 5,
        "held_out": 2000,
    },
}
SWEEPS = ("vanilla-sigma_w", "minimal-mu_b", "minimal-sigma_w")
N, BATCH = 100, 32
MU_OF_SIGMA_SWEEP = 4.0  # where ξ is neither tiny nor beyond the longest T, so that σ_w can make a difference
LEARNED = 0.5  # accuracy with which a digit counts as remembered; chance is 0.1


def list_cases(size: str) -> list[core.Case]:
    """One case for each sweep and each value."""
    own = SIZES[size]
    shared = {name: own[name] for name in ("steps", "seeds", "held_out")} | {"lengths": list(own["lengths"])}
    shared |= {"size": size, "N": N, "batch": BATCH, "seed": 7, "weights": "orthogonal"}
    fixed = {
        "vanilla-sigma_w": VANILLA,
        "minimal-mu_b": {**MINIMAL, "sigma_w": 6.88},
        "minimal-sigma_w": {**MINIMAL, "mu_b": MU_OF_SIGMA_SWEEP},
    }
    return [
        core.Case(f"{sweep}-{value:g}", {"sweep": sweep, "value": value, **shared, **fixed[sweep]})
        for sweep in SWEEPS
        for value in own[sweep]
    ]


def ensemble(settings: dict[str, Any], Sigma: float = 0.0) -> rt.Ensemble:
    """The random network of a case; Σ is the correlation of two inputs after the digit."""
    given: dict[str, Any] = settings | {settings["sweep"].partition("-")[2]: settings["value"]}
    names = ("sigma_w", "sigma_v", "mu_b", "R", "weights")
    return rt.Ensemble(settings["cell"], Sigma=Sigma, **{name: given[name] for name in names})


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Steps to learn at longer and longer T; ξ for independent noise (Σ = 0) and for equal noise (Σ = 1).

    The first length that no seed learns is the last one.
    """
    settings = case.settings
    theory: dict[str, float] = {}
    for Sigma in (0, 1):
        field = rt.mean_field(ensemble(settings, float(Sigma)))
        if not field.converged or not np.isfinite(field.timescale):
            raise RuntimeError(f"{case.key}: no finite time scale with Sigma = {Sigma} ({field!r})")
        theory[f"xi_Sigma{Sigma}"] = float(field.timescale)
    source = training.digits(settings["size"])
    needed: list[np.ndarray] = []
    start = time.process_time()
    for T in settings["lengths"]:
        needed.append(train(settings, T, source))
        if np.isinf(needed[-1]).all():
            break
    arrays = {"T": np.array(settings["lengths"][: len(needed)]), "steps": np.array(needed)}
    arrays["seconds"] = np.array(time.process_time() - start)
    return {"theory": theory, "training": training.provenance(), "data": source.name}, arrays


def train(settings: dict[str, Any], T: int, source: data.Digits) -> np.ndarray:
    """Steps of Adam until the network of a seed is `LEARNED` at its best rate, (seeds,); inf: never.

    Measured at `training.marks` on sequences of T steps; training ends when every seed has learned. All
    networks see the same digits of ``source`` and the same noise.
    """
    import torch

    from validation.networks import side_by_side

    where = training.device()
    own, held_out = training.scaled(
        training.digit_vectors(source.train_images), training.digit_vectors(source.test_images), R_DIGIT
    )
    seeds = [settings["seed"] + index for index in range(settings["seeds"])]
    ens, size = ensemble(settings), settings["N"]
    nets = [training.recurrent(ens, own.shape[1], size, seed) for seed in seeds]
    outs = [training.readout(size, training.CLASSES, seed) for seed in seeds]
    runs = [(k, rate) for k in range(len(seeds)) for rate in settings["rates"]]
    starts = [nets[k] for k, _ in runs], [outs[k] for k, _ in runs]
    group = side_by_side.Networks.of(*starts, [rate for _, rate in runs], where)
    inputs, labels = torch.from_numpy(own).to(where), torch.from_numpy(source.train_labels).to(where)
    choose = _random.stream(settings["seed"], training.BATCHES, T)
    noise = torch.Generator(device=where).manual_seed(1000 * settings["seed"] + T)
    deviation = settings["R"] ** 0.5

    def sequences(first: Any) -> Any:
        """Digits (1, 1, B, inputs) with noise after them."""
        later = torch.randn((1, T - 1, *first.shape[2:]), generator=noise, device=where, dtype=first.dtype)
        return torch.cat([first, later.mul_(deviation)], dim=1)

    order = _random.stream(settings["seed"], training.HELD_OUT).permutation(len(held_out))
    tested = order[: settings["held_out"]]  # the digits of a small set lie in the order of their classes
    shown = torch.from_numpy(held_out[tested]).to(where)[:, None]
    wanted = torch.from_numpy(source.test_labels[tested]).to(where)
    needed, at = np.full(len(seeds), np.inf), set(training.marks(settings["steps"]))
    for step in range(1, settings["steps"] + 1):
        rows = torch.from_numpy(choose.integers(len(labels), size=settings["batch"])).to(where)
        answers = labels[rows].expand(len(runs), 1, -1)
        group.update(group.losses(sequences(inputs[rows][None, None]), answers))
        if step not in at:
            continue
        found = side_by_side.accuracies(
            lambda first: group.scores(sequences(first)), shown, wanted, part=training.TESTED
        )
        for (k, _), accuracy in zip(runs, found.tolist(), strict=True):
            needed[k] = min(needed[k], step if accuracy >= LEARNED else np.inf)
        slots = [slot for slot, (k, _) in enumerate(runs) if np.isinf(needed[k])]
        if not slots:
            break
        if len(slots) < len(runs):
            runs = [runs[slot] for slot in slots]
            group.keep(slots)
    return needed
