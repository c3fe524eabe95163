"""The pencil (12) of a chain of stages over weighted sites: its arrays, its scaling, its subsamples.

The variables of the pencil form a path y_0 - x_0 - y_1 - x_1 - ... - y_L - x_L at every site. The self-energy
(13) is diagonal in it, with two coefficients for every weight matrix k of stage l:

    𝒮[y_l, y_l] = sum_k y_k b_k b_k^T,        𝒮[x_{l-1}, x_{l-1}] = sum_k x_k c_k c_k^T.

Scaling: stage l is divided by sqrt(1/r_l). The r_l are chosen for each λ so that the scaled λ lies
on the unit circle and every stage contributes its own share. Nothing overflows, however long the chain.

Source: a polynomial in random matrices becomes one matrix that is linear in them (linearisation: Haagerup and
Thorbjørnsen 2005, Ann. Math. 162, 711; Helton, Mai and Speicher 2018, J. Funct. Anal. 274, 1). Its resolvent
solves a matrix Dyson equation, which has one solution in the half plane (Helton, Rashidi Far and Speicher
2007, IMRN, rnm086; Ajanki, Erdős and Krüger 2019, Probab. Theory Relat. Fields 173, 293).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rmtrnn._core.arrays import PORTIONS, namespace, to_host
from rmtrnn.dyson.self_energy import Parametrisation
from rmtrnn.dyson.sites.subsampling import stratified_subsample
from rmtrnn.numerics.small_matrices import (
    Entry,
    Matrix,
    Vector,
    add,
    dot,
    is_array,
    plus_outer,
    quadratic,
    sandwich,
    scale_matrix,
    scaled_identity,
    split_entries,
)
from rmtrnn.weight_laws import SingularValues


@dataclass(frozen=True)
class Stage:
    """One stage at all sites: a (s_out, s_in, n), b (K, s_out, n), c (K, s_in, n); per gate σ² and law.

    ``orthogonal[k]`` says whether weight matrix k is sigma times a Haar orthogonal matrix (else Gaussian);
    ``singular[k]`` is the law of its singular values where it is neither, None elsewhere (default).
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    sigma2: tuple[float, ...]
    orthogonal: tuple[bool, ...]
    singular: tuple[SingularValues | None, ...] = ()

    def __post_init__(self) -> None:
        if self.a.ndim != 3 or self.b.ndim != 3 or self.c.ndim != 3:
            raise ValueError("a, b and c must have shapes (s_out, s_in, n), (K, s_out, n), (K, s_in, n)")
        s_out, s_in, n = self.a.shape
        gates = len(self.sigma2)
        if self.b.shape != (gates, s_out, n) or self.c.shape != (gates, s_in, n):
            raise ValueError(
                f"b {self.b.shape} and c {self.c.shape} do not fit a {self.a.shape} and {gates} gates"
            )
        if len(self.orthogonal) != gates:
            raise ValueError(f"orthogonal has {len(self.orthogonal)} entries for {gates} gates")
        object.__setattr__(self, "singular", self.singular or (None,) * gates)

    def at(self, sites: Any) -> Stage:
        """The stage at some of the sites."""
        return replace(self, a=self.a[..., sites], b=self.b[..., sites], c=self.c[..., sites])

    def on(self, xp: Any) -> Stage:
        """The stage with its arrays in the array module ``xp``."""
        return replace(self, a=xp.asarray(self.a), b=xp.asarray(self.b), c=xp.asarray(self.c))


@dataclass(frozen=True)
class StageEntries:
    """The matrices of a stage by entries (`small_matrices`), and the indices of its gates in the chain."""

    a: Matrix
    b: list[Vector]
    c: list[Vector]
    gates: range

    @classmethod
    def of(cls, stage: Stage, gates: range) -> StageEntries:
        return cls(split_entries(stage.a), split_entries(stage.b), split_entries(stage.c), gates)


@dataclass(frozen=True)
class MeanGrowth:
    """Growth along the chain at 1/λ = 0: the recursion U_l of `recursive_green` without a resolvent.

    ``log_growth``: log of the growth of E tr U_l / s_l, per stage; ``gate_share``: the share of each gate in
    it; ``reading``: E c^T U c of each gate; ``of_site``: tr U_L of every site, relative to its mean.
    """

    log_growth: np.ndarray
    gate_share: np.ndarray
    reading: np.ndarray
    of_site: np.ndarray


class Chain:
    """The pencil (12) of a chain of stages over weighted sites.

    ``weights`` defaults to equal ones and must sum to 1. A chain on some of the sites of another, ``whole``,
    is scaled like it, so that coefficients mean the same, and solved in the same ``parametrisation``; by
    default the unknowns are all coefficients.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        weights: np.ndarray | None = None,
        whole: Chain | None = None,
        parametrisation: Parametrisation | None = None,
    ) -> None:
        self.stages = tuple(stages)
        self.n = _number_of_sites(self.stages)
        self.xp = namespace(self.stages[0].a)
        self.portion = PORTIONS.cache if self.xp is np else PORTIONS.device
        self.weights = _site_weights(weights, self.n, self.xp)
        self._equal = bool((self.weights == self.weights[0]).all())
        self._complex_weights = self.weights.astype(complex)  # one dtype: no conversion in every mean
        self.s_out = self.stages[-1].a.shape[0]
        self.sigma2 = np.array([v for stage in self.stages for v in stage.sigma2])
        self.orthogonal = np.array([v for stage in self.stages for v in stage.orthogonal], dtype=bool)
        ends = np.cumsum([0, *(len(stage.sigma2) for stage in self.stages)])
        self.n_gates = int(ends[-1])
        self.stage_of_gate = np.repeat(np.arange(len(self.stages)), np.diff(ends))
        gates = itertools.starmap(range, itertools.pairwise(ends))
        self.entries = [StageEntries.of(*pair) for pair in zip(self.stages, gates, strict=True)]
        if parametrisation is None:
            parametrisation = whole.parametrisation if whole else Parametrisation(self.n_gates)
        self.parametrisation = parametrisation
        self.growth = whole.growth if whole else mean_growth(self)
        self._blocks: dict[int, list[tuple[Chain, float]]] = {}

    def subsample(self, n: int, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Chain:
        """A chain on about ``n`` of the sites that keeps the outer parts of the law.

        The n/4 sites of smallest ``low`` and the n/4 of largest ``high`` are kept as they are; n/2 of the
        others are taken at equal steps of low + high. Both default to the share of a site in the mean squared
        singular value.
        """
        if n >= self.n:
            return self
        low = to_host(self.growth.of_site) if low is None else low
        high = low if high is None else high
        sites, weights = stratified_subsample(to_host(self.weights), n, low, high, n // 4, low + high)
        picked = self.xp.asarray(sites)
        return Chain([stage.at(picked) for stage in self.stages], self.xp.asarray(weights), self)

    def blocks(self, n: int) -> list[tuple[Chain, float]]:
        """The chain in blocks of up to ``n`` neighbouring sites, each with its share of the weight.

        They are views, made once: to make them reads every site, and waits for the device.
        """
        if n >= self.n:
            return [(self, 1.0)]
        if n in self._blocks:
            return self._blocks[n]
        parts = []
        for start in range(0, self.n, n):
            sites = slice(start, start + n)
            weights = self.weights[sites]
            share = float(weights.sum())
            parts.append((Chain([stage.at(sites) for stage in self.stages], weights / share, self), share))
        self._blocks[n] = parts
        return parts

    def parametrised_by(self, parametrisation: Parametrisation) -> Chain:
        """The same chain with other unknowns."""
        other = copy.copy(self)
        other.parametrisation, other._blocks = parametrisation, {}
        return other

    @property
    def log_mean(self) -> float:
        """log m_1, the mean squared singular value, from the growth along the chain."""
        return float(self.growth.log_growth.sum())

    def log_scales(self, log_lambda: np.ndarray) -> np.ndarray:
        """log r_l for each |λ|, shape (points, L): their sum is -log|λ|."""
        surplus = (np.asarray(log_lambda) - self.log_mean) / len(self.stages)
        return -(self.growth.log_growth[None, :] + surplus[:, None])

    def gate_scales(self, log_lambda: np.ndarray) -> np.ndarray:
        """r_l of each gate's stage, (points, gates)."""
        return np.exp(self.log_scales(log_lambda))[:, self.stage_of_gate]

    def mean(self, values: Entry) -> Entry:
        """E over sites of an entry: a float, (points, 1) or (..., points, n)."""
        if not hasattr(values, "shape"):
            return values
        if values.shape[-1] != self.n:
            return values[..., 0]
        if self._equal:
            return values.sum(axis=-1) / self.n
        # Not a matrix product: the BLAS would start threads of its own for it.
        weights = self._complex_weights if values.dtype.kind == "c" else self.weights
        return self.xp.einsum("...n,n->...", values, weights)

    def real_mean(self, values: Entry) -> float:
        """E over sites of a real entry, as a float."""
        mean = self.mean(values)
        return float(mean.real) if is_array(mean) else float(mean)


def _site_weights(weights: Any, n: int, xp: Any) -> Any:
    """Weights of ``n`` sites, equal ones by default; ValueError where they are none."""
    weights = xp.full(n, 1.0 / n) if weights is None else xp.asarray(weights, dtype=float)
    if weights.shape != (n,) or abs(float(weights.sum()) - 1.0) > 1e-9:
        raise ValueError("weights must be one number per site and sum to 1")
    return weights


def _number_of_sites(stages: Sequence[Stage]) -> int:
    """The number of sites of stages that fit each other; ValueError where they are no chain."""
    if not stages:
        raise ValueError("a chain needs at least one stage")
    if any(law is not None for stage in stages for law in stage.singular):
        raise ValueError(
            "stages: weights with a law of singular values; replace them by "
            "rmtrnn.dyson.weight_factors.haar_factors first"
        )
    n = stages[0].a.shape[2]
    for before, after in itertools.pairwise(stages):
        if after.a.shape[1] != before.a.shape[0] or after.a.shape[2] != n:
            raise ValueError(f"stage of shape {after.a.shape} cannot follow one of shape {before.a.shape}")
    return n


def mean_growth(chain: Chain) -> MeanGrowth:
    """The mean squared singular value, stage by stage and gate by gate.

    Raises ValueError where a stage maps everything to zero.
    """
    u: Matrix = scaled_identity(chain.stages[0].a.shape[1], 1.0)
    growth, shares, readings = [], [], []
    for position, stage in enumerate(chain.entries):
        after = sandwich(stage.a, u)
        by_gate = []
        for b_k, c_k, gate in zip(stage.b, stage.c, stage.gates, strict=True):
            reading = chain.real_mean(quadratic(c_k, u))
            readings.append(max(reading, 1e-300))  # a logarithm is taken of it
            coefficient = float(chain.sigma2[gate]) * reading
            after = plus_outer(after, b_k, coefficient)
            by_gate.append(coefficient * chain.real_mean(dot(b_k, b_k)))
        size = len(stage.a)
        total = sum(chain.real_mean(after[i][i]) for i in range(size))
        if not total > 0.0:
            raise ValueError(f"stage {position} maps everything to zero: the Jacobian vanishes")
        growth.append(np.log(total / size))
        shares += [part / total for part in by_gate]
        u = scale_matrix(size / total, after)
    trace: Entry = 0.0
    for i in range(chain.s_out):
        trace = add(trace, u[i][i])
    of_site = chain.xp.broadcast_to(chain.xp.asarray(trace, dtype=float), (chain.n,))
    return MeanGrowth(np.array(growth), np.array(shares), np.array(readings), of_site)
