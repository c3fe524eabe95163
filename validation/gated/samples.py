"""The samples of the study, on disk by themselves: theory can be computed anew without them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

import rmtrnn as rt
from rmtrnn.sampling import Sample
from validation import study

FOLDER = study.CHECKPOINTS / "gated" / "samples"


def path(case: study.Case) -> Path:
    """The file of a case's sample; other settings, another file."""
    digest = hashlib.sha256(json.dumps(case.settings, sort_keys=True).encode()).hexdigest()
    return FOLDER / f"{case.key}-{digest[:10]}.npz"


def draw(case: study.Case, workers: study.Workers) -> Sample:
    """The sample of a case, read if it is on disk."""
    file = path(case)
    if file.exists():
        return rt.load(file)
    settings = dict(case.settings)
    ens = rt.Ensemble.from_dict(settings.pop("ensemble"))
    sample = rt.sample(ens, executor=workers.executor, checkpoint=file.with_suffix(""), **settings)
    sample.save(file)
    return sample


def distance(below: np.ndarray, at: np.ndarray) -> float:
    """Kolmogorov distance of a sorted sample from F, given F(u-) and F(u) at its points."""
    steps = np.arange(at.size + 1) / at.size
    return float(max(np.abs(below - steps[:-1]).max(), np.abs(at - steps[1:]).max()))


def noise(log_s: np.ndarray) -> float:
    """Kolmogorov distance that the pooled sample is expected to have from a right theory.

    From the distances between each trial and all others pooled: for n trials these fluctuate n/sqrt(n - 1)
    times as much as the mean of all.
    """
    trials = len(log_s)
    found = []
    for i in range(trials):
        own, rest = np.sort(log_s[i]), np.sort(np.delete(log_s, i, axis=0), axis=None)
        points = np.concatenate([own, rest])
        rank = [np.searchsorted(part, points, side="right") / part.size for part in (own, rest)]
        found.append(np.abs(rank[0] - rank[1]).max())
    return float(np.mean(found) * np.sqrt(trials - 1) / trials)
