"""How long an untied law takes: one evaluation of Ψ, measured, times the number that a law needs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from rmtrnn.dyson.functional import distribution_and_density
from rmtrnn.dyson.negative_axis import first_guess
from rmtrnn.dyson.pencil import Chain
from rmtrnn.dyson.self_energy import SelfEnergy


@dataclass(frozen=True)
class Evaluations:
    """Numbers of evaluations at one point. Empirical, from ten laws of five cells, T = 1 to 60: the time that
    follows from them is right within a factor of two up to T = 16, and of four beyond. Nothing but the words
    that are shown depends on them."""

    on_all_sites: float = 150.0
    on_subsample: float = 1200.0


_EVALUATIONS = Evaluations()


def seconds_of_law(chain: Chain, subsample: int) -> float:
    """Estimate the time of the law of ``chain``, solved on ``subsample`` of its sites, evaluated on all."""
    log_lambda = np.array([chain.log_mean])
    guess = first_guess(chain, log_lambda)
    sigma = SelfEnergy(-1j * guess.y, 1j * guess.x)
    start = time.perf_counter()
    with np.errstate(all="ignore"):  # the guess solves nothing, only its time counts
        distribution_and_density(chain, sigma, log_lambda)
    one = time.perf_counter() - start
    share = min(subsample, chain.n) / chain.n
    return one * (_EVALUATIONS.on_all_sites + _EVALUATIONS.on_subsample * share)
