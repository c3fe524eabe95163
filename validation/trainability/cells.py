"""The grid of trained networks: one case for each hyperparameter, one kept trial for each sequence length."""

from __future__ import annotations

from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn import _random
from validation import study, training

R_DIGIT = 0.46  # second moment of the digit's entries
# The noise after the digit is the input that the theory's R describes. For the vanilla cell it is weak: its
# state adds the noise of all steps up, so that strong noise buries a digit whatever the time scale is.
# For minimalRNN it has the digit's own strength, the paper's R.
VANILLA = {"cell": "vanilla", "sigma_v": 0.025, "mu_b": 0.0, "R": 0.01, "rate": 1e-3}
MINIMAL = {"cell": "minimal", "sigma_v": 1.39, "R": R_DIGIT, "rate": 1e-2}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "vanilla-sigma_w": (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.3, 1.5),
        "minimal-mu_b": (-4.0, -2.0, 0.0, 2.0, 3.5, 4.5, 5.5, 8.0),
        "minimal-sigma_w": (1.0, 3.0, 5.0, 7.0, 9.0),
        "T": (5, 10, 20, 40, 80),
        "steps": 150,
    },
    "full": {
        "vanilla-sigma_w": tuple(np.linspace(0.5, 1.5, 21).round(3).tolist()),
        "minimal-mu_b": tuple(np.linspace(-4.0, 8.0, 25).tolist()),
        "minimal-sigma_w": tuple(np.linspace(1.0, 10.0, 19).tolist()),
        "T": (5, 10, 20, 40, 80, 160, 320, 640, 1000),
        "steps": 2000,
    },
}
SWEEPS = ("vanilla-sigma_w", "minimal-mu_b", "minimal-sigma_w")
N, BATCH = 100, 32
MU_OF_SIGMA_SWEEP = 4.0  # where ξ is neither tiny nor beyond the longest T, so that σ_w can make a difference


def list_cases(size: str) -> list[study.Case]:
    """One case for each value of each sweep; the order visits all sweeps evenly."""
    own = SIZES[size]
    listed = []
    for sweep in SWEEPS:
        name = sweep.partition("-")[2]
        for position, value in enumerate(own[sweep]):
            settings: dict[str, Any] = {"sweep": sweep, "value": value, "size": size, "N": N, "batch": BATCH}
            settings |= {"T": list(own["T"]), "steps": own["steps"], "seed": 7, "weights": "orthogonal"}
            if sweep == "vanilla-sigma_w":
                settings |= {**VANILLA, name: value}
            elif sweep == "minimal-mu_b":
                settings |= {**MINIMAL, "sigma_w": 6.88, name: value}
            else:
                settings |= {**MINIMAL, "mu_b": MU_OF_SIGMA_SWEEP, name: value}
            listed.append((position / len(own[sweep]), study.Case(f"{sweep}-{value:g}", settings)))
    return [case for _, case in sorted(listed, key=lambda pair: pair[0])]


def ensemble(settings: dict[str, Any], Sigma: float = 0.0) -> rt.Ensemble:
    """The random network of a case; Σ is the correlation of two inputs after the digit."""
    names = ("sigma_w", "sigma_v", "mu_b", "R", "weights")
    return rt.Ensemble(settings["cell"], Sigma=Sigma, **{name: settings[name] for name in names})


def compute(case: study.Case, workers: study.Workers) -> study.Result:
    """Train for every T; the theory's ξ for independent noise (Σ = 0) and for equal noise (Σ = 1)."""
    settings = case.settings
    lengths = settings["T"]
    theory = {}
    for Sigma in (0, 1):
        field = rt.mean_field(ensemble(settings, float(Sigma)))
        if not field.converged or not np.isfinite(field.timescale):
            raise RuntimeError(f"{case.key}: no finite time scale at Sigma = {Sigma} ({field!r})")
        theory[f"xi_Sigma{Sigma}"] = float(field.timescale)
    found = np.array(training.sweep(train_cell, f"trainability-{case.key}", settings, len(lengths), workers))
    arrays = {"T": np.array(lengths), "accuracy": found[:, 0], "loss": found[:, 1], "seconds": found[:, 2]}
    return {"theory": theory, "training": training.provenance()}, arrays


def train_cell(settings: dict[str, Any], index: int) -> np.ndarray:
    """Train one network for the ``index``-th length; return (test accuracy, last loss, seconds)."""
    import torch

    length, seed, size = settings["T"][index], settings["seed"], settings["N"]
    where = training.device()
    source = training.digits(settings["size"])
    own, held_out = training.scaled(
        training.digit_vectors(source.train_images), training.digit_vectors(source.test_images), R_DIGIT
    )
    model = torch.nn.ModuleDict(
        {
            "cell": training.recurrent(ensemble(settings), own.shape[1], size, seed),
            "out": training.readout(size, training.CLASSES, seed),
        }
    ).to(where)
    inputs, labels = torch.from_numpy(own).to(where), torch.from_numpy(source.train_labels).to(where)
    choose = _random.stream(seed, training.BATCHES, index)
    noise = torch.Generator(device=where).manual_seed(1000 * seed + index)
    deviation = settings["R"] ** 0.5

    def scores(first: Any) -> Any:
        later = torch.randn(
            (length - 1, len(first), first.shape[1]), generator=noise, device=where, dtype=first.dtype
        )
        _, state = model["cell"](torch.cat([first[None], deviation * later]))
        return model["out"](state[0])

    last = float("nan")

    def loss_of() -> Any:
        nonlocal last
        rows = torch.from_numpy(choose.integers(len(labels), size=settings["batch"])).to(where)
        loss = torch.nn.functional.cross_entropy(scores(inputs[rows]), labels[rows])
        last = loss.item()
        return loss

    seconds = training.train(model, loss_of, settings["steps"], settings["rate"])
    with torch.no_grad():
        guesses = [scores(part).argmax(1) for part in torch.from_numpy(held_out).to(where).split(500)]
    right = torch.cat(guesses).cpu().numpy() == source.test_labels
    return np.array([right.mean(), last, seconds])
