"""Weights of sites with which a population grows as the mean field says: E s² = χ^t after every t steps.

The mean squared singular value is made up by few sites, and the finite population misses some of them or has
some too many. After t steps a site adds x_t = tr U_t to it (see `recursive_green` at 1/λ = 0), and where
the growth chi of one step is exact, theory.md (6), E x_t = χ^t is known. So the sites get weights, as near
to equal ones as can be, with which this holds: hardly any site of the bulk changes its weight.

What the weight matrices of a step read grows with E x_t. It is taken relative to that, times the known χ^t:
then the x_t do not depend on the weights (of one stage; of several, hardly), and nothing compounds in time.

Letters: u = log s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.pencil import Stage
from rmtrnn.dyson.sites.subsampling import exponential_tilting


@dataclass(frozen=True)
class CalibrationSettings:
    """Numbers of the calibration."""

    # Steps at which the growth is held, the last among them; conditions times sites, at most: 128 MiB.
    most_conditions: int = 128
    most_elements: int = 2**24
    # Rounds, and the relative error of the growth that ends them: with several stages the weights change what
    # the gates read, and that the growth.
    rounds: int = 8
    close: float = 1e-6
    # Standard deviation of n times the weights, at most. Empirical: beyond, sites are too few, and weights
    # would only hide it.
    largest_spread: float = 0.1


_CALIBRATION = CalibrationSettings()


def growth_weights(stages: Sequence[Stage], T: int, chi: float) -> np.ndarray:
    """Calibrate weights (n,) of the sites of ``T`` equal steps, one state component, so that E x_t = χ^t.

    Equal ones where these would differ much: then the sites are too few to grow as they should, and weights
    would only hide it.
    """
    n = stages[0].a.shape[2]
    weights = np.full(n, 1.0 / n)
    conditions = min(T, _CALIBRATION.most_conditions, max(1, _CALIBRATION.most_elements // n))
    at = np.unique(np.linspace(T - 1, 0, conditions).round().astype(int))
    for _ in range(_CALIBRATION.rounds):
        growth = _site_growth(stages, T, chi, weights, at)
        if np.abs(growth @ weights - 1.0).max() < _CALIBRATION.close:
            break
        weights = exponential_tilting(growth, weights, np.ones(len(at)))
    spread = float(np.std(n * weights))
    return (
        weights if spread < _CALIBRATION.largest_spread else np.full(n, 1.0 / n)
    )  # nan: the weights did not settle


def _site_growth(
    stages: Sequence[Stage], T: int, chi: float, weights: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """x_t/χ^t of every site after the steps ``at``, with the readings that ``weights`` give."""
    per_step = len(stages) // T
    u = np.ones((1, 1, len(weights)))
    kept = []
    grown = 1.0
    for position, stage in enumerate(stages):
        if position % per_step == 0:
            grown = float(u[0, 0] @ weights)  # 1 if the weights are right
        after = _outer(stage.a, u)
        for b, c, variance in zip(stage.b, stage.c, stage.sigma2, strict=True):
            reading = float(np.einsum("in,ijn,jn->n", c, u, c) @ weights)
            after = after + variance * reading / grown * b[:, None] * b[None, :]
        u = after
        if position % per_step == per_step - 1:
            u = u / chi
            if position // per_step in at:
                kept.append(u[0, 0])
    return np.array(kept)


def _outer(a: np.ndarray, u: np.ndarray) -> np.ndarray:
    """a u a^T at every site."""
    if a.shape[:2] == (1, 1):
        return a**2 * u
    return np.einsum("ikn,kln,jln->ijn", a, u, a, optimize=True)
