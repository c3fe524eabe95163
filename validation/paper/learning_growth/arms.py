"""Where the networks of the learning study begin: the published point, measured growths, and this package's.

The growth of a network on data is how fast its gradient grows per step backwards,

    λ = ⟨log ‖∂ℓ/∂h^0‖ − log ‖∂ℓ/∂h^T‖⟩ / T,

over digits and random directions ∂ℓ/∂h^T. Theory is for inputs that are independent in time; the pixels of a
digit are not. So "critical" is also the σ_w at which λ, measured on the data, is 0. Networks of equal σ_w
scatter in λ (minimalRNN, N = 50: −0.05 and −0.01 at the published point), so each network gets its own σ_w.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq

import rmtrnn as rt
from rmtrnn._core import random as _random
from validation.paper import training

GROWTHS = {
    "growth 0": 0.0,
    "growth -0.05": -0.05,
    "growth 0.05": 0.05,
    "growth -0.1": -0.1,
    "growth 0.1": 0.1,
}
ARMS = ("published", *GROWTHS, "critical", "initialize")
# The published σ_v at μ_b = 0, R = 0.46. σ_w: published for minimalRNN, by χ = 1 for vanilla cells.
PUBLISHED: dict[str, dict[str, float]] = {
    "vanilla": {"sigma_v": 0.025},
    "minimal": {"sigma_v": 1.39, "sigma_w": 6.88},
}
R = 0.46  # second moment of what the cell reads
# Multiples of the published σ_w among which a growth is looked for, by steps of the given factor.
REACH, STEP = 4.0, 1.2
DIRECTIONS = 5  # stream of the directions of gradients
DIGITS = 64  # sequences over which a growth is averaged


def published(cell: str, weights: str) -> rt.Ensemble:
    """The published point; for vanilla cells χ = 1 at the published σ_v."""
    given: dict[str, Any] = {"sigma_w": 1.0} | PUBLISHED[cell]
    ens = rt.Ensemble(cell, **given, mu_b=0.0, R=R, weights=weights)
    if "sigma_w" in PUBLISHED[cell]:
        return ens
    return ens.replace(sigma_w=training.critical_gain(ens, 0.9, 1.4))


def begins(arm: str, cell: str, weights: str, T: int, growth: Callable[[rt.Ensemble], float]) -> Any:
    """The ensemble of an arm, or None where no σ_w within `REACH` has the growth asked for.

    growth : λ of the network that an ensemble gives with the seed at hand
    """
    if arm == "critical":
        return rt.critical(cell, T, weights=weights, R=R, tied=True).ensemble
    if arm == "initialize":
        return rt.initialize(cell, T, weights=weights, R=R).ensemble
    ens = published(cell, weights)
    if arm == "published":
        return ens
    centre = float(ens.gate(ens.cell.gates[0]).sigma_w)

    def excess(log_factor: float) -> float:
        return growth(ens.replace(sigma_w=centre * math.exp(log_factor))) - GROWTHS[arm]

    last, value = 0.0, excess(0.0)
    step = -math.copysign(math.log(STEP), value)  # λ grows with σ_w
    while abs(last + step) <= math.log(REACH):
        after = excess(last + step)
        if after * value <= 0.0:
            found: Any = brentq(excess, *sorted((last, last + step)), xtol=1e-3)
            return ens.replace(sigma_w=centre * math.exp(found))
        last, value = last + step, after
    return None


def module_growth(net: Any, x: np.ndarray, seed: int = 0) -> float:
    """λ of one module over the sequences ``x`` (n, T, inputs) and one random direction for each."""
    parts = {name: value.detach().double().numpy() for name, value in net.named_parameters()}
    W, gated = parts["weight_hh_l0"], "embeddings.0.weight" in parts
    z = x.astype(float)
    if gated:
        z = np.tanh(z @ parts["embeddings.0.weight"].T + parts["embeddings.0.bias"])
    drive = z @ parts["weight_ih_l0"].T + parts["bias_l0"]
    h = np.zeros((len(x), len(W)))
    kept, weighted = [], []  # J = diag(kept) + diag(weighted) W at each step
    for t in range(x.shape[1]):
        e = drive[:, t] + h @ W.T
        if gated:
            u = 1.0 / (1.0 + np.exp(-e))
            kept.append(u)
            weighted.append(u * (1.0 - u) * (h - z[:, t]))
            h = u * h + (1.0 - u) * z[:, t]
        else:
            h = np.tanh(e)
            kept.append(0.0)
            weighted.append(1.0 - h**2)
    g = _random.stream(seed, DIRECTIONS).standard_normal(h.shape)
    g /= np.linalg.norm(g, axis=1)[:, None]
    total = np.zeros(len(x))
    for own, factor in zip(reversed(kept), reversed(weighted), strict=True):
        g = own * g + (factor * g) @ W
        norms = np.linalg.norm(g, axis=1)
        total += np.log(np.maximum(norms, np.finfo(float).tiny))
        g /= np.maximum(norms, np.finfo(float).tiny)[:, None]
    return float(total.mean() / x.shape[1])


def drawn(arm: str, settings: dict[str, Any], x: np.ndarray, seed: int) -> tuple[rt.Ensemble | None, Any]:
    """The ensemble and the module of an arm with one seed; both None where it cannot be placed."""
    N = settings["N"]

    def growth(ens: rt.Ensemble) -> float:
        return module_growth(training.digit_network(ens, x, N, seed), x[:DIGITS])

    ens = begins(arm, settings["cell"], settings["weights"], settings["T"], growth)
    return ens, None if ens is None else training.digit_network(ens, x, N, seed)
