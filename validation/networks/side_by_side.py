"""Several networks of one cell in training, side by side: losses, gradients, Adam, scores.

The networks do not see each other: each has its own rate, its own count of steps, and the norm of its own
gradient clipped at `training.CLIP`. Letters: `validation.networks.steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from validation.networks.modules import flat, kind
from validation.networks.steps import CELLS, Cell, layout
from validation.paper import training


class Networks:
    """M networks: parameters, Adam's moments, buffers.

    flat, slope : parameters and their gradients (M, size); weights, gradients : the matrices in them
    rates, counts, alive : of Adam; steps done; whether all losses and gradients have been finite
    """

    def __init__(
        self,
        cell: str,
        N: int,
        inputs: int,
        outputs: int,
        starts: Sequence[torch.Tensor],
        rates: Sequence[float],
        where: Any = "cpu",
    ) -> None:
        self.cell, self.N, self.inputs = cell, N, inputs
        self.layout = layout(cell, N, inputs, outputs)
        self.flat = torch.stack(list(starts)).to(where)
        self.rates = torch.tensor(rates, dtype=torch.float64, device=where)
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.counts = torch.zeros_like(self.rates)
        self.alive = torch.ones(len(rates), dtype=torch.bool, device=where)
        self._make()

    @classmethod
    def of(cls, nets: Sequence[Any], readouts: Sequence[Any], rates: Sequence[float], where: Any) -> Networks:
        """The networks of modules of one kind and size, each with its readout and its rate."""
        first, starts = nets[0], [flat(*pair) for pair in zip(nets, readouts, strict=True)]
        outputs = readouts[0].out_features
        return cls(kind(first), first.hidden_size, first.input_size, outputs, starts, rates, where)

    def _make(self) -> None:
        """Views and buffers for the present number of networks."""
        self.slope = torch.zeros_like(self.flat)
        self.weights, self.gradients = self.layout.views(self.flat), self.layout.views(self.slope)
        self._cells: dict[tuple[int, int], Cell] = {}

    def _of_size(self, T: int, B: int) -> Cell:
        """The buffers of B sequences of T steps."""
        if (T, B) not in self._cells:
            self._cells[T, B] = CELLS[self.cell](len(self.flat), T, B, self.N, self.inputs, self.flat)
        return self._cells[T, B]

    def put(self, slot: int, start: torch.Tensor, rate: float) -> None:
        """Put another network into a slot."""
        self.flat[slot], self.rates[slot], self.alive[slot] = start, rate, True
        self.first[slot], self.second[slot], self.counts[slot] = 0.0, 0.0, 0.0

    def keep(self, slots: list[int]) -> None:
        """Go on with these slots alone."""
        for name in ("flat", "first", "second", "rates", "counts", "alive"):
            setattr(self, name, getattr(self, name)[slots])
        self._make()

    def losses(self, x: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Losses (M,) of the answers (M, read, B) after the last ``read`` steps; ``slope`` is set."""
        M, read, B = answers.shape
        network = self._of_size(x.shape[1], B)
        states = network.forward(self.weights, x)[:, -read:].flatten(1, 2)
        out = self.weights["out"]
        losses, of_scores = losses_and_gradients(torch.bmm(states, out).unflatten(1, (read, B)), answers)
        of_scores = of_scores.flatten(1, 2)
        torch.bmm(states.transpose(1, 2), of_scores, out=self.gradients["out"])
        of_states = torch.bmm(of_scores, out[:, : self.N].transpose(1, 2))
        network.backward(self.weights, self.gradients, of_states.view(M, read, B, self.N))
        return losses

    def update(self, losses: torch.Tensor) -> torch.Tensor:
        """One step of Adam down ``slope``, for the networks (M,) that it returns.

        A network whose loss or gradient is not finite stays as it is from then on.
        """
        norms = self.slope.norm(dim=1)
        self.alive &= norms.isfinite() & losses.isfinite()
        if not self.alive.all():
            self.slope[~self.alive] = 0.0
        self.counts += self.alive
        scale = torch.where(self.alive, torch.clamp(training.CLIP / (norms + 1e-6), max=1.0), 0.0)
        self.slope *= scale[:, None]
        self.first.lerp_(self.slope, 0.1)
        self.second.mul_(0.999).addcmul_(self.slope, self.slope, value=0.001)
        counts = self.counts.clamp(min=1.0)
        sizes = torch.where(self.alive, self.rates / (1.0 - 0.9**counts), 0.0).to(self.flat)[:, None]
        root = torch.sqrt(1.0 - 0.999**counts).to(self.flat)[:, None]
        torch.sqrt(self.second, out=self.slope).div_(root).add_(1e-8)
        self.flat -= torch.div(self.first, self.slope, out=self.slope).mul_(sizes)
        return self.alive

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """What the readout says after the last step, (M, B, outputs)."""
        last = self._of_size(*x.shape[1:3]).forward(self.weights, x)[:, -1]
        return torch.bmm(last, self.weights["out"])


def accuracies(
    scores: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, labels: torch.Tensor, part: int
) -> torch.Tensor:
    """Share of right classes of every network, (M,): x (n, T, inputs), labels (n,).

    ``part`` sequences are run at once; ``scores`` maps (1, T, B, inputs) to scores (M, B, classes).
    """
    right = []
    with torch.no_grad():
        for rows, wanted in zip(x.split(part), labels.split(part), strict=True):
            right.append(scores(rows.transpose(0, 1)[None]).argmax(-1) == wanted)
    return torch.cat(right, dim=1).double().mean(1)


def losses_and_gradients(scores: torch.Tensor, answers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean losses (M,) and ∂loss/∂scores, (M, read, B, outputs), of answers (M, read, B).

    Squared error for real answers, cross entropy for classes.
    """
    count = answers[0].numel()
    if answers.dtype == torch.int64:
        logs = torch.log_softmax(scores, dim=-1)
        right = answers[..., None]
        losses = -logs.gather(-1, right).flatten(1).mean(1)
        slope = logs.exp().scatter_add_(-1, right, logs.new_full(right.shape, -1.0))
        return losses, slope / count
    error = scores[..., 0] - answers
    return (error**2).flatten(1).mean(1), (2.0 / count) * error[..., None]
