"""Spectra of Jacobians: exact free products for vanilla networks, matrix Dyson equations for all others."""

from __future__ import annotations

from typing import Any

from rmtrnn._core import validate as _validate
from rmtrnn.cells import VanillaRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.spectra.eigenvalues import eigenvalue_curve, spectral_radius
from rmtrnn.spectra.free_approximation import free_approximation
from rmtrnn.spectra.free_product import vanilla_spectrum
from rmtrnn.spectra.result import Spectrum, dyson_spectrum
from rmtrnn.spectra.site_moments import Moments, second_moment

__all__ = [
    "Moments",
    "Spectrum",
    "eigenvalue_curve",
    "free_approximation",
    "second_moment",
    "spectral_radius",
    "spectrum",
    "vanilla_spectrum",
]

METHODS = ("auto", "s-transform", "dyson")


def spectrum(ens: Ensemble, T: int, method: str = "auto", **accuracy: Any) -> Spectrum:
    """Limit law (N → ∞) of the singular values of the T-step Jacobian J_T = ∂h^T/∂h^0.

    Parameters
    ----------
    ens : Ensemble
        The random network, in its stationary state. ``ens.tied`` is honoured.
    T : int ≥ 1
        Number of steps.
    method : "auto", "s-transform" or "dyson"
        "s-transform": theory.md (9), exact, vanilla cells only (there tied and untied weights have the same
        law, see `vanilla_spectrum`), T up to 10⁵ and more. "dyson": the matrix Dyson equation, theory.md
        (12)-(15), any cell. "auto": the first for vanilla cells, the second for all others.
    **accuracy
        Passed to `rmtrnn.dyson.law.dyson_law`; the S-transform takes none.

    Returns a `Spectrum`; look at its ``converged`` and ``error``.

    Raises TypeError or ValueError for bad arguments (among them "s-transform" for a gated cell, whose factors
    are not free of each other), `ConvergenceError` if the mean field has no stationary state.

    >>> spec = rt.spectrum(rt.Ensemble(rt.VanillaRNN("linear")), T=2)      # Fuss–Catalan
    >>> round(float(spec.support[0][1]) ** 2, 6), round(spec.moment(2), 6)
    (6.75, 3.0)
    """
    if not isinstance(ens, Ensemble):
        raise TypeError(f"ens = {ens!r}: expected an Ensemble")
    T = _validate.integer("T", T, low=1)
    _validate.choice("method", method, METHODS)
    is_vanilla = isinstance(ens.cell, VanillaRNN)
    if method == "s-transform" and not is_vanilla:
        raise ValueError(
            f"method = 's-transform': the factors of the gated cell {ens.cell.name!r} are not free of each "
            "other; use 'dyson'"
        )
    if is_vanilla and method != "dyson":
        if accuracy:
            raise TypeError(f"spectrum: {sorted(accuracy)} are not arguments of the method 's-transform'")
        return vanilla_spectrum(ens, T)
    from rmtrnn.dyson.law import dyson_law

    return dyson_spectrum(dyson_law(ens, T, **accuracy), ens, T)
