"""The state h = 0 of a network with tied weights: whether it exists, and how differences grow there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from rmtrnn._core import random as _random
from rmtrnn.ensemble import Ensemble


@dataclass(frozen=True)
class ZeroSettings:
    """Numbers of the test of the zero state."""

    # Sites with random inputs and pre-activations that must all stay at zero: a cell that leaves zero does so
    # at almost every site.
    probes: int = 64
    # Frequencies of half a turn on which the largest gain is looked for. Derived: the gain of a linear
    # recursion is smooth, and its largest value errs by the square of the step.
    frequencies: int = 257


_ZERO = ZeroSettings()


def zero_state_growth(ens: Ensemble) -> float | None:
    """χ of the state h = 0 with tied weights; None if h = 0 is no state, or its linearisation varies.

    At h = 0 every site has the same a, b, c. A difference with time dependence z^t, z = μ e^{iω}, grows from
    gate j to what gate k reads by G_kj(z), and Σ_j |G_kj|² σ_j² M_j = M_k has a solution where the spectral
    radius of that matrix is 1 at the worst ω. χ = μ². One gate: μ = a + σ_w b; GRU and LSTM: the conditions
    of Can, Krishnamurthy, Schwab (2020).
    """
    linear = _step_at_zero(ens)
    if linear is None:
        return None
    A, B, C, D, gain = linear
    own = float(np.max(np.abs(np.linalg.eigvals(A)))) if A.size else 0.0
    turn = np.exp(1j * np.linspace(0.0, np.pi, _ZERO.frequencies))

    def excess(log_mu: float) -> float:
        z = np.exp(log_mu) * turn
        resolvent = np.linalg.inv(z[:, None, None] * np.eye(len(A)) - A)
        G = C @ resolvent @ B + D
        radius = np.max(np.abs(np.linalg.eigvals(np.abs(G) ** 2 * gain)))
        return float(np.log(max(radius, 1e-300)))

    low, high = np.log(max(own * (1.0 + 1e-9), 1e-12)), np.log(max(own, 1.0))
    if excess(low) <= 0.0:
        return own**2
    while excess(high) > 0.0:
        high += 1.0
    root: Any = brentq(excess, low, high, xtol=1e-13)
    return float(np.exp(2.0 * root))


def _step_at_zero(ens: Ensemble) -> tuple[np.ndarray, ...] | None:
    """One step as δh' = A δh + B δe, δr = C δh + D δe, and σ_w² of the gates; None if it is not constant."""
    rng = _random.stream(0, 53)
    site = np.zeros((len(ens.cell.state), _ZERO.probes))
    x = ens.input_quantile(rng.uniform(0.01, 0.99, _ZERO.probes)) if ens.R > 0 else np.zeros(_ZERO.probes)
    laws = [ens.gate(name) for name in ens.cell.gates]
    spread = np.array([np.sqrt(law.sigma_v**2 * ens.R + law.sigma_b**2) for law in laws])
    e = np.array([law.mu_b for law in laws])[:, None] + spread[:, None] * rng.standard_normal(
        (len(laws), _ZERO.probes)
    )
    s, K = len(ens.cell.state), len(laws)
    state, drive = np.eye(s), np.zeros((s, K))  # δ of what a stage takes, in δh and δe
    C, D = np.zeros((K, s)), np.zeros((K, K))
    first = 0
    for definition, stage in zip(ens.cell.stages, ens.cell.numeric(np).stages, strict=True):
        gates = slice(first, first + len(definition.gates))
        if np.any(stage.read(site) != 0.0):
            return None
        parts = stage.linearize(site, x, e[gates])
        if any(part.size and np.any(np.ptp(part, axis=-1) > 0.0) for part in parts):
            return None
        a, b, c = (part[..., 0] for part in parts)
        C[gates], D[gates] = c @ state, c @ drive
        own = np.zeros((len(a), K))
        own[:, gates] = b.T
        state, drive = a @ state, a @ drive + own
        site = stage.update(site, x, e[gates])
        first = gates.stop
    if np.any(site != 0.0):
        return None
    return state, drive, C, D, np.array([law.sigma_w**2 for law in laws])
