"""Random ensembles for the networks people train: PyTorch modules and an initialiser (extra ``torch``).

`MinimalRNN` and `VanillaRNN` have the call convention of `torch.nn.RNN`. `initialize_` draws the parameters
of these and of `torch.nn.RNN`, `torch.nn.GRU`, `torch.nn.LSTM` from an `rmtrnn.Ensemble`, so that the
module's state-to-state Jacobian has the spectrum that ``rmtrnn.spectrum(ens.replace(tied=True), T)``
predicts: a module uses one draw of its weights at every step, whatever ``ens.tied`` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from rmtrnn._core import random as _random
from rmtrnn._core import validate as _validate
from rmtrnn.cells import GRU, LSTM, Cell
from rmtrnn.cells import MinimalRNN as MinimalCell
from rmtrnn.cells import VanillaRNN as VanillaCell
from rmtrnn.ensemble import Ensemble
from rmtrnn.initialisation.layouts import framework_ensemble
from rmtrnn.initialisation.plan import Plan
from rmtrnn.sampling.random_matrices import random_matrix

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "linear": lambda e: e,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "relu": torch.relu,
    "hard_tanh": torch.nn.functional.hardtanh,
    "sigmoid": torch.sigmoid,
    "softsign": torch.nn.functional.softsign,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
}


class _Recurrent(torch.nn.Module):
    """Layers of one-state recurrent cells, called like `torch.nn.RNN`.

    ``forward(input, h0=None) -> (output, h_n)``. input: (T, batch, input_size), or (batch, T, input_size)
    with ``batch_first``, or (T, input_size) for one sequence. h0, h_n: (num_layers, batch, hidden_size)
    (no batch axis for one sequence); zeros if h0 is left out. output: the last layer's states.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        self.input_size = _validate.integer("input_size", input_size, low=1)
        self.hidden_size = _validate.integer("hidden_size", hidden_size, low=1)
        self.num_layers = _validate.integer("num_layers", num_layers, low=1)
        self.bias = _validate.boolean("bias", bias)
        self.batch_first = _validate.boolean("batch_first", batch_first)

    def _add_layer(self, layer: int, fan_in: int) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        shapes = {
            f"weight_ih_l{layer}": (self.hidden_size, fan_in),
            f"weight_hh_l{layer}": (self.hidden_size, self.hidden_size),
        }
        if self.bias:
            shapes[f"bias_l{layer}"] = (self.hidden_size,)
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def _fed(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """What layer ``layer`` takes as its input x^t, from the sequence below it."""
        return x

    def _step(self, e: torch.Tensor, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(
        self, input: torch.Tensor, h0: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(input, torch.nn.utils.rnn.PackedSequence):
            raise TypeError("input: packed sequences are not supported; pass a padded tensor")
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"input: shape {tuple(input.shape)}, expected (T, batch, {self.input_size}), "
                f"(batch, T, {self.input_size}) with batch_first, or (T, {self.input_size})"
            )
        single = input.dim() == 2
        time_first = self.batch_first and not single
        sequence = input.unsqueeze(1) if single else input.transpose(0, 1) if time_first else input
        expected = (self.num_layers, sequence.shape[1], self.hidden_size)
        if h0 is None:
            h0 = sequence.new_zeros(expected)
        elif single and h0.dim() == 2:
            h0 = h0.unsqueeze(1)
        if tuple(h0.shape) != expected:
            raise ValueError(f"h0: shape {tuple(h0.shape)}, expected {expected}")
        final = []
        for layer in range(self.num_layers):
            sequence = self._run_layer(layer, sequence, h0[layer])
            final.append(sequence[-1])
        h_n = torch.stack(final)
        if single:
            return sequence.squeeze(1), h_n.squeeze(1)
        return (sequence.transpose(0, 1) if time_first else sequence), h_n

    def _run_layer(self, layer: int, sequence: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        x = self._fed(layer, sequence)
        drive = torch.nn.functional.linear(
            x, getattr(self, f"weight_ih_l{layer}"), getattr(self, f"bias_l{layer}") if self.bias else None
        )
        recurrent = getattr(self, f"weight_hh_l{layer}")
        states = []
        for drive_t, x_t in zip(drive, x, strict=True):
            h = self._step(drive_t + h @ recurrent.T, h, x_t)
            states.append(h)
        return torch.stack(states)

    def extra_repr(self) -> str:
        sizes = f"{self.input_size}, {self.hidden_size}"
        return f"{sizes}, num_layers={self.num_layers}, batch_first={self.batch_first}"


class VanillaRNN(_Recurrent):
    """h' = φ(W h + V x + b), φ named by ``activation`` (linear, tanh, erf, relu, hard_tanh, sigmoid,
    softsign, silu, gelu). Called like `torch.nn.RNN`; one bias vector instead of two."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        activation: str = "tanh",
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first)
        self.activation = _validate.choice("activation", activation, ACTIVATIONS)
        for layer in range(num_layers):
            self._add_layer(layer, input_size if layer == 0 else hidden_size)

    def _step(self, e: torch.Tensor, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return ACTIVATIONS[self.activation](e)


class MinimalRNN(_Recurrent):
    """u = σ(W h + V z + b), h' = u ⊙ h + (1 − u) ⊙ z, with z = tanh(W_z x + b_z) (Chen 2017).

    ``embed=True`` gives every layer its own map x → z ∈ R^hidden_size (`torch.nn.Linear`, in ``embeddings``).
    ``embed=False`` feeds z = x, which needs input_size = hidden_size. The theory's R is the mean square of z.
    Called like `torch.nn.RNN`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        embed: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first)
        self.embed = _validate.boolean("embed", embed)
        if not embed and input_size != hidden_size:
            raise ValueError(
                f"input_size = {input_size}: must equal hidden_size = {hidden_size} with embed=False"
            )
        fan_in = [input_size] + [hidden_size] * (num_layers - 1)
        self.embeddings = torch.nn.ModuleList(torch.nn.Linear(n, hidden_size) for n in fan_in if embed)
        for layer in range(num_layers):
            self._add_layer(layer, hidden_size)

    def _fed(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.embeddings[layer](x)) if self.embed else x

    def _step(self, e: torch.Tensor, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        u = torch.sigmoid(e)
        return u * h + (1.0 - u) * x


def initialize_(
    module: torch.nn.Module, ens: Ensemble | Plan, rng: int | np.random.Generator | None = None
) -> torch.nn.Module:
    """Draw the recurrent parameters of ``module`` from ``ens``, in place, and return the module.

    Every layer (and direction) gets its own draw of W_k, V_k, b_k (theory.md section 1): W_k is N(0, σ_w²/N)
    or σ_w·Haar; V_k is N(0, σ_v²/n) for n inputs, so that V x has variance σ_v² R when the inputs have second
    moment R; b_k follows its ``bias_law``. PyTorch's second bias vector is set to zero.

    rng : seed, or a NumPy generator; None draws fresh ones.
    module : `MinimalRNN`, `VanillaRNN`, `torch.nn.RNN`, `GRU`, `LSTM` (no projection), or their cells.
    ens : an ensemble, or a plan of `rmtrnn.initialize`. A plan is for inputs of second moment R; a layer
        above the first one reads E[h²] instead, so that its σ_v is multiplied by √(R/E[h²]). A plan for
        "gru" is drawn as `rmtrnn.initialisation.layouts.framework_ensemble` says. The cell must be the
        module's own: ``rt.VanillaRNN`` with the same activation, `rt.MinimalRNN`, ``rt.LSTM()``, and for
        `torch.nn.GRU` ``rt.GRU(reset_after=True)``, which is PyTorch's variant.
        For that cell σ_v must be 0 for gate "c", whose input part is gate "i".

    The embeddings of `MinimalRNN` stay as they are. Raises TypeError for another module, ValueError where the
    cell and the module differ or the module has no bias for an ensemble that needs one.
    """
    above = 1.0
    if isinstance(ens, Plan):
        above = math.sqrt(ens.ensemble.R / ens.output) if ens.output > 0.0 else 1.0
        ens = framework_ensemble(ens.ensemble)
    if not isinstance(ens, Ensemble):
        raise TypeError(f"ens = {ens!r}: expected an rmtrnn.Ensemble or a plan of rmtrnn.initialize")
    blocks = _blocks(module, ens)
    if not module.bias and any(ens.gate(g).mu_b or ens.gate(g).sigma_b for g in ens.cell.gates):
        raise ValueError("module: has bias=False, but the ensemble has mu_b or sigma_b different from 0")
    generator = _random.generator(rng)
    with torch.no_grad():
        for suffix in _suffixes(module):
            is_first = suffix in ("", "_l0", "_l0_reverse") or getattr(module, "embed", False)
            law = ens if is_first or above == 1.0 else _driven(ens, above)
            _fill(module, law, blocks, suffix, generator)
    return module


def _driven(ens: Ensemble, factor: float) -> Ensemble:
    """The ensemble with all σ_v multiplied by a factor."""
    return ens.replace(sigma_v={gate: factor * ens.gate(gate).sigma_v for gate in ens.cell.gates})


def _blocks(module: torch.nn.Module, ens: Ensemble) -> list[tuple[str, str]]:
    """Return, in the order of the module's stacked rows, the gates (recurrent part, input part)."""
    if isinstance(module, torch.nn.RNN | torch.nn.RNNCell):
        _require(
            ens.cell == VanillaCell(module.nonlinearity), f"rt.VanillaRNN({module.nonlinearity!r})", ens.cell
        )
        return [("e", "e")]
    if isinstance(module, VanillaRNN):
        _require(
            ens.cell == VanillaCell(module.activation), f"rt.VanillaRNN({module.activation!r})", ens.cell
        )
        return [("e", "e")]
    if isinstance(module, MinimalRNN):
        _require(ens.cell == MinimalCell(), "rt.MinimalRNN()", ens.cell)
        return [("e", "e")]
    if isinstance(module, torch.nn.LSTM | torch.nn.LSTMCell):
        _require(ens.cell == LSTM(), "rt.LSTM()", ens.cell)
        if getattr(module, "proj_size", 0):
            raise ValueError(f"module: proj_size = {module.proj_size} is not supported; must be 0")
        return [(gate, gate) for gate in "ifgo"]
    if isinstance(module, torch.nn.GRU | torch.nn.GRUCell):
        _require(ens.cell == GRU(reset_after=True), "rt.GRU(reset_after=True), PyTorch's variant", ens.cell)
        if ens.gate("c").sigma_v:
            raise ValueError(
                f"sigma_v = {ens.gate('c').sigma_v} for gate 'c': must be 0, the input part is gate 'i'"
            )
        return [("r", "r"), ("u", "u"), ("c", "i")]
    raise TypeError(
        f"module: expected torch.nn.RNN, GRU, LSTM, their cells, or rmtrnn.torch.MinimalRNN, VanillaRNN, "
        f"got {type(module).__name__}"
    )


def _require(matches: bool, needed: str, cell: Cell) -> None:
    if not matches:
        raise ValueError(f"ens: its cell is {cell!r}, but this module computes {needed}")


def _suffixes(module: torch.nn.Module) -> list[str]:
    if isinstance(module, torch.nn.RNNCellBase):
        return [""]
    directions = ("", "_reverse") if getattr(module, "bidirectional", False) else ("",)
    return [f"_l{layer}{direction}" for layer in range(module.num_layers) for direction in directions]  # type: ignore


def _fill(
    module: torch.nn.Module,
    ens: Ensemble,
    blocks: list[tuple[str, str]],
    suffix: str,
    generator: np.random.Generator,
) -> None:
    n_hidden = int(module.hidden_size)  # pyright: ignore
    parameters = dict(module.named_parameters())
    recurrent, fed = parameters[f"weight_hh{suffix}"], parameters[f"weight_ih{suffix}"]
    deviations = np.zeros((len(ens.cell.gates), n_hidden))
    if not ens.has_normal_biases:
        deviations = ens.bias_deviations(generator.uniform(2.0**-53, 1.0, deviations.shape))
    for block, (gate, input_gate) in enumerate(blocks):
        rows = slice(block * n_hidden, (block + 1) * n_hidden)
        law, input_law = ens.gate(gate), ens.gate(input_gate)
        weights = random_matrix(law.weights, n_hidden, law.sigma_w, generator)
        _set(recurrent[rows], weights)
        _set(
            fed[rows],
            _normal(generator, 0.0, input_law.sigma_v / math.sqrt(fed.shape[1]), tuple(fed[rows].shape)),
        )
        if not module.bias:
            continue
        bias = _bias(ens, input_gate, generator, deviations)
        if f"bias{suffix}" in parameters:
            _set(parameters[f"bias{suffix}"][rows], bias)
            continue
        _set(parameters[f"bias_ih{suffix}"][rows], bias)
        own = gate != input_gate
        second = _bias(ens, gate, generator, deviations) if own else np.zeros(n_hidden)
        _set(parameters[f"bias_hh{suffix}"][rows], second)


def _bias(ens: Ensemble, gate: str, generator: np.random.Generator, deviations: np.ndarray) -> np.ndarray:
    """b of one gate, from b − μ_b of all gates (K, N) where it is not normal."""
    law, own = ens.gate(gate), deviations[ens.cell.gates.index(gate)]
    if law.has_normal_bias:
        return _normal(generator, law.mu_b, law.sigma_b, own.shape)
    return law.mu_b + own


def _normal(
    generator: np.random.Generator, mean: float, deviation: float, shape: tuple[int, ...]
) -> np.ndarray:
    return mean + deviation * generator.standard_normal(shape)


def _set(target: torch.Tensor, values: np.ndarray) -> None:
    target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
