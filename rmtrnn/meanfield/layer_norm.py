"""Layer normalisation in the limit: normalised pre-activations are an ensemble with other scales.

LN(e)_i = γ (e_i − mean e)/std e + β over the N units. As N → ∞ mean and standard deviation are those of the
mean field (2), μ_b and √q, and do not fluctuate. The derivative of LN has a part of rank two besides the
factor γ/std, which leaves the bulk of the singular values as it is. So σ_w, σ_v and σ_b are multiplied by
γ/√q, μ_b becomes β, and nothing else changes. q depends on the state: the factors solve a fixed point.

Source: layer normalisation is from Ba, Kiros and Hinton (2016, arXiv:1607.06450).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmtrnn._core import validate as _validate
from rmtrnn._core.status import ConvergenceError
from rmtrnn.ensemble import Ensemble
from rmtrnn.meanfield.result import MeanField
from rmtrnn.meanfield.shortfall import require_stationary
from rmtrnn.meanfield.solve import mean_field
from rmtrnn.stack import Stack


@dataclass(frozen=True)
class LayerNormSettings:
    """Numbers of the fixed point; moved in tests/meanfield/test_layer_norm.py."""

    # Share of the recurrent weights in the first ensembles, whose other variance is a bias: what is read then
    # follows from q, and the error of one iteration falls by the square of it.
    share: float = 0.1
    iterations: int = 30
    # Relative error of q; for sampled mean fields their own error is the limit.
    tol: float = 1e-9


SETTINGS = LayerNormSettings()


def layer_normalized(
    ens: Ensemble,
    gain: float | Mapping[str, float] = 1.0,
    shift: float | Mapping[str, float] = 0.0,
    settings: LayerNormSettings = SETTINGS,
) -> Ensemble:
    """Return the ensemble of the network with layer normalisation of every pre-activation.

    e_k = γ_k (a_k − mean a_k)/std a_k + β_k with a_k = W_k r_k + V_k x + b_k: mean and standard deviation
    over the units of a layer, at every step. The result has σ_w, σ_v, σ_b in the ratios of ``ens``, scaled to
    q_k = γ_k², and μ_b = β_k. It is the same network in the limit N → ∞, with the same spectra.

    Parameters
    ----------
    ens : `Ensemble` with normal biases, or `Stack`, whose layers are normalised each by itself
    gain, shift : numbers, or mappings by gate
        γ > 0 and β, equal at all units (1 and 0 in PyTorch's `LayerNorm` as initialised).
    settings : `LayerNormSettings`, the numbers of the iteration

    Raises ValueError where the biases are not normal or a pre-activation is zero, and `ConvergenceError`
    where no such ensemble has q_k = γ_k² in its own stationary state.

    >>> ens = rt.layer_normalized(rt.Ensemble("vanilla", sigma_w=4.0, sigma_v=1.0))
    >>> round(rt.mean_field(ens).q, 9)
    1.0
    """
    _validate.instance("ens", ens, Ensemble)
    parts = ens.layers if isinstance(ens, Stack) else (ens,)
    gains, shifts = (_per_gate(name, value, parts) for name, value in (("gain", gain), ("shift", shift)))
    for part in parts:
        if not part.has_normal_biases:
            raise ValueError(f"ens: bias_law = {part.bias_law!r}: layer normalisation needs normal biases")
    factors = [np.ones(len(part.cell.gates)) for part in parts]
    share = 1.0 if ens.tied else settings.share
    before, slopes = None, np.full(sum(map(len, factors)), 2.0)  # q is of second order in the factors
    for _ in range(settings.iterations):
        trial = _scaled(ens, factors, gains, shifts, share)
        ratios, tol, _ = _variance_ratios(trial, gains, share, settings.tol)
        if any((row <= 0.0).any() for row in ratios):
            raise ValueError(f"ens: {ens} has a pre-activation that is zero; it has no normalisation")
        logs, misses = (np.log(np.concatenate(rows)) for rows in (factors, ratios))
        if before is not None:
            slopes = _slopes(slopes, logs - before[0], misses - before[1])
        before = logs, misses
        ends = np.cumsum([len(factor) for factor in factors])[:-1]
        factors = np.split(np.exp(logs - misses / slopes), ends)
        if _miss(ratios) < tol:
            break
    found = _scaled(ens, factors, gains, shifts, 1.0)
    ratios, tol, field = _variance_ratios(found, gains, 1.0, settings.tol)
    if not _miss(ratios) < 10.0 * tol:
        raise ConvergenceError(
            f"layer_normalized: {found} has q/γ² − 1 = {_miss(ratios):.1e} in its own stationary state, "
            "not 0; the normalised network holds a state that the rescaled one does not"
        )
    require_stationary(found, field)
    return found


def _slopes(slopes: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """d log q / d log factor by secants; where the step is rounding, or the slope falls, what it was."""
    moved = np.abs(step) > 1e-9
    found = np.divide(change, step, out=slopes.copy(), where=moved)
    return np.where(found >= 1.0, found, slopes)


def _scaled(
    ens: Ensemble, factors: list[np.ndarray], gains: list[Any], shifts: list[Any], share: float
) -> Ensemble:
    """All scales times factor times ``share``; the rest of the variance γ² is a bias."""
    parts = ens.layers if isinstance(ens, Stack) else (ens,)
    scaled = []
    for part, factor, gain, shift in zip(parts, factors, gains, shifts, strict=True):
        columns: dict[str, dict[str, float]] = {name: {} for name in ("sigma_w", "sigma_v", "sigma_b")}
        for gate, own, target in zip(part.cell.gates, share * factor, gain.values(), strict=True):
            law = part.gate(gate)
            columns["sigma_w"][gate], columns["sigma_v"][gate] = own * law.sigma_w, own * law.sigma_v
            rest = (1.0 - share**2) * target**2
            columns["sigma_b"][gate] = math.sqrt(rest + (own * law.sigma_b) ** 2)
        scaled.append(part.replace(**columns, mu_b=shift))
    return Stack(scaled) if isinstance(ens, Stack) else scaled[0]


def _variance_ratios(
    trial: Ensemble, gains: list[Any], share: float, tol: float
) -> tuple[list[np.ndarray], float, MeanField]:
    """The part of q that is not pinned over its share of γ², by layer and gate, its tolerance, its field."""
    field = mean_field(trial)
    error = field.errors.get("q", 0.0)
    found = []
    for number, gain in enumerate(gains, 1):
        row = []
        for gate, target in gain.items():
            names = [f"{gate}_{number}", f"{gate}_{number}_in"] if isinstance(trial, Stack) else [gate]
            q = sum(field.q_of(name) for name in names if name in trial.cell.gates)
            row.append((q - (1.0 - share**2) * target**2) / (share * target) ** 2)
            tol = max(tol, error / target**2)
        found.append(np.array(row))
    return found, tol, field


def _miss(ratios: list[np.ndarray]) -> float:
    """Largest relative distance of a variance from γ²."""
    return max(float(np.max(np.abs(row - 1.0), initial=0.0)) for row in ratios)


def _per_gate(name: str, value: Any, parts: tuple[Ensemble, ...]) -> list[dict[str, float]]:
    """One number for each gate, by layer; a mapping names the gates of every layer that has them."""
    known = {gate for part in parts for gate in part.cell.gates}
    if isinstance(value, Mapping) and set(value) != known:
        raise ValueError(f"{name} = {dict(value)!r}: must have exactly the gates {sorted(known)}")
    found = []
    for part in parts:
        column = {gate: value[gate] if isinstance(value, Mapping) else value for gate in part.cell.gates}
        if name == "gain":
            found.append({g: _validate.real(name, v, low=0.0, low_open=True) for g, v in column.items()})
        else:
            found.append({g: _validate.real(name, v) for g, v in column.items()})
    return found
