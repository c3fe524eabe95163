"""Trains a queue of networks of one cell on one task, some side by side (`validation.networks`).

A network leaves its slot when it has reached the target, has used its budget, or its loss or gradient
is not finite; the next of the queue takes the slot. All networks of one seed see the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rmtrnn._core import random as _random
from validation.initialisation.tasks import Task
from validation.networks.side_by_side import Networks
from validation.paper import training

TOGETHER = 5  # networks side by side: their weights and the state of a step fit into a cache of 2 MB
WINDOW = 20  # the loss that is compared with a target is the mean over this many steps
BATCHES = 72  # stream of the batches of a seed


@dataclass
class Run:
    """One network to train: its parameters (size,) at the start, rate, seed of its batches, budget of steps.

    ``losses`` : of the steps done; ``failed`` where a loss or gradient was not finite.
    """

    start: torch.Tensor
    rate: float
    seed: int
    steps: int
    losses: list[float] = field(default_factory=list)
    failed: bool = False

    def smoothed(self) -> np.ndarray:
        """Means over `WINDOW` steps, from step `WINDOW` on."""
        sums = np.concatenate([[0.0], np.cumsum(self.losses)])
        return (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW

    def reached(self, target: float) -> int:
        """Steps until the mean over `WINDOW` steps was below the target; −1 if it never was."""
        below = np.flatnonzero(self.smoothed() < target)
        return int(below[0]) + WINDOW if len(below) else -1

    def order(self, target: float) -> tuple[float, float]:
        """What the best of several rates has smallest: steps to the target, then the last loss."""
        reached, smoothed = self.reached(target), self.smoothed()
        last = float(smoothed[-1]) if len(smoothed) and not self.failed else math.inf
        return (float(reached) if reached >= 0 else math.inf), last

    def summary(self, target: float) -> dict[str, float | int | None]:
        """Steps to the target (−1: not reached) and the last mean loss (None: not finite)."""
        last = self.order(target)[1]
        return {"steps": self.reached(target), "loss": round(last, 6) if math.isfinite(last) else None}

    def curve(self, steps: np.ndarray) -> np.ndarray:
        """Mean losses after these numbers of steps; the last one is held, nan from a failure on."""
        smoothed = self.smoothed()
        if not len(smoothed):
            return np.full(len(steps), np.nan)
        found = smoothed[np.minimum(steps - WINDOW, len(smoothed) - 1)]
        return np.where(self.failed & (steps > len(self.losses)), np.nan, found)

    def ended(self, target: float) -> bool:
        """Whether there is nothing left to train."""
        recent = self.losses[-WINDOW:]
        there = len(recent) == WINDOW and math.fsum(recent) / WINDOW < target
        return self.failed or there or len(self.losses) >= self.steps


class Stack(Networks):
    """The networks in training, each with its run and the random numbers of its batches."""

    def __init__(self, cell: str, task: Task, N: int, B: int, runs: Sequence[Run]) -> None:
        starts, rates = [run.start for run in runs], [run.rate for run in runs]
        super().__init__(cell, N, task.inputs, task.outputs, starts, rates)
        self.task, self.B = task, B
        self.runs, self.draws = list(runs), [_random.stream(run.seed, BATCHES) for run in runs]

    def replace(self, slot: int, run: Run) -> None:
        """Put the network of another run into a slot."""
        self.runs[slot], self.draws[slot] = run, _random.stream(run.seed, BATCHES)
        self.put(slot, run.start, run.rate)

    def keep(self, slots: list[int]) -> None:
        self.runs, self.draws = [self.runs[k] for k in slots], [self.draws[k] for k in slots]
        super().keep(slots)

    def step(self) -> None:
        """One step of Adam on fresh batches, for every network whose loss and gradient are finite."""
        drawn = [self.task.batch(rng, self.B) for rng in self.draws]
        x = torch.from_numpy(np.stack([inputs for inputs, _ in drawn]))
        losses = self.losses(x, torch.from_numpy(np.stack([wanted for _, wanted in drawn])))
        for run, loss, fine in zip(self.runs, losses.tolist(), self.update(losses).tolist(), strict=True):
            if fine:
                run.losses.append(loss)
            else:
                run.failed = True


def train(
    cell: str, task: Task, N: int, B: int, runs: Sequence[Run], target: float, together: int = TOGETHER
) -> None:
    """Train all runs, ``together`` of them at a time; their ``losses`` are filled in."""
    training.device()  # one thread, vanished numbers are zeros
    queue = [run for run in runs if run.steps > 0]
    if not queue:
        return
    with torch.no_grad():
        stack = Stack(cell, task, N, B, queue[:together])
        del queue[:together]
        while stack.runs:
            stack.step()
            ended = [slot for slot, run in enumerate(stack.runs) if run.ended(target)]
            for slot in ended[:]:
                if queue:
                    stack.replace(slot, queue.pop(0))
                    ended.remove(slot)
            if ended:
                left = [slot for slot in range(len(stack.runs)) if slot not in ended]
                if not left:
                    return
                stack.keep(left)
