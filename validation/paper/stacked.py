"""Several networks trained at once: equal shapes, other weights, seeds or rates (needs PyTorch).

A time step of a small network costs more in calls than in arithmetic. Here M networks share every call
(`torch.bmm`), and the backward pass through a sequence is written out, the gradient of the weights as one
product over all steps. The networks do not see each other: losses add; clipping and Adam act on each alone.

Axes: network, step, sequence, unit. Parameters are those of `rmtrnn.torch` modules, stacked (`stack`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from rmtrnn import torch as rt_torch
from validation.paper.training import CLIP

Parameters = dict[str, torch.Tensor]


class VanillaSteps(torch.autograd.Function):
    """h^t = tanh(drive^t + W h^{t−1}), h^0 = 0: drive (M, T, B, N), W (M, N, N) → last state (M, B, N)."""

    @staticmethod
    def forward(ctx: Any, drive: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        M, T, B, N = drive.shape
        states = drive.new_zeros((M, T + 1, B, N))
        transposed = weight.transpose(1, 2)
        for t in range(T):
            torch.baddbmm(drive[:, t], states[:, t], transposed, out=states[:, t + 1])
            states[:, t + 1].tanh_()
        ctx.save_for_backward(states, weight)
        return states[:, T].clone()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, weight = ctx.saved_tensors
        fields = 1.0 - states[:, 1:] ** 2  # the slopes of all steps at once, then in place the gradients
        g = outer[0]
        for t in range(fields.shape[1] - 1, -1, -1):
            g = torch.bmm(fields[:, t].mul_(g), weight)
        return fields, _outer_product(fields, states[:, :-1])


class MinimalSteps(torch.autograd.Function):
    """u = σ(drive^t + W h^{t−1}), h^t = u h^{t−1} + (1 − u) z^t, h^0 = 0; z like drive, M = 1 allowed."""

    @staticmethod
    def forward(ctx: Any, drive: torch.Tensor, weight: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        M, T, B, N = drive.shape
        states, gates = drive.new_zeros((M, T + 1, B, N)), torch.empty_like(drive)
        transposed = weight.transpose(1, 2)
        for t in range(T):
            u = torch.baddbmm(drive[:, t], states[:, t], transposed, out=gates[:, t]).sigmoid_()
            torch.lerp(z[:, t].expand_as(u), states[:, t], u, out=states[:, t + 1])
        ctx.save_for_backward(states, gates, weight, z)
        return states[:, T].clone()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        states, gates, weight, z = ctx.saved_tensors
        # What multiplies g at all steps at once: of the field u (1 − u) (h − z), then in place the gradients.
        fields = gates * (1.0 - gates) * (states[:, :-1] - z)
        wanted = ctx.needs_input_grad[2]
        of_h = torch.empty_like(gates) if wanted else None
        g = outer[0]
        for t in range(gates.shape[1] - 1, -1, -1):
            if of_h is not None:
                of_h[:, t] = g
            g = torch.baddbmm(g * gates[:, t], fields[:, t].mul_(g), weight)
        of_z = None
        if of_h is not None:
            of_z = of_h.mul_(1.0 - gates)
            of_z = of_z.sum(0, keepdim=True) if len(z) < len(gates) else of_z
        return fields, _outer_product(fields, states[:, :-1]), of_z


def _outer_product(fields: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Gradient of W: Σ over steps and sequences of field ⊗ state, (M, N, N)."""
    return torch.bmm(fields.flatten(1, 2).transpose(1, 2), states.flatten(1, 2))


def stack(cells: Sequence[torch.nn.Module], readouts: Sequence[torch.nn.Linear], device: Any) -> Parameters:
    """The parameters of M one-layer cells and their readouts, each with a leading axis, as leaves."""
    parameters: Parameters = {}
    parts = [dict(cell.named_parameters()) for cell in cells]
    for name in parts[0]:
        parameters[name] = torch.stack([part[name].detach() for part in parts])
    for name in ("weight", "bias"):
        parameters[f"out.{name}"] = torch.stack([getattr(out, name).detach() for out in readouts])
    return {name: value.to(device).requires_grad_() for name, value in parameters.items()}


def scores(kind: type[torch.nn.Module], parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
    """Scores (M, B, classes) after the sequences x (M or 1, T, B, inputs); ``kind`` is the module's class."""
    z = x
    if "embeddings.0.weight" in parameters:
        z = torch.tanh(_affine(x, parameters["embeddings.0.weight"], parameters["embeddings.0.bias"]))
    drive = _affine(z, parameters["weight_ih_l0"], parameters["bias_l0"])
    weight = parameters["weight_hh_l0"]
    if issubclass(kind, rt_torch.MinimalRNN):
        last = MinimalSteps.apply(drive, weight, z)
    elif issubclass(kind, rt_torch.VanillaRNN):
        last = VanillaSteps.apply(drive, weight)
    else:
        raise TypeError(f"kind = {kind.__name__}: expected VanillaRNN (tanh) or MinimalRNN")
    return torch.baddbmm(parameters["out.bias"][:, None], last, parameters["out.weight"].transpose(1, 2))


def _affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(M or 1, T, B, inputs), (M, N, inputs), (M, N) → (M, T, B, N)."""
    _, T, B, inputs = x.shape
    flat = x.reshape(len(x), T * B, inputs).expand(len(weight), -1, -1)
    return torch.baddbmm(bias[:, None], flat, weight.transpose(1, 2)).unflatten(1, (T, B))


class Adam:
    """Adam for every network alone, with its own rate and its gradient's norm clipped at `CLIP`.

    A network whose loss or gradient is not finite stays as it was from then on.
    """

    def __init__(self, parameters: Parameters, rates: torch.Tensor) -> None:
        self._parameters = list(parameters.values())
        self._rates = rates
        self._first = [torch.zeros_like(p) for p in self._parameters]
        self._second = [torch.zeros_like(p) for p in self._parameters]
        self._steps = 0
        self.alive = torch.ones(len(rates), dtype=torch.bool, device=rates.device)

    def step(self, losses: torch.Tensor) -> None:
        """One step down the gradients that lie in the parameters; ``losses`` (M,) are what they came from."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        self.alive &= norms.isfinite() & losses.isfinite()
        scale = torch.clamp(CLIP / (norms + 1e-6), max=1.0)
        self._steps += 1
        corrections = 1.0 - 0.9**self._steps, math.sqrt(1.0 - 0.999**self._steps)
        sizes = torch.where(self.alive, self._rates, 0.0) / corrections[0]
        for p, g, first, second in zip(self._parameters, gradients, self._first, self._second, strict=True):
            shape = (-1,) + (1,) * (p.dim() - 1)
            g = torch.where(self.alive.view(shape), g * scale.view(shape), 0.0)
            first.lerp_(g, 0.1)
            second.mul_(0.999).addcmul_(g, g, value=0.001)
            p.data -= sizes.view(shape) * first / (second.sqrt() / corrections[1] + 1e-8)


def train(
    parameters: Parameters,
    losses_of: Callable[[], torch.Tensor],
    steps: int,
    rates: torch.Tensor,
    after: Callable[[int], None] | None = None,
) -> tuple[torch.Tensor, float]:
    """``steps`` steps of `Adam` on ``losses_of()`` (M,); the last losses and the processor's seconds."""
    start = time.process_time()
    optimiser = Adam(parameters, rates)
    losses = rates.new_full((len(rates),), float("nan"))
    for step in range(1, steps + 1):
        for p in parameters.values():
            p.grad = None
        losses = losses_of()
        losses.sum().backward()
        optimiser.step(losses.detach())
        if after is not None:
            after(step)
    return losses.detach(), time.process_time() - start


def cross_entropies(found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean loss of every network: scores (M, B, classes), labels (M, B) → (M,)."""
    each = torch.nn.functional.cross_entropy(found.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(1)


def accuracies(
    score: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, labels: torch.Tensor, part: int = 500
) -> torch.Tensor:
    """Share of right classes of every network, (M,): x (n, T, inputs), labels (n,).

    ``part`` sequences are run at once; ``score`` maps (1, T, B, inputs) to scores.
    """
    right = []
    with torch.no_grad():
        for rows, wanted in zip(x.split(part), labels.split(part), strict=True):
            guesses = score(rows.transpose(0, 1)[None]).argmax(-1)
            right.append(guesses == wanted)
    return torch.cat(right, dim=1).double().mean(1)
