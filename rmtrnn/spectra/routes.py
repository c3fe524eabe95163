"""Which method answers for which ensemble: `spectrum`, and the exact law of vanilla networks.

Letters: T, the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rmtrnn._core import validate as _validate
from rmtrnn._core.progress import Report, shown
from rmtrnn.cells import VanillaRNN
from rmtrnn.dyson.law import dyson_law
from rmtrnn.ensemble import Ensemble
from rmtrnn.laws.tabulated import TabulatedLaw
from rmtrnn.meanfield.solve import by_state
from rmtrnn.spectra.free_product import VanillaLaw
from rmtrnn.spectra.result import Spectrum, dyson_spectrum
from rmtrnn.spectra.vanilla_moments import (
    has_free_factors,
    has_free_steps,
    preactivation_variance,
    slope_law,
    slopes_vanish,
    vanilla_moments,
)

METHODS = ("auto", "s-transform", "dyson")


def spectrum(
    ens: Ensemble,
    T: int,
    method: str = "auto",
    *,
    population: int | None = None,
    seed: int | None = None,
    tol: float | None = None,
    max_points: int | None = None,
    device: str | None = None,
    progress: bool | Report | None = None,
    Q0: float | Mapping[str, float] | None = None,
) -> Spectrum:
    """Limit law (N → ∞) of the singular values of the T-step Jacobian J_T = ∂h^T/∂h^0.

    Parameters
    ----------
    ens : Ensemble, in its stationary state unless ``Q0`` is given; ``ens.tied`` is honoured
    T : int ≥ 1, number of steps
    method : "auto", "s-transform" or "dyson"
        "s-transform": theory.md (9), exact, vanilla cells only (there tied and untied weights have the same
        law, see `vanilla_spectrum`), T up to 10⁵ and more. "dyson": the matrix Dyson equation, theory.md
        (12)-(15), any cell; of tied weights and many steps (31). "auto": the first for vanilla cells with
        normal biases (for `SingularValues` if T > 1, φ'² has no atoms and the next arguments are None), the
        second for all others.
    population, seed, tol, max_points
        Of the Dyson equation only: sites that carry the averages (more of them: a smaller ``error``), their
        seed, the error of the cdf from the number of points in s, and where that number stops growing. None:
        the defaults of `rmtrnn.dyson.law.untied_law`, or of `rmtrnn.dyson.tied.law.tied_law`.
    device : "cpu", "cuda" or "auto"
        Where the Dyson equation is evaluated.
    progress : None, True, or callable (done, total, label); counts the points λ that were solved
    Q0 : number ≥ 0, or mapping by state name
        The T steps start from independent centred Gaussian entries with E[h²] = Q0, not from the stationary
        state: the law of a transient, and of networks without a stationary state, such as h + f(h, x). The
        method is "dyson" from T = 2 on. `rmtrnn.sample` takes the same argument.

    Returns a `Spectrum`; look at its ``converged`` and ``error``.
    Raises TypeError or ValueError for bad arguments (among them "s-transform" for a gated cell, whose factors
    are not free of each other), `ConvergenceError` if the mean field has no stationary state (and no ``Q0``).

    >>> spec = rt.spectrum(rt.Ensemble(rt.VanillaRNN("linear")), T=2)      # Fuss–Catalan
    >>> round(float(spec.support[0][1]) ** 2, 6), round(spec.moment(2), 6)
    (6.75, 3.0)
    """
    _validate.instance("ens", ens, Ensemble)
    start = by_state("Q0", Q0, [symbol.name for symbol in ens.cell.state], low=0.0)
    T = _validate.integer("T", T, low=1)
    given = {"population": population, "seed": seed, "tol": tol, "max_points": max_points, "device": device}
    accuracy = {name: value for name, value in given.items() if value is not None}
    is_free = _is_free(ens, method, T, start is not None, bool(accuracy))
    T = _validate.cost("T", T, 1e-12 if is_free else 0.1)
    if is_free:
        if accuracy:
            raise TypeError(f"spectrum: {sorted(accuracy)} are not arguments of the method 's-transform'")
        return vanilla_spectrum(ens, T) if start is None else _first_step(ens, float(start[0]))
    # Tied weights do not change the law of a vanilla network, and cost more.
    solved = ens.replace(tied=False) if isinstance(ens.cell, VanillaRNN) and method == "auto" else ens
    with shown(progress):
        law = dyson_law(solved, T, **accuracy, **({} if start is None else {"Q0": start}))
    return dyson_spectrum(law, ens, T, Q0)


def _first_step(ens: Ensemble, Q0: float) -> Spectrum:
    """The exact law of one step of a vanilla network from E[h²] = Q0: (9) at q = σ_w² Q0 + σ_v² R + σ_b²."""
    (name,) = ens.cell.gates
    gate = ens.gate(name)
    q = gate.sigma_w**2 * Q0 + gate.sigma_v**2 * ens.R + gate.sigma_b**2
    vanishes = gate.sigma_w == 0.0 or slope_law(ens, q) is None
    law = TabulatedLaw([], atoms=[(-math.inf, 1.0)]) if vanishes else VanillaLaw(ens, 1, q)
    return Spectrum(law, ensemble=ens, T=1, method="s-transform", Q0=Q0)


def _is_free(ens: Ensemble, method: str, T: int, has_start: bool, has_accuracy: bool) -> bool:
    """Whether the free product answers; ValueError where it was asked for and cannot."""
    _validate.choice("method", method, METHODS)
    if method == "dyson":
        return False
    is_vanilla, transient = isinstance(ens.cell, VanillaRNN), has_start and T > 1
    wanted = method == "s-transform" or not has_accuracy
    by_nodes = wanted and T > 1 and not has_start and has_free_steps(ens)
    is_free = not transient if has_free_factors(ens) else by_nodes
    if method == "auto" or is_free:
        return is_free
    if transient:
        raise ValueError(
            "method = 's-transform': the steps from a start Q0 have different laws, and (9) has one base law "
            "for all of them; use 'dyson'"
        )
    if is_vanilla:
        raise ValueError(
            "method = 's-transform': needs normal biases, and for weights by their singular values T > 1, no "
            f"Q0 and slopes without atoms; bias_law = {ens.bias_law!r}, weights = {ens.weights!r}. "
            "Use 'dyson'"
        )
    raise ValueError(
        f"method = 's-transform': the factors of the gated cell {ens.cell.name!r} are not free of each "
        "other; use 'dyson'"
    )


def vanilla_spectrum(ens: Ensemble, T: int) -> Spectrum:
    """Law of the singular values of the T-step Jacobian of a vanilla network, theory.md (9); exact as N → ∞.

    The same for tied and for untied weights: see the module's text for why. T = 1 with orthogonal weights is
    the law of σ_w|φ'(e)| itself. ``moment`` and ``variance`` are those of theory.md (11).

    Raises ValueError if the cell is not a vanilla one or T < 1, and `ConvergenceError` where the network has
    no stationary state and the slopes φ'(e) depend on it (those of a linear network, or of a relu network
    with μ_b = 0, do not).

    ``ens``: an `Ensemble` of a vanilla cell.

    >>> rt.spectra.vanilla_spectrum(rt.Ensemble("vanilla", sigma_b=0.1), T=100_000).converged
    True
    """
    if not isinstance(ens.cell, VanillaRNN):
        raise ValueError(f"ens: cell {ens.cell.name!r} is not a vanilla RNN; use spectrum(ens, T)")
    T = _validate.cost("T", _validate.integer("T", T, low=1), 1e-12)
    if not (has_free_factors(ens) or (T > 1 and has_free_steps(ens))):
        raise ValueError(
            f"ens: bias_law = {ens.bias_law!r} must be normal and weights = {ens.weights!r} 'gaussian' or "
            "'orthogonal' here, or `SingularValues` with T > 1 and slopes without atoms; use spectrum(ens, T)"
        )
    q, status = preactivation_variance(ens)
    if slopes_vanish(ens):
        law = TabulatedLaw([], atoms=[(-math.inf, 1.0)])
        return Spectrum(
            law, ensemble=ens, T=T, method="s-transform", moments=lambda k: vanilla_moments(ens, T)
        )
    return Spectrum(VanillaLaw(ens, T, q, status), ensemble=ens, T=T, method="s-transform")
