"""Lyapunov spectra: the law of lim (log s)/T as N → ∞ and then T → ∞, in closed form for vanilla networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rmtrnn._core.status import Status
from rmtrnn.cells import VanillaRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.free.exponents import ExponentLaw
from rmtrnn.spectra.free_product import VanillaLaw
from rmtrnn.spectra.vanilla_moments import preactivation_variance


@dataclass(frozen=True)
class LyapunovSpectrum:
    """Limit law of the Lyapunov exponents of a random network, in 1/step, natural logarithm.

    ``spectrum``: the law, with ``pdf``, ``cdf``, ``icdf``, ``support``, ``atoms``, ``mean``, ``rvs``;
    ``largest``: its upper end; ``unstable_fraction``: share of positive exponents; ``entropy_rate``: sum of
    the positive ones per unit (Pesin); ``kaplan_yorke``: the dimension of the attractor per unit; ``error``:
    estimated error of the cdf; ``status``. Made by `rmtrnn.lyapunov`.
    """

    spectrum: ExponentLaw
    ensemble: Ensemble
    method: str
    error: float
    status: Status

    @property
    def largest(self) -> float:
        """Largest exponent, ½ log χ."""
        return self.spectrum.largest

    @property
    def unstable_fraction(self) -> float:
        """P(exponent > 0)."""
        return self.spectrum.unstable_fraction

    @property
    def kaplan_yorke(self) -> float:
        """Kaplan–Yorke dimension over N: D with ∫_0^D (exponent at rank p) dp = 0."""
        return self.spectrum.kaplan_yorke

    @property
    def entropy_rate(self) -> float:
        """E[max(exponent, 0)], nats per unit and step."""
        return self.spectrum.entropy_rate

    @property
    def converged(self) -> bool:
        """Whether the mean field that the law rests on converged."""
        return self.status is Status.CONVERGED

    @property
    def message(self) -> str:
        """How the computation ended and what to try."""
        return self.status.message

    def to_dict(self) -> dict[str, Any]:
        """The arguments, the numbers and the status, as JSON types."""
        return {
            "ensemble": self.ensemble.to_dict(),
            "method": self.method,
            "largest": self.largest,
            "mean": self.spectrum.mean,
            "unstable_fraction": self.unstable_fraction,
            "kaplan_yorke": self.kaplan_yorke,
            "entropy_rate": self.entropy_rate,
            "error": self.error,
            "status": self.status.name,
        }

    def __repr__(self) -> str:
        return (
            f"<LyapunovSpectrum of {self.ensemble!r}: largest {self.largest:.6g}, "
            f"{self.unstable_fraction:.4%} positive, {self.message}>"
        )


def lyapunov(ens: Ensemble) -> LyapunovSpectrum:
    """Law of the Lyapunov exponents lim (log s_i(J_T))/T of a vanilla network: N → ∞, then T → ∞.

    With S the S-transform of the law of s² of one step (theory.md (8), (9)) a share p of all exponents
    exceeds −½ log S(−p): `rmtrnn.free.exponents`, eq. (*). The same for tied and untied weights, as theory.md
    (9) is. The largest exponent is ½ log χ. For T finite use `rmtrnn.spectrum(ens, T).log_s`, divided by T;
    for networks of finite N `rmtrnn.sample_lyapunov`.

    ens : `Ensemble` of a vanilla cell.

    Returns a `LyapunovSpectrum`. Raises TypeError if ``ens`` is no Ensemble, ValueError for a gated cell
    (whose steps are not free of each other: use `rmtrnn.sample_lyapunov`), `ConvergenceError` where the
    network has no stationary state.

    >>> lya = rt.lyapunov(rt.Ensemble("vanilla", sigma_w=3.0))
    >>> round(lya.largest, 4), round(lya.unstable_fraction, 4), round(lya.kaplan_yorke, 4)
    (0.3102, 0.1529, 0.2877)
    """
    if not isinstance(ens, Ensemble):
        raise TypeError(f"ens = {ens!r}: expected an Ensemble")
    if not isinstance(ens.cell, VanillaRNN):
        raise ValueError(
            f"ens: cell {ens.cell.name!r} is gated: its steps are not free of each other, and the limit "
            "has no closed form. Use rt.sample_lyapunov(ens, N, steps)"
        )
    variance, status = preactivation_variance(ens)
    law = ExponentLaw(VanillaLaw(ens, 1, variance).squares)
    return LyapunovSpectrum(law, ens, "s-transform", law.error, status)
