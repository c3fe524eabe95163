"""Free power of the one-step law of a gated network: an approximation to compare the exact law with.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import Status
from rmtrnn.dyson.chain_law import chain_law
from rmtrnn.dyson.inversion.panel_refinement import Settings
from rmtrnn.dyson.law import untied_law
from rmtrnn.dyson.pencil import Chain, Stage
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.spectra.result import Spectrum
from rmtrnn.spectra.routes import vanilla_spectrum
from rmtrnn.spectra.vanilla_moments import has_free_factors


@dataclass(frozen=True)
class PowerSettings:
    """Of a free power; the first two are moved by three in tests/spectra/test_free_approximation.py."""

    nodes: int = 400
    """Nodes, at least, for the one-step law. Empirical; the change from half as many is part of ``error``."""
    tol: float = 1e-5
    """Of the points in s and of the lower tail; empirical, far below the error of the nodes."""
    compared: int = 49
    """Quantiles at which the two are compared: every 2 %."""
    lightest: float = 1e-14
    """Mass of a node that is left out: all of them together are rounding."""


SETTINGS = PowerSettings()


def free_approximation(
    ens: Ensemble,
    T: int,
    *,
    population: int | None = None,
    seed: int | None = None,
    tol: float | None = None,
    max_points: int | None = None,
    device: str | None = None,
) -> Spectrum:
    """The law of the singular values of J_T if all steps were untied and free of each other: approximate.

    The one-step law μ of s² is exact, theory.md (12)-(14); the result is its free power μ^{⊠T}, with the
    S-transform S_μ(m)^T of theory.md (8). Steps A + B W are not free of each other: with B = 0 they even
    commute. So this is right for one step and for vanilla cells, good where the gates are nearly constant,
    and otherwise shows how wrong it is to multiply S-transforms. Its m_1 = χ^T is that of untied weights;
    already m_2, with Var(s²) = m_1² T Var_μ/E_μ², is not. ``ens.tied`` makes no difference.

    ens : `Ensemble`; T : integer ≥ 1; ``population``, ``seed``, ``tol``, ``max_points``, ``device`` are those
    of `rmtrnn.dyson.law.untied_law` for the one-step law, with its defaults (vanilla cells take none).

    Returns a `Spectrum` with method "free approximation". Its ``error`` is that of this computation, not the
    distance from the spectrum: T times the error of the one-step law (free products do not enlarge
    Kolmogorov distances, Bercovici and Voiculescu 1993), the error of the power, and its change when half as
    many nodes stand for the one-step law. A one-step law that did not converge gives a result that says so.

    Raises TypeError or ValueError for bad arguments, `ConvergenceError` if there is no stationary state.

    >>> ens = rt.Ensemble("vanilla", sigma_b=0.1)
    >>> rt.spectra.free_approximation(ens, T=1).converged
    True
    """
    _validate.instance("ens", ens, Ensemble)
    T = _validate.integer("T", T, low=1)
    ens = ens.replace(tied=False)
    given = {"population": population, "seed": seed, "tol": tol, "max_points": max_points, "device": device}
    accuracy: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if has_free_factors(ens):
        if accuracy:
            raise TypeError(f"free_approximation: {sorted(accuracy)} are not arguments for a vanilla cell")
        return vanilla_spectrum(ens, T)
    step = untied_law(ens, 1, **accuracy)
    assert isinstance(step, TabulatedLaw)
    law = step if T == 1 or step.status is not Status.CONVERGED else free_power(step, T)
    return Spectrum(law, ensemble=ens, T=T, method="free approximation")


def free_power(step: TabulatedLaw, T: int, settings: PowerSettings = SETTINGS) -> TabulatedLaw:
    """The law of log s for s² ~ μ^{⊠T}, T ≥ 2, from that for s² ~ μ.

    μ^{⊠T} is the law of J Jᵀ for J = D O_T D ⋯ D O_1, D² ~ μ diagonal and O_t independent Haar matrices,
    which is a chain of stages a = 0, b = s, c = 1 of theory.md (1) over the nodes s of μ.
    """
    panels = step.panels or 1
    count = max(2, math.ceil(settings.nodes / panels))
    fine, coarse = (_power_at_nodes(step, T, nodes, settings) for nodes in (count, (count + 1) // 2))
    points = np.unique(fine.icdf(np.linspace(0.01, 0.99, settings.compared)))
    change = float(np.max(np.abs(coarse.cdf(points) - fine.cdf(points))))
    status = max(fine.status, coarse.status, key=lambda status: status is not Status.CONVERGED)
    return fine.restated(more_error=change + T * step.error, status=status)


def _power_at_nodes(step: TabulatedLaw, T: int, count: int, settings: PowerSettings) -> TabulatedLaw:
    """The free power of the point masses at ``count`` Gauss nodes of every panel of μ."""
    u, mass = step.nodes(count)
    u, mass = u[mass > settings.lightest], mass[mass > settings.lightest]
    s, mass = np.exp(u)[None, None], mass / mass.sum()
    if len(u) == 1:  # D is a multiple of 1
        return TabulatedLaw([], atoms=[(T * float(u[0]), 1.0)])
    stage = Stage(np.zeros_like(s), s, np.ones_like(s), (1.0,), (True,))
    return chain_law(Chain([stage] * T, mass), 1, Settings(tol=settings.tol, tail=settings.tol))[0]
