"""The samples of the study, on disk by themselves: theory can be computed anew without them.

They are also committed, as float32, beside the figures. ``python -m validation.beyond.gated.samples`` puts
them where a run looks for them, and it then draws only what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rmtrnn as rt
from rmtrnn._core import storage as _storage
from rmtrnn.sampling.sample import Sample
from validation import core
from validation.core import places, records

FOLDER = places.CHECKPOINTS / "gated" / "samples"
FILE = "samples.npz"


def settings(case: core.Case) -> dict[str, Any]:
    """What the sample of a case depends on."""
    return {name: value for name, value in case.settings.items() if name != "tied law"}


def path(case: core.Case) -> Path:
    """The file of a case's sample; other settings, another file."""
    digest = hashlib.sha256(json.dumps(settings(case), sort_keys=True).encode()).hexdigest()
    return FOLDER / f"{case.key}-{digest[:10]}.npz"


def draw(case: core.Case, workers: core.Workers) -> Sample:
    """The sample of a case, read if it is on disk."""
    file = path(case)
    if file.exists():
        return rt.load(file)
    own = settings(case)
    ens = rt.Ensemble.from_dict(own.pop("ensemble"))
    sample = rt.sample(ens, executor=workers.executor, checkpoint=file.with_suffix(""), **own)
    sample.save(file)
    return sample


def keep(cases: Sequence[core.Case], folder: Path) -> bool:
    """Write the samples of all cases into one file of ``folder``; False, and nothing, if one is missing."""
    if not all(path(case).exists() for case in cases):
        return False
    drawn = {case.key: rt.load(path(case)) for case in cases}
    meta = {
        case.key: {"settings": settings(case), "provenance": drawn[case.key].provenance} for case in cases
    }
    arrays = {key: sample.log_s.astype(np.float32) for key, sample in drawn.items()}
    records.pack(_storage.write(folder / FILE, "gated samples", meta, arrays))
    return True


def restore(folder: Path = places.FIGURES / "gated") -> int:
    """Put the committed samples where `draw` looks for them, unless they are there; how many were put."""
    _, meta, arrays = _storage.read(folder / FILE)
    FOLDER.mkdir(parents=True, exist_ok=True)
    count = 0
    for key, own in meta.items():
        file = path(core.Case(key, own["settings"]))
        if not file.exists():
            ens, T, N = (
                rt.Ensemble.from_dict(own["settings"]["ensemble"]),
                own["settings"]["T"],
                own["settings"]["N"],
            )
            Sample(arrays[key].astype(float), ens, T, N, own["provenance"]).save(file)
            count += 1
    return count


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


if __name__ == "__main__":
    print(f"{restore()} samples put into {FOLDER}")
