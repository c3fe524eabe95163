"""Weights U diag(s) Vᵀ as two Haar matrices with a site between them: theory.md (25).

A gate σ b (U diag(s) Vᵀ) c of a stage (1) is a chain of two stages, whose only weight matrices are Haar:

    y = Vᵀ (c · x),      x' = a x + σ b · U (s y).                                                      (*)

s is one more number of a site, independent of all else. So any law of the singular values takes the
functional of Haar weights, and the branches of its own S-transform never appear. Tied weights have one U, V
and s. (R-diagonal elements are such products: Nica and Speicher 2006, lecture 15.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.dyson.pencil import Stage
from rmtrnn.weight_laws import SingularValues


def haar_factors(
    stages: Sequence[Stage], seed: int, *, groups: int, per_step: int | None = None
) -> list[Stage]:
    """Return the stages with every gate whose `Stage.singular` is a law replaced by (*).

    stages : over sites in ``groups`` equal independent groups, one after the other
    seed : integer, names the sites that the values s go to: quantiles of the law in each group, in random
        order, so that E[s²] is exact in each
    per_step : stages of a step, where the weights are tied: then a site has the same s at every step

    Stages without such a gate are returned as they are.
    """
    found: list[Stage] = []
    for position, stage in enumerate(stages):
        drawn = position if per_step is None else position % per_step
        found += _factored(stage, seed, drawn, groups)
    return found


def _factored(stage: Stage, seed: int, position: int, groups: int) -> list[Stage]:
    laws = {k: law for k, law in enumerate(stage.singular) if law is not None}
    if not laws:
        return [stage]
    s_in, n = stage.a.shape[1:]
    width = s_in + len(laws)
    into = np.zeros((width, s_in, n))
    into[:s_in] = np.eye(s_in)[:, :, None]
    unit = np.zeros((len(laws), width, n))
    a, c = (_widened(matrix, len(laws)) for matrix in (stage.a, stage.c))
    for j, (k, law) in enumerate(laws.items()):
        unit[j, s_in + j] = 1.0
        c[k] = 0.0
        c[k, s_in + j] = _site_values(law, n, groups, (seed, position, k))
    orthogonal = tuple(flag or k in laws for k, flag in enumerate(stage.orthogonal))
    ones = (1.0,) * len(laws)
    return [
        Stage(into, unit, stage.c[list(laws)], ones, (True,) * len(laws)),
        Stage(a, stage.b, c, stage.sigma2, orthogonal),
    ]


def _widened(matrix: np.ndarray, count: int) -> np.ndarray:
    """The matrices, sites last, with ``count`` columns of zeros more."""
    return np.pad(matrix, ((0, 0), (0, count), (0, 0)))


def _site_values(law: SingularValues, n: int, groups: int, key: tuple[int, int, int]) -> np.ndarray:
    """Quantiles of the law over each group of sites, in random order."""
    quantiles = law.quantiles(n // groups)
    streams = [_random.stream(key[0], 37, *key[1:], group) for group in range(groups)]
    return np.concatenate([stream.permutation(quantiles) for stream in streams])
