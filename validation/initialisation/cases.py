"""Training of cells from five initialisations."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import random as _random
from rmtrnn.initialisation.layouts import framework_ensemble
from validation import core

CELLS = ("gru", "lstm")
METHODS = ("default", "orthogonal, bias 1", "chrono", "critical", "initialize")
FORGET = {"gru": "u", "lstm": "f"}
BLOCKS = {"gru": "ruc", "lstm": "ifgo"}
VARIANCE = 1.0 / 6.0  # of the sum of two uniform numbers
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"T": 60, "N": 32, "batch": 32, "steps": 500, "search": 150, "rates": [0.003, 0.01], "seeds": 2},
}


def list_cases(size: str) -> list[core.Case]:
    """One case for each cell and initialisation."""
    return [
        core.Case(f"{cell} {method}", {"cell": cell, "method": method, **SIZES[size], "seed": 4000})
        for cell in CELLS
        for method in METHODS
    ]


def batch(rng: np.random.Generator, T: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised inputs (T, count, 2) and the answers (count,)."""
    value, marker = rng.random((T, count)), np.zeros((T, count))
    half = T // 2
    marker[rng.integers(half, size=count), np.arange(count)] = 1.0
    marker[half + rng.integers(T - half, size=count), np.arange(count)] = 1.0
    share = 2.0 / T
    x = np.stack(
        [(value - 0.5) * math.sqrt(12.0), (marker - share) / math.sqrt(share * (1 - share))], axis=-1
    )
    return x.astype(np.float32), (value * marker).sum(axis=0).astype(np.float32)


def ensemble(cell: str, method: str, T: int) -> Any:
    """What a method draws from; None for what PyTorch draws itself."""
    if method == "initialize":
        return rt.initialize(cell, T)
    if method == "critical":
        means = {gate: float(gate == FORGET[cell]) for gate in rt.Ensemble(cell).cell.gates}
        free = {"sigma_w": (0.5, 6.0)}
        point = rt.critical(cell, T, weights="orthogonal", sigma_v=0.5, mu_b=means, free=free)
        return framework_ensemble(point.ensemble.replace(tied=True))
    return None


def module(settings: dict[str, Any], source: Any, seed: int) -> tuple[Any, Any]:
    """The recurrent module and its readout."""
    import torch

    from rmtrnn import torch as rt_torch

    torch.manual_seed(seed)
    cell, method, N = settings["cell"], settings["method"], settings["N"]
    net = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](2, N)
    readout = torch.nn.Linear(N, 1)
    rng = _random.stream(seed, 71)
    if source is not None:
        rt_torch.initialize_(net, source, rng)
    elif method != "default":
        rows = {gate: slice(k * N, (k + 1) * N) for k, gate in enumerate(BLOCKS[cell])}
        with torch.no_grad():
            for part in rows.values():
                torch.nn.init.orthogonal_(net.weight_hh_l0[part])
            net.bias_ih_l0.zero_()
            net.bias_hh_l0.zero_()
            times = torch.from_numpy(np.log(rng.uniform(1.0, settings["T"] - 1.0, N)))
            net.bias_ih_l0[rows[FORGET[cell]]] = times.float() if method == "chrono" else 1.0
            if method == "chrono" and cell == "lstm":
                net.bias_ih_l0[rows["i"]] = -times.float()
    return net, readout


def train(settings: dict[str, Any], source: Any, seed: int, rate: float, steps: int) -> np.ndarray:
    """Losses (steps,); nan from where a loss is not finite."""
    import torch

    torch.set_num_threads(1)
    net, readout = module(settings, source, seed)
    parameters = [*net.parameters(), *readout.parameters()]
    optimiser, rng = torch.optim.Adam(parameters, rate), _random.stream(seed, 72)
    losses = np.full(steps, np.nan)
    for step in range(steps):
        x, y = (torch.from_numpy(part) for part in batch(rng, settings["T"], settings["batch"]))
        loss = torch.mean((readout(net(x)[0][-1])[:, 0] - y) ** 2)
        losses[step] = loss.item()
        if not math.isfinite(losses[step]):
            break
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return losses


def smooth(losses: np.ndarray) -> np.ndarray:
    """Means over the last 20 steps."""
    return np.array([losses[max(k - 19, 0) : k + 1].mean() for k in range(len(losses))])


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """The rate from the grid, then the curves of all seeds."""
    import torch

    settings, start = case.settings, time.process_time()
    source = ensemble(settings["cell"], settings["method"], settings["T"])
    ends = [
        smooth(train(settings, source, settings["seed"] + 999, rate, settings["search"]))[-1]
        for rate in settings["rates"]
    ]
    rate = settings["rates"][int(np.argmin(np.where(np.isfinite(ends), ends, np.inf)))]
    seeds = range(settings["seed"], settings["seed"] + settings["seeds"])
    curves = np.array([train(settings, source, seed, rate, settings["steps"]) for seed in seeds])
    reached = [
        int(np.argmax(good)) if (good := smooth(curve) < VARIANCE / 2).any() else -1 for curve in curves
    ]
    meta = {"rate": rate, "steps to target": reached, "torch": str(torch.__version__)}
    meta |= {
        "last loss": [float(smooth(curve)[-1]) for curve in curves],
        "seconds": time.process_time() - start,
    }
    return meta, {"losses": curves.astype(np.float32)}
