"""The grid of trained networks: one case for each sweep and sequence length, all values trained together."""

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
VANILLA = {"cell": "vanilla", "sigma_v": 0.025, "mu_b": 0.0, "R": 0.01, "rate": 1e-3}
MINIMAL = {"cell": "minimal", "sigma_v": 1.39, "R": R_DIGIT, "rate": 1e-2}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "vanilla-sigma_w": (0.5, 0.8, 0.9, 1.0, 1.1, 1.3),
        "minimal-mu_b": (-4.0, -2.0, 0.0, 3.5, 5.5, 8.0),
        "minimal-sigma_w": (1.0, 3.0, 5.0, 7.0, 9.0),
        "T": (4, 8, 16, 32, 64),
        "steps": 100,
        "held_out": 1000,
    },
    "standard": {
        "vanilla-sigma_w": (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5),
        "minimal-mu_b": (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 2.75, 3.5, 4.5, 5.5, 6.5, 8.0),
        "minimal-sigma_w": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
        "T": (2, 4, 8, 16, 32, 64),
        "longer": {"minimal-sigma_w": (128,)},  # all of its networks remember a digit for long
        "steps": 200,
        "held_out": 2000,
    },
    "full": {
        "vanilla-sigma_w": tuple(np.linspace(0.5, 1.5, 21).round(3).tolist()),
        "minimal-mu_b": tuple(np.linspace(-4.0, 8.0, 25).tolist()),
        "minimal-sigma_w": tuple(np.linspace(1.0, 10.0, 19).tolist()),
        "T": (5, 10, 20, 40, 80, 160, 320, 640, 1000),
        "steps": 2000,
        "held_out": 10_000,
    },
}
SWEEPS = ("vanilla-sigma_w", "minimal-mu_b", "minimal-sigma_w")
N, BATCH = 100, 32
MU_OF_SIGMA_SWEEP = 4.0  # where ξ is neither tiny nor beyond the longest T, so that σ_w can make a difference


def list_cases(size: str) -> list[core.Case]:
    """One case for each sweep and each T: the networks of all values are trained together."""
    own = SIZES[size]
    shared = {name: own[name] for name in ("steps", "held_out")}
    shared |= {"size": size, "N": N, "batch": BATCH, "seed": 7, "weights": "orthogonal"}
    fixed = {
        "vanilla-sigma_w": VANILLA,
        "minimal-mu_b": {**MINIMAL, "sigma_w": 6.88},
        "minimal-sigma_w": {**MINIMAL, "mu_b": MU_OF_SIGMA_SWEEP},
    }
    return [
        core.Case(
            f"{sweep}-T{T}",
            {"sweep": sweep, "values": list(own[sweep]), "T": T, **shared, **fixed[sweep]},
        )
        for sweep in SWEEPS
        for T in (*own["T"], *own.get("longer", {}).get(sweep, ()))
    ]


def ensemble(settings: dict[str, Any], value: float, Sigma: float = 0.0) -> rt.Ensemble:
    """The random network of a case at one value; Σ is the correlation of two inputs after the digit."""
    given: dict[str, Any] = settings | {settings["sweep"].partition("-")[2]: value}
    names = ("sigma_w", "sigma_v", "mu_b", "R", "weights")
    return rt.Ensemble(settings["cell"], Sigma=Sigma, **{name: given[name] for name in names})


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """Train all values; the theory's ξ for independent noise (Σ = 0) and for equal noise (Σ = 1)."""
    settings = case.settings
    theory: dict[str, list[float]] = {}
    for Sigma in (0, 1):
        theory[f"xi_Sigma{Sigma}"] = own = []
        for value in settings["values"]:
            field = rt.mean_field(ensemble(settings, value, float(Sigma)))
            if not field.converged or not np.isfinite(field.timescale):
                raise RuntimeError(
                    f"{case.key}: no finite time scale at {value}, Sigma = {Sigma} ({field!r})"
                )
            own.append(float(field.timescale))
    source = training.digits(settings["size"])
    accuracy, loss, seconds = train(settings, source)
    arrays = {"accuracy": accuracy, "loss": loss, "seconds": np.array(seconds)}
    return {"theory": theory, "training": training.provenance(), "data": source.name}, arrays


def train(settings: dict[str, Any], source: data.Digits) -> tuple[np.ndarray, np.ndarray, float]:
    """Train a network for every value; return test accuracies, last losses, and the processor's seconds.

    All see the same digits of ``source`` and the same noise, and begin with the same random numbers in their
    weights.
    """
    import torch

    from validation.networks import side_by_side

    T, seed = settings["T"], settings["seed"]
    where = training.device()
    own, held_out = training.scaled(
        training.digit_vectors(source.train_images), training.digit_vectors(source.test_images), R_DIGIT
    )
    networks = [ensemble(settings, value) for value in settings["values"]]
    drawn = [training.recurrent(ens, own.shape[1], settings["N"], seed) for ens in networks]
    outs = [training.readout(settings["N"], training.CLASSES, seed) for _ in drawn]
    group = side_by_side.Networks.of(drawn, outs, [settings["rate"]] * len(drawn), where)
    inputs, labels = torch.from_numpy(own).to(where), torch.from_numpy(source.train_labels).to(where)
    choose = _random.stream(seed, training.BATCHES, T)
    noise = torch.Generator(device=where).manual_seed(1000 * seed + T)
    deviation = settings["R"] ** 0.5

    def sequences(first: Any) -> Any:
        """Digits (1, 1, B, inputs) with noise after them."""
        later = torch.randn((1, T - 1, *first.shape[2:]), generator=noise, device=where, dtype=first.dtype)
        return torch.cat([first, later.mul_(deviation)], dim=1)

    start, last = time.process_time(), torch.empty(0)
    for _ in range(settings["steps"]):
        rows = torch.from_numpy(choose.integers(len(labels), size=settings["batch"])).to(where)
        last = group.losses(sequences(inputs[rows][None, None]), labels[rows].expand(len(drawn), 1, -1))
        group.update(last)
    seconds = time.process_time() - start
    tested = slice(0, settings["held_out"])
    accuracy = side_by_side.accuracies(
        lambda first: group.scores(sequences(first)),
        torch.from_numpy(held_out[tested]).to(where)[:, None],
        torch.from_numpy(source.test_labels[tested]).to(where),
        part=training.TESTED,
    )
    return accuracy.cpu().numpy(), last.cpu().numpy().astype(float), seconds
