"""Best initialisations in closed form: one constant gate, and vanilla cells.

One gate that forgets a share δ per step, with weak recurrence (leaky, minimalRNN):
∂h^T/∂x^{T−k} ∝ (1 − δ)^k δ, smallest at k = T. (1 − δ)^T δ is largest at

    δ = 1/(T + 1),    for 1 − u = δ, u = σ(μ_b):  μ_b = log T,

the chrono bias (Tallec and Ollivier 2018), and is e^−1/T for long T. If a share f of the units is fast, the
mean square I_T is (1 − f) e^−2/T². Biases log U, U uniform from 1 to T, make the time scales τ uniform, and

    I_T = T^−1 ∫ τ^−2 e^(−2T/τ) dτ = e^−2/(2 T²),

as much as f = 1/2 does.

Vanilla cells: I_k = σ_v² E[φ'²] χ^k. At a given variance q of the pre-activation, σ_w² = χ/E[φ'²] and
σ_v² R = q − σ_b² − σ_w² E[φ²]: larger χ lowers I_0 and raises I_T/I_0 = χ^T, so that min(I_0, I_T) is
largest at χ = 1, the published critical point

    σ_w² = 1/E[φ'²],    σ_v² R = q − σ_b² − σ_w² E[φ²].

Best is then the largest q at which the typical singular value over T steps, exp T (log σ_w + E log |φ'|),
still reaches its limit, and the spread √q its own.

Letters: T, the number of steps; q, the variance of the pre-activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn.initialisation.space import Space
from rmtrnn.initialisation.vanilla import VanillaField


@dataclass(frozen=True)
class LineSettings:
    """Points of the critical line on which the best is looked for."""

    # Smallest q. Derived: the network is linear there, (σ_w E[φ']) = 1 to eight digits.
    smallest_q: float = 1e-8
    # Steps of q, evenly spaced in log q. Derived: neighbours differ by 5 %, and the objective is flat on top.
    steps: int = 400


_LINE = LineSettings()


def forgetting_rate(T: int) -> float:
    """The best share of its state that a unit forgets per step, 1/(T + 1)."""
    return 1.0 / (_validate.integer("T", T, low=1) + 1.0)


def chrono_bias(T: int) -> float:
    """The mean of the pre-activation of a logistic gate that keeps T/(T + 1) of a state: log T."""
    return math.log(_validate.integer("T", T, low=1))


def vanilla_place(space: Space, T: int) -> np.ndarray | None:
    """x (d,) of the best vanilla network, where σ_w and σ_v are free and the limits can be met; else None.

    A free mean is 0, or as near as its bounds allow, and a free spread of the biases as small as can be.
    """
    free = {one.name: one for one in space.free}
    if not {"sigma_w", "sigma_v"} <= free.keys() or space.base.R == 0.0:
        return None
    field = VanillaField(space.base, T)
    mu = float(np.clip(0.0, free["mu_b"].low, free["mu_b"].high)) if "mu_b" in free else space.kept.mu_b[0]
    sigma_b = free["sigma_b"].low if "sigma_b" in free else space.kept.sigma_b[0]
    q = np.geomspace(_LINE.smallest_q, space.spread**2, _LINE.steps)
    sigma_w, sigma_v, typical = field.critical_line(np.full(_LINE.steps, mu), q, sigma_b)
    low_w, high_w = free["sigma_w"].low, free["sigma_w"].high
    low_v, high_v = free["sigma_v"].low, free["sigma_v"].high
    with np.errstate(invalid="ignore"):
        allowed = (sigma_w >= low_w) & (sigma_w <= high_w) & (sigma_v >= low_v) & (sigma_v <= high_v)
        meets = allowed & (T * typical >= math.log(max(space.s[0], 1e-300)))
    if not meets.any() or space.s[1] < 1.0:
        return None
    chosen = np.flatnonzero(meets)[-1]
    values = {"mu_b": mu, "sigma_b": sigma_b, "sigma_w": sigma_w[chosen], "sigma_v": sigma_v[chosen]}
    return np.array([one.coordinate(values[one.name]) for one in space.free])
