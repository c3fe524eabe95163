"""The laws that a sample is set against: the theory of its network, and wrong ones that it has to reject."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn.spectra import Spectrum, free_approximation
from validation.beyond.gated import networks, samples

FREE, TIED, UNTIED = "free approximation", "tied weights", "untied weights"
WIDER = 1.1  # factor of the wrong width
_LEVELS = np.linspace(0.002, 0.998, 499)  # where two laws are compared


@dataclass(frozen=True)
class Wrong:
    """A law of another network, or of an approximation, by the ``name`` that tables and figures use."""

    name: str
    ensemble: rt.Ensemble
    free: bool = False

    def law(self, T: int) -> Spectrum:
        """Its law at T steps."""
        return free_law(self.ensemble, T) if self.free else law(self.ensemble, T)


@cache
def law(ens: rt.Ensemble, T: int) -> Spectrum:
    """`rmtrnn.spectrum`; several cases ask for the same law."""
    return rt.spectrum(ens, T)


@cache
def free_law(ens: rt.Ensemble, T: int) -> Spectrum:
    """`rmtrnn.spectra.free_approximation`."""
    return free_approximation(ens, T)


def wrong_laws(ens: rt.Ensemble, T: int, tied: bool) -> list[Wrong]:
    """What a case is tried against.

    Tied weights: the law of untied ones. Untied weights: all σ_w (where no W is read: σ_v) larger by a
    tenth; the law of tied weights where ``tied``; and, for T > 1, free factors.
    """
    if ens.tied:
        return [Wrong(UNTIED, ens.replace(tied=False))]
    found = [_wider(ens)]
    if tied:
        found.append(Wrong(TIED, ens.replace(tied=True)))
    if T > 1:
        found.append(Wrong(FREE, ens, free=True))
    return found


def _wider(ens: rt.Ensemble) -> Wrong:
    gates = ens.cell.gates
    name = "sigma_w" if any(ens.gate(gate).sigma_w > 0 for gate in gates) else "sigma_v"
    values = {gate: WIDER * getattr(ens.gate(gate), name) for gate in gates}
    return Wrong(f"{networks.SYMBOLS[name]} × {WIDER:g}", ens.replace(**{name: values}))


def summary(spec: Spectrum, log_s: np.ndarray, theory: Spectrum | None = None) -> dict[str, Any]:
    """What the table says of a law, in JSON types; ``theory``: the right one, to say how far it is."""
    if not spec.converged:
        return {"method": spec.method, "converged": False}
    x = np.sort(log_s, axis=None)
    at = spec.log_s.cdf(x)
    below = at - sum(mass * (x == u) for u, mass in spec.log_s.atoms)
    found = {
        "method": spec.method,
        "converged": True,
        "cdf error": spec.error,
        "mass": spec.mass,
        "m1": spec.moment(1),
        "distance": samples.distance(below, at),
    }
    if theory is not None and theory.converged:
        found["apart"] = apart(spec, theory)
    return found


def apart(one: Spectrum, other: Spectrum) -> float:
    """Kolmogorov distance of two laws, over the quantiles of both."""
    u = np.concatenate([one.log_s.icdf(_LEVELS), other.log_s.icdf(_LEVELS)])
    return float(np.abs(one.log_s.cdf(u) - other.log_s.cdf(u)).max())
