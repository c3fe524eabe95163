"""Sampled parameters as plain arrays in the gate order and the sign conventions of PyTorch, Keras and Flax.

torch : ``weight_ih_l0`` (K N, n), ``weight_hh_l0`` (K N, N), ``bias_ih_l0`` and ``bias_hh_l0`` (K N,). GRU:
rows
    r, z, n; LSTM: i, f, g, o.
keras : ``kernel`` (n, K N), ``recurrent_kernel`` (N, K N), ``bias``. GRU (``reset_after=True``): columns z,
r, h,
    and a bias (2, 3 N) of the input and of the recurrent part; LSTM: i, f, c, o.
flax : a kernel and a bias for each gate, as in `SimpleCell`, `GRUCell`, `LSTMCell`: ``"ir.kernel"`` (n, N),
    ``"hr.kernel"`` (N, N), ``"ir.bias"`` (N,) and so on. GRU: biases with the input, and ``"hn.bias"``.

All three have h' = (1 − z) n + z h for the GRU, so that their z is this package's u, and all reset after the
product, n = tanh(e_i + r e_c). A plan for the cell "gru", whose reset gate acts before the product, is drawn
with the same laws; the two differ by how much r varies between units.

Letters: N, the number of units; n, the number of inputs; K, of gates.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn.cells import GRU, LSTM, VanillaRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.entry_laws import BiasLaw
from rmtrnn.sampling.random_matrices import random_matrix

LAYOUTS = ("torch", "keras", "flax")


class Drawn(NamedTuple):
    """One gate: W (N, N), V (N, n), the bias with the input, and the bias with W h."""

    W: np.ndarray
    V: np.ndarray
    bias: np.ndarray
    own: np.ndarray


class GateLaws(NamedTuple):
    """Laws of one gate of a framework's layer.

    W: kind ``weights``, scale ``sigma_w``; V ~ N(0, σ_v²/n); the bias with the input: mean μ_b, deviation
    σ_b, and law ``bias``; that with W h N(own_mu, own_sigma²), which only the GRU's candidate has.
    """

    weights: Any
    sigma_w: float
    sigma_v: float
    mu_b: float
    sigma_b: float
    own_mu: float
    own_sigma: float
    bias: BiasLaw


_ORDERS = {
    ("rnn", "torch"): "e",
    ("rnn", "keras"): "e",
    ("rnn", "flax"): "e",
    ("gru", "torch"): "ruc",
    ("gru", "keras"): "urc",
    ("gru", "flax"): "ruc",
    ("lstm", "torch"): "ifgo",
    ("lstm", "keras"): "ifgo",
    ("lstm", "flax"): "ifgo",
}
_FLAX = {"e": "", "r": "r", "u": "z", "c": "n", "i": "i", "f": "f", "g": "g", "o": "o"}


def framework_ensemble(ens: Ensemble) -> Ensemble:
    """The ensemble that a framework's module computes: for "gru" that of `rt.GRU(reset_after=True)`.

    W_c and V_c, b_c keep their laws; V_c and b_c become those of gate "i". Other ensembles come back as they
    are.
    """
    if ens.cell != GRU():
        return ens
    gates = {gate: ens.gate(gate) for gate in "ruc"}
    laws = {gate: gates[gate].bias_law for gate in "ruc"}
    moved = {"c": "i"}  # whose bias and input weights these are in the other variant
    values: dict[str, dict[str, float]] = {
        "sigma_w": {gate: law.sigma_w for gate, law in gates.items()} | {"i": 1.0},
        "sigma_v": {moved.get(gate, gate): law.sigma_v for gate, law in gates.items()},
    }
    for name in ("mu_b", "sigma_b"):
        values[name] = {
            moved.get(gate, gate): getattr(law, name) if laws[gate].is_scaled else 0.0
            for gate, law in gates.items()
        }
    biases = {
        moved.get(gate, gate): replace(law, source=moved.get(law.source, law.source))
        for gate, law in laws.items()
    }
    weights = {gate: law.weights for gate, law in gates.items()} | {"i": "gaussian"}
    return Ensemble(
        GRU(reset_after=True), **values, weights=weights, R=ens.R, Sigma=ens.Sigma, tied=ens.tied,
        input_law=ens.input_law, bias_law=biases,
    )  # fmt: skip


def draw_arrays(
    ens: Ensemble,
    layout: str,
    input_size: int,
    hidden_size: int,
    rng: int | np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Draw one layer of ``ens``; see the module's text for names and shapes. ValueError for other cells."""
    layout = _validate.choice("layout", layout, LAYOUTS)
    n = _validate.integer("input_size", input_size, low=1)
    N = _validate.integer("hidden_size", hidden_size, low=1)
    kind, laws = framework_laws(ens)
    generator = _random.generator(rng)
    order = _ORDERS[kind, layout]
    biases = _biases(framework_ensemble(ens), N, generator)
    drawn = {}
    for gate in sorted(order):
        W = random_matrix(laws[gate].weights, N, laws[gate].sigma_w, generator)
        V = laws[gate].sigma_v / math.sqrt(n) * generator.standard_normal((N, n))
        is_candidate = kind == "gru" and gate == "c"
        own = biases["c"] if is_candidate else np.zeros(N)
        drawn[gate] = Drawn(W, V, biases["i"] if is_candidate else biases[gate], own)
    gates = [drawn[gate] for gate in order]
    if layout == "torch":
        return {
            "weight_ih_l0": np.concatenate([one.V for one in gates]),
            "weight_hh_l0": np.concatenate([one.W for one in gates]),
            "bias_ih_l0": np.concatenate([one.bias for one in gates]),
            "bias_hh_l0": np.concatenate([one.own for one in gates]),
        }
    if layout == "keras":
        bias = [np.concatenate([one.bias for one in gates]), np.concatenate([one.own for one in gates])]
        return {
            "kernel": np.concatenate([one.V.T for one in gates], axis=1),
            "recurrent_kernel": np.concatenate([one.W.T for one in gates], axis=1),
            "bias": np.array(bias) if kind == "gru" else bias[0] + bias[1],
        }
    return _flax(kind, order, drawn)


def _kind(ens: Ensemble) -> str:
    if isinstance(ens.cell, VanillaRNN):
        return "rnn"
    if ens.cell == GRU(reset_after=True):
        if ens.gate("c").sigma_v:
            raise ValueError(
                f"sigma_v = {ens.gate('c').sigma_v} for gate 'c': must be 0, the input is gate 'i'"
            )
        return "gru"
    if ens.cell == LSTM():
        return "lstm"
    raise ValueError(
        f"cell {ens.cell.name!r}: frameworks have vanilla cells, GRU and LSTM without peephole only"
    )


def framework_laws(ens: Ensemble) -> tuple[str, dict[str, GateLaws]]:
    """The kind of a layer and the laws of its gates in the order of PyTorch's rows; ValueError for others."""
    ens = framework_ensemble(ens)
    kind = _kind(ens)
    return kind, {gate: _laws(ens, kind, gate) for gate in _ORDERS[kind, "torch"]}


def _laws(ens: Ensemble, kind: str, gate: str) -> GateLaws:
    law = ens.gate(gate)
    fed = ens.gate("i") if kind == "gru" and gate == "c" else law
    own = (0.0, 0.0) if fed is law else (law.mu_b, law.sigma_b)
    return GateLaws(law.weights, law.sigma_w, fed.sigma_v, fed.mu_b, fed.sigma_b, *own, fed.bias_law)


def _biases(ens: Ensemble, N: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The biases of all gates, each (N,)."""
    gates, z = ens.cell.gates, generator.standard_normal((len(ens.cell.gates), N))
    deviations = ens.bias_deviations(generator.uniform(2.0**-53, 1.0, z.shape))
    laws = [ens.gate(gate) for gate in gates]
    return {
        gate: law.mu_b + (law.sigma_b * z[k] if law.has_normal_bias else deviations[k])
        for k, (gate, law) in enumerate(zip(gates, laws, strict=True))
    }


def _flax(kind: str, order: str, drawn: dict[str, Drawn]) -> dict[str, np.ndarray]:
    """`SimpleCell`: i (with bias), h. `GRUCell`: biases with the input and for hn. `LSTMCell`: with W h."""
    found = {}
    for gate in order:
        one, name = drawn[gate], _FLAX[gate]
        found[f"i{name}.kernel"], found[f"h{name}.kernel"] = one.V.T, one.W.T
        if kind == "lstm":
            found[f"h{name}.bias"] = one.bias
            continue
        found[f"i{name}.bias"] = one.bias
        if kind == "gru" and gate == "c":
            found[f"h{name}.bias"] = one.own
    return found
