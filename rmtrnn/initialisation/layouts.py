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
from typing import Any, NamedTuple

import numpy as np

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn.cells import GRU, LSTM, VanillaRNN
from rmtrnn.ensemble import Ensemble
from rmtrnn.sampling.random_matrices import random_matrix

LAYOUTS = ("torch", "keras", "flax")


class Drawn(NamedTuple):
    """One gate: W (N, N), V (N, n), the bias with the input, and the bias with W h."""

    W: np.ndarray
    V: np.ndarray
    bias: np.ndarray
    own: np.ndarray


class GateLaws(NamedTuple):
    """Laws of one gate of a framework's layer: what `draw_arrays` draws from.

    W: kind ``weights``, scale ``sigma_w``; V ~ N(0, σ_v²/n); the bias with the input N(μ_b, σ_b²), and
    that with W h N(own_mu, own_sigma²), which only the GRU's candidate has.
    """

    weights: Any
    sigma_w: float
    sigma_v: float
    mu_b: float
    sigma_b: float
    own_mu: float
    own_sigma: float


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
    values = {}
    for name in ("sigma_w", "sigma_v", "mu_b", "sigma_b"):
        law = {gate: getattr(ens.gate(gate), name) for gate in "ruc"}
        moved = {"c": law["c"], "i": 1.0} if name == "sigma_w" else {"c": 0.0, "i": law["c"]}
        values[name] = law | moved
    weights = {gate: ens.gate(gate).weights for gate in "ruc"} | {"i": "gaussian"}
    return Ensemble(
        GRU(reset_after=True), **values, weights=weights, R=ens.R, Sigma=ens.Sigma, tied=ens.tied,
        input_law=ens.input_law,
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
    drawn = {
        gate: _drawn(laws[gate], kind == "gru" and gate == "c", n, N, generator) for gate in sorted(order)
    }
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
    return GateLaws(law.weights, law.sigma_w, fed.sigma_v, fed.mu_b, fed.sigma_b, *own)


def _drawn(laws: GateLaws, has_own: bool, n: int, N: int, generator: np.random.Generator) -> Drawn:
    W = random_matrix(laws.weights, N, laws.sigma_w, generator)
    V = laws.sigma_v / math.sqrt(n) * generator.standard_normal((N, n))
    bias = laws.mu_b + laws.sigma_b * generator.standard_normal(N)
    own = laws.own_mu + laws.own_sigma * generator.standard_normal(N) if has_own else np.zeros(N)
    return Drawn(W, V, bias, own)


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
