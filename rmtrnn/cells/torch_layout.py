"""The parameters of PyTorch's recurrent modules as the W_k, V_k, b_k of a library cell, theory.md (1).

`torch.nn.RNN`, `GRU`, `LSTM`, their Cell variants, and `rmtrnn.torch.VanillaRNN`, `MinimalRNN`. PyTorch
stacks the gates of a layer in rows, and adds two bias vectors; for the GRU's candidate the second is inside
the reset product, which is gate "c" of ``GRU(reset_after=True)``, and the first belongs to gate "i".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from rmtrnn.cells.cell import Cell
from rmtrnn.cells.library import GRU, LSTM, MinimalRNN, VanillaRNN


class LayerParameters(NamedTuple):
    """One layer's cell and its parameters by gate, float64: W (N, N), V (N, inputs), b (N,).

    ``V`` and ``W`` lack the gates without a matrix; ``b`` is empty for a module without biases.
    """

    cell: Cell
    W: dict[str, np.ndarray]
    V: dict[str, np.ndarray]
    b: dict[str, np.ndarray]


def layer_parameters(module: Any, layer: int = 0) -> LayerParameters:
    """Read the parameters of one layer (forward direction) of ``module``.

    Raises TypeError for a module of another class, ValueError for one with a projection.
    """
    if getattr(module, "proj_size", 0):
        raise ValueError(f"module: proj_size = {module.proj_size} is not supported; must be 0")
    cell, order = _cell(module)
    suffix = "" if isinstance(module, torch.nn.RNNCellBase) else f"_l{layer}"
    found = {name: value.detach().cpu().numpy().astype(float) for name, value in module.named_parameters()}
    n = int(module.hidden_size)
    rows = {gate: slice(k * n, (k + 1) * n) for k, gate in enumerate(order)}
    recurrent, fed = found[f"weight_hh{suffix}"], found[f"weight_ih{suffix}"]
    w = {gate: recurrent[part] for gate, part in rows.items()}
    v = {"i" if gate == "c" else gate: fed[part] for gate, part in rows.items()}
    return LayerParameters(cell, w, v, _biases(found, suffix, rows))


def measured(parameters: LayerParameters) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Measure σ_w, σ_v, μ_b, σ_b and the law of W of every gate; say what fits no ensemble of these laws.

    σ_w² = N E[W_ij²], σ_v² = n E[V_ij²] for n inputs. W counts as orthogonal or Gaussian where the relative
    variance of its squared singular values is 0 or 1 to 10/N + 0.02.
    """
    gates, misfits = parameters.cell.gates, []
    found: dict[str, dict[str, Any]] = {
        name: {} for name in ("sigma_w", "sigma_v", "mu_b", "sigma_b", "weights")
    }
    for gate in gates:
        w, v, b = (part.get(gate, np.zeros((1, 1))) for part in (parameters.W, parameters.V, parameters.b))
        found["sigma_w"][gate] = float(np.sqrt(w.shape[1] * np.mean(w**2)))
        found["sigma_v"][gate] = float(np.sqrt(v.shape[1] * np.mean(v**2)))
        found["mu_b"][gate], found["sigma_b"][gate] = float(np.mean(b)), float(np.std(b))
        found["weights"][gate] = "gaussian"
        if not w.any():
            continue
        squares = np.linalg.svd(w, compute_uv=False) ** 2
        spread = float(np.var(squares) / np.mean(squares) ** 2)
        allowed = 10.0 / len(w) + 0.02
        if spread < allowed:
            found["weights"][gate] = "orthogonal"
        elif abs(spread - 1.0) > allowed:
            misfits.append(
                f"W of gate {gate!r}: relative variance {spread:.2f} of its squared singular values; 1 if "
                "its entries are independent, 0 if it is orthogonal"
            )
        mean = abs(float(np.mean(w))) * len(w) / found["sigma_w"][gate]
        if mean > 5.0:
            misfits.append(f"W of gate {gate!r}: its mean is {mean:.1f} standard errors from 0")
    return found, misfits


def _biases(found: dict[str, np.ndarray], suffix: str, rows: dict[str, slice]) -> dict[str, np.ndarray]:
    if f"bias{suffix}" in found:
        return {gate: found[f"bias{suffix}"][part] for gate, part in rows.items()}
    if f"bias_ih{suffix}" not in found:
        return {}
    fed, recurrent = found[f"bias_ih{suffix}"], found[f"bias_hh{suffix}"]
    sums = {gate: fed[part] + recurrent[part] for gate, part in rows.items() if gate != "c"}
    if "c" in rows:
        sums |= {"i": fed[rows["c"]], "c": recurrent[rows["c"]]}
    return sums


def _cell(module: Any) -> tuple[Cell, str]:
    """The library cell that the module computes, and its gates in the order of the stacked rows."""
    if isinstance(module, torch.nn.RNN | torch.nn.RNNCell):
        return VanillaRNN(module.nonlinearity), "e"
    if isinstance(module, torch.nn.GRU | torch.nn.GRUCell):
        return GRU(reset_after=True), "ruc"
    if isinstance(module, torch.nn.LSTM | torch.nn.LSTMCell):
        return LSTM(), "ifgo"
    own = type(module).__name__ if type(module).__module__ == "rmtrnn.torch" else ""
    if own == "VanillaRNN":
        return VanillaRNN(module.activation), "e"
    if own == "MinimalRNN":
        return MinimalRNN(), "e"
    raise TypeError(
        "module: expected torch.nn.RNN, GRU, LSTM, one of their cells, or rmtrnn.torch.MinimalRNN, "
        f"VanillaRNN; got {type(module).__name__}"
    )
