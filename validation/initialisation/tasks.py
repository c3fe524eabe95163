"""The tasks: adding, copying, and digits read by rows or by blocks of four pixels. T is the length of x.

All inputs have second moment 1 (each channel of the adding task by itself), the moment that plans are for.

adding : two channels, a number of U(0, 1) and a marker; the answer is the sum of the two marked numbers, one
    in each half (Hochreiter and Schmidhuber 1997). Squared error; its value without learning is 1/6.
copy : SYMBOLS symbols out of LETTERS letters in the first steps, blanks, and the same symbols asked for, in
    order, in the last SYMBOLS steps, which a cue marks: every symbol is to be kept for T − SYMBOLS steps.
    Cross entropy of those steps; log LETTERS without learning.
digits : MNIST, cross entropy after the last step; log 10 without learning.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from validation import data
from validation.paper import training

# Of the copying task; few, so that a budget of some hundred steps can be enough.
SYMBOLS, LETTERS = 2, 4

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Task:
    """``batch(rng, B)`` gives inputs (T, B, inputs) and answers (read, B); the last ``read`` states count."""

    name: str
    T: int
    inputs: int
    outputs: int
    read: int
    without: float  # the loss of the best constant answer
    batch: Callable[[np.random.Generator, int], Batch]


def adding(T: int) -> Task:
    """The adding task of T steps."""
    half, share = T // 2, 2.0 / T
    deviation = math.sqrt(share * (1.0 - share))

    def batch(rng: np.random.Generator, count: int) -> Batch:
        value, marker = rng.random((T, count)), np.zeros((T, count))
        marker[rng.integers(half, size=count), np.arange(count)] = 1.0
        marker[half + rng.integers(T - half, size=count), np.arange(count)] = 1.0
        x = np.stack([(value - 0.5) * math.sqrt(12.0), (marker - share) / deviation], axis=-1)
        return x.astype(np.float32), (value * marker).sum(axis=0)[None].astype(np.float32)

    return Task("adding", T, 2, 1, 1, 1.0 / 6.0, batch)


def copying(T: int) -> Task:
    """The copying task of T steps in all: letters, blank and cue are one-hot, times √inputs."""
    inputs = LETTERS + 2
    size = math.sqrt(inputs)

    def batch(rng: np.random.Generator, count: int) -> Batch:
        letters = rng.integers(LETTERS, size=(SYMBOLS, count))
        shown = np.full((T, count), LETTERS)
        shown[:SYMBOLS] = letters
        shown[T - SYMBOLS :] = LETTERS + 1
        x = np.zeros((T, count, inputs), dtype=np.float32)
        np.put_along_axis(x, shown[..., None], size, axis=-1)
        return x, letters

    return Task("copy", T, inputs, LETTERS, SYMBOLS, math.log(LETTERS), batch)


def digits(pixels: int) -> Task:
    """All of MNIST in reading order, ``pixels`` at each step."""
    own, labels = _digits(pixels)

    def batch(rng: np.random.Generator, count: int) -> Batch:
        rows = rng.integers(len(own), size=count)
        return own[rows].transpose(1, 0, 2), labels[rows][None]

    return Task("digits", 784 // pixels, pixels, 10, 1, math.log(10.0), batch)


@functools.cache
def _digits(pixels: int) -> tuple[np.ndarray, np.ndarray]:
    source = data.mnist()
    sequences = training.digit_sequences(source.train_images, pixels).astype(np.float32)
    return (sequences - sequences.mean()) / sequences.std(), source.train_labels.astype(np.int64)


def task(name: str, T: int) -> Task:
    """The task by name: "adding", "copy" or "digits", of T steps."""
    if name == "digits":
        return digits(784 // T)
    return {"adding": adding, "copy": copying}[name](T)
