"""The state h = 0 of a network with tied weights: whether it exists, and how differences grow there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.constant_growth import ConstantStage, constant_growth
from rmtrnn.meanfield.one_step import OneStep


@dataclass(frozen=True)
class ZeroSettings:
    """Numbers of the test of the zero state."""

    # Sites with random inputs and pre-activations that must all stay at zero: a cell that leaves zero does so
    # at almost every site.
    probes: int = 64


_ZERO = ZeroSettings()


def zero_state_growth(ens: Ensemble) -> float | None:
    """χ of the state h = 0 with tied weights; None if h = 0 is no state, or its linearisation varies.

    At h = 0 every site has the same a, b, c, and χ is that of a constant step. One gate: √χ = a + σ_w b; GRU
    and LSTM: the conditions of Can, Krishnamurthy, Schwab (2020).
    """
    stages = _stages_at_zero(ens)
    return None if stages is None else constant_growth(OneStep(stages)).chi


def _stages_at_zero(ens: Ensemble) -> list[ConstantStage] | None:
    """The stages at h = 0, at one site; None if they are not the same at all, or do not stay at zero."""
    rng = _random.stream(0, 53)
    site = np.zeros((len(ens.cell.state), _ZERO.probes))
    x = ens.input_quantile(rng.uniform(0.01, 0.99, _ZERO.probes)) if ens.R > 0 else np.zeros(_ZERO.probes)
    laws = [ens.gate(name) for name in ens.cell.gates]
    spread = np.array([np.sqrt(law.sigma_v**2 * ens.R + law.sigma_b**2) for law in laws])
    e = np.array([law.mu_b for law in laws])[:, None] + spread[:, None] * rng.standard_normal(
        (len(laws), _ZERO.probes)
    )
    found: list[ConstantStage] = []
    first = 0
    for definition, stage in zip(ens.cell.stages, ens.cell.numeric(np).stages, strict=True):
        gates = slice(first, first + len(definition.gates))
        if np.any(stage.read(site) != 0.0):
            return None
        parts = stage.linearize(site, x, e[gates])
        if any(part.size and np.any(np.ptp(part, axis=-1) > 0.0) for part in parts):
            return None
        a, b, c = (part[..., :1] for part in parts)
        found.append(ConstantStage(a, b, c, tuple(law.sigma_w**2 for law in laws[gates])))
        site = stage.update(site, x, e[gates])
        first = gates.stop
    return None if np.any(site != 0.0) else found
