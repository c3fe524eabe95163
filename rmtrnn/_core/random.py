"""Seeds to independent streams: the only place where a random generator is made.

A stream is named by the user's seed and a key of small non-negative integers (trial, purpose, …).
It depends on nothing else, so the same seed gives the same numbers on any number of workers.
"""

from __future__ import annotations

import numpy as np

from rmtrnn._core import validate as _validate


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the independent generator named ``(seed, *key)`` (Philox over ``SeedSequence``).

    Raises TypeError or ValueError if ``seed`` or a part of ``key`` is not an integer ≥ 0.
    """
    entropy = _validate.integer("seed", seed, low=0)
    spawn_key = tuple(_validate.integer("key", part, low=0) for part in key)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy, spawn_key=spawn_key)))


def generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return ``rng`` itself if it is a Generator, else a new one (None: fresh entropy)."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    return stream(rng)
