"""Growth of a small difference along trajectories that do not vary in time: theory.md (15) at λ → ∞, (16).

Every site is then a linear filter, and no frequency mixes with another. A difference with time dependence
z^t, z = μ e^{iω}, lasts where the gain matrix of one step (`rmtrnn.meanfield.one_step`) has spectral radius
1, and χ = μ² at the worst ω: √χ is the largest modulus on the eigenvalue curve (16). The iteration of
`tied_growth` looks for the worst of all frequencies among neighbours that grow almost as fast, and can end
too early; here it is a root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.one_step import OneStep
from rmtrnn.meanfield.periodic_process import GROUPS, FrequencyNodes, PeriodicSites
from rmtrnn.meanfield.tied_solver import DEFAULT


@dataclass(frozen=True)
class ConstantSettings:
    """Numbers of the search for the worst frequency."""

    # Frequencies of half a turn on which the largest gain is looked for. Derived: the gain of a linear
    # recursion is smooth, and its largest value errs by the square of the step.
    frequencies: int = 257
    # Relative distance to the slowest decay of a site, where the search starts. Derived: the gain of that
    # site is the inverse square, 1e18, beyond 1 for any number of sites.
    nearest: float = 1e-9
    # Relative change of μ that counts as none. Derived: rounding of the root.
    rounding: float = 1e-12
    # Steps of one of two runs in which a site reaches its constant state. Empirical.
    steps: int = 256
    # Sites, at least. Empirical: fewer than 256 in a group leave a bias that the groups have in common.
    sites: int = 2048
    # Smallest μ, where no site remembers anything. Derived: below it χ is 0 for any purpose.
    least: float = 1e-12


_CONSTANT = ConstantSettings()


class ConstantGrowth(NamedTuple):
    """χ, and the angle ω per step at which differences grow most."""

    chi: float
    angle: float


class ConstantStage(NamedTuple):
    """One stage of theory.md (1) that is constant in time, sites last: `one_step.StageAtSites`."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    sigma2: tuple[float, ...]

    def at(self, sites: slice) -> ConstantStage:
        """The same at some sites."""
        return ConstantStage(self.a[..., sites], self.b[..., sites], self.c[..., sites], self.sigma2)


def constant_growth(step: OneStep) -> ConstantGrowth:
    """χ of a step that is constant in time: the root at one frequency, then the worst of all there.

    log radius is subharmonic outside of the decays of the sites, so that where no frequency is above 1 at one
    μ none is at a larger one. Where no difference grows faster than the slowest site forgets, χ is what that
    site forgets.
    """
    own = float(np.max(np.abs(step.bare), initial=0.0))
    turns = np.exp(1j * np.linspace(0.0, np.pi, _CONSTANT.frequencies))
    mu, found = max(own * (1.0 + _CONSTANT.nearest), _CONSTANT.least), own
    while True:
        gain = _log_gain(step, mu * turns)
        worst = int(np.argmax(gain))
        following = mu if gain[worst] <= 0.0 else _root(step, complex(turns[worst]), mu)
        if following <= mu * (1.0 + _CONSTANT.rounding):
            return ConstantGrowth(found**2, float(np.angle(turns[worst])))
        mu = found = following


def _root(step: OneStep, turn: complex, low: float) -> float:
    """μ above ``low``, where the gain at one frequency is above 1, at which it is 1."""

    def excess(log_mu: float) -> float:
        return float(_log_gain(step, np.array([np.exp(log_mu) * turn]))[0])

    first = float(np.log(low))
    high = max(first, 0.0)
    while excess(high) > 0.0:
        high += 1.0
    if excess(first) <= 0.0:  # the logarithm rounds
        return low
    root: Any = brentq(excess, first, high, xtol=1e-14)
    return float(np.exp(root))


def _log_gain(step: OneStep, z: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(step.gain(z), 1e-300))


def constant_stages(
    ens: Ensemble, spectra: Sequence[np.ndarray], period: int, per_group: int, seed: int
) -> list[list[ConstantStage]]:
    """The stages at the constant state of each of ``spectra`` (D, groups or 1, nodes), at the same sites.

    Of a spectrum on ``period`` only what does not decay is kept. A constant process has one random number for
    each gate and site, so that many sites cost little: there are `ConstantSettings.sites` or more.
    """
    steps = _CONSTANT.steps
    nodes = FrequencyNodes.build(steps, DEFAULT.node_distance)
    process = PeriodicSites(ens, steps, max(per_group, _CONSTANT.sites // GROUPS), seed, nodes, key=(55,))
    laws = [ens.gate(name) for name in ens.cell.gates]
    found = []
    for values in spectra:
        still = np.zeros((*values.shape[:-1], nodes.weight.size))
        still[..., 0] = steps / period * np.maximum(values[..., 0] - values[..., 1], 0.0)
        e = process.pre_activations(still)[0]
        process.run(e)
        run = process.run(e)
        parts = [run.linearised(place, -1) for place in range(len(process.stages))]
        found.append(
            [
                ConstantStage(*abc, tuple(law.sigma_w**2 for law in laws[gates]))
                for abc, gates in zip(parts, process.gates_of, strict=True)
            ]
        )
    return found
