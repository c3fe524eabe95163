"""PyTorch's modules in the layout of the trainer."""

from __future__ import annotations

from typing import Any

import torch

from rmtrnn import torch as rt_torch
from validation.networks.steps import layout

BLOCKS = {"gru": "ruc", "lstm": "ifgo"}  # rows of PyTorch's weights; one block for other cells
COLUMNS = {"gru": "ruc", "lstm": "ifog"}  # columns of the trainer


def kind(net: Any) -> str:
    """The name in `steps.CELLS` of the cell of a module.

    Raises TypeError for other modules, and for cells of other activations than tanh.
    """
    if isinstance(net, rt_torch.MinimalRNN):
        return "minimal" if net.embed else "bare minimal"
    if isinstance(net, torch.nn.GRU | torch.nn.LSTM):
        return "gru" if isinstance(net, torch.nn.GRU) else "lstm"
    if isinstance(net, torch.nn.RNN) and net.nonlinearity == "tanh":
        return "vanilla"
    if isinstance(net, rt_torch.VanillaRNN) and net.activation == "tanh":
        return "vanilla"
    raise TypeError(f"net = {net!r}: expected a vanilla cell with tanh, a minimalRNN, a GRU or an LSTM")


def blocks(cell: str, N: int) -> dict[str, slice]:
    """The rows of every gate in PyTorch's weights and biases."""
    return {gate: slice(k * N, (k + 1) * N) for k, gate in enumerate(BLOCKS.get(cell, "e"))}


def flat(net: Any, readout: Any, gradient: bool = False) -> torch.Tensor:
    """Parameters (size,) of one layer and its readout; PyTorch's two biases of a gate become their sum.

    gradient : the module holds gradients in place of parameters: both biases hold that of the sum.
    """
    cell, N = kind(net), net.hidden_size
    own = layout(cell, N, net.input_size, readout.out_features)
    with torch.no_grad():
        found = torch.zeros((1, own.size), dtype=readout.weight.dtype)
        views = {name: view[0] for name, view in own.views(found).items()}
        part = dict(net.named_parameters())
        rows = blocks(cell, N)
        fed = part["weight_ih_l0"]
        if "bias_l0" in part:
            bias, second = part["bias_l0"], torch.zeros_like(part["bias_l0"])
        else:
            bias, second = part["bias_ih_l0"], part["bias_hh_l0"] * (not gradient)
        for k, gate in enumerate(COLUMNS.get(cell, "e")):
            columns, row = slice(k * N, (k + 1) * N), rows[gate]
            views["W"][:N, columns] = part["weight_hh_l0"][row].T
            if (cell, gate) == ("gru", "c"):
                views["W"][N, columns] = part["bias_hh_l0"][row]
                views["C"][0], views["C"][1:] = bias[row], fed[row].T
            else:
                views["W"][N, columns] = bias[row] + second[row]
                views["W"][N + 1 :, columns] = fed[row].T
        if "Z" in views:
            views["Z"][0], views["Z"][1:] = part["embeddings.0.bias"], part["embeddings.0.weight"].T
        views["out"][:N], views["out"][N] = readout.weight.T, readout.bias
    return found[0]
