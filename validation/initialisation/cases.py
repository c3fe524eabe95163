"""Training of four cells on eight tasks from five initialisations: what is compared, and by what rule.

`RULE` was fixed before the runs, after a pilot on a seed that no run uses, and is not changed by them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from validation import core

CELLS = ("gru", "lstm", "minimal", "vanilla")
TASKS = (  # in the order in which they are run: the cheap and telling ones first
    ("adding", 100),
    ("digits", 28),
    ("copy", 100),
    ("adding", 200),
    ("digits", 196),
    ("copy", 200),
    ("adding", 400),
    ("copy", 400),
)
MARKS = 30  # points of a curve that are kept


@dataclass(frozen=True)
class Rule:
    """How arms are compared.

    An arm's rate is the one of ``rates`` with which its network of another seed reaches the target first; if
    none does, the one with the smallest loss at the end of the same budget. Then ``seeds`` networks are
    trained. An arm's steps are the median of theirs, those that do not reach the target within the budget
    counting as infinite: an arm with a finite median learns, another one fails to. The plan wins a pair if it
    learns and its steps are at most ``margin`` times the fewest. It loses if another arm learns and it does
    not win, and fails where it does not learn. A pair in which no arm learns is undecided.

    adding, copy, digits : the targets, as shares of the loss without learning; the mean over 20 steps is
        compared with them. (A network that has the letters of the copying task but not their order is at
        0.375.)
    """

    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    seeds: int = 5
    margin: float = 1.1
    batch: int = 16
    adding: float = 0.1
    copy: float = 0.2
    digits: float = 0.3

    def target(self, task: str) -> float:
        """The share of the loss without learning that is to be reached."""
        return {"adding": self.adding, "copy": self.copy, "digits": self.digits}[task]


RULE = Rule()
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"N": 32, "seeds": 2, "rates": [3e-3, 1e-2], "tasks": [("adding", 50), ("copy", 50)]},
    "standard": {"N": 128, "seeds": RULE.seeds, "rates": list(RULE.rates), "tasks": TASKS},
}
# The budget, the same for all arms and cells.
STEPS = {28: 800, 50: 400, 100: 800, 196: 500, 200: 600, 400: 400}
SEARCH, FIRST = 6000, 7000  # seeds: of the search for the rate, and the first of those that count


def list_cases(size: str) -> list[core.Case]:
    """One case for each task and cell."""
    own = SIZES[size]
    rule = {"batch": RULE.batch, "rates": own["rates"], "seeds": own["seeds"]}
    return [
        core.Case(
            f"{task} {T} {cell}",
            {"task": task, "T": T, "cell": cell, "N": own["N"], "steps": STEPS[T]}
            | {"target": RULE.target(task), "search": SEARCH, "first": FIRST}
            | rule,
        )
        for task, T in own["tasks"]
        for cell in CELLS
    ]


def marks(steps: int) -> np.ndarray:
    """Steps at which the curves are kept, the last one among them."""
    from validation.initialisation.trainer import WINDOW

    return np.unique(np.linspace(WINDOW, steps, MARKS).round().astype(int))


def compute(case: core.Case, workers: core.Workers) -> core.Result:
    """All arms of one pair: the rates by the seed of the search, then the curves of the others."""
    import torch

    from validation.initialisation import arms, tasks, trainer
    from validation.networks.modules import flat

    own, start = case.settings, time.process_time()
    task = tasks.task(own["task"], own["T"])
    target = own["target"] * task.without
    found, sources = {method: {} for method in arms.METHODS}, {}
    for method in arms.METHODS:
        try:
            sources[method] = arms.source(own["cell"], method, task, own["N"])
        except arms.MissingArmError as error:
            found[method]["missing"] = str(error)

    def run(method: str, rate: float, seed: int) -> Any:
        drawn = arms.module(own["cell"], method, sources[method], task, own["N"], seed)
        return trainer.Run(flat(*drawn), rate, seed, own["steps"])

    def train(runs: list[Any]) -> None:
        trainer.train(own["cell"], task, own["N"], own["batch"], runs, target)

    planned = time.process_time() - start
    tried = {method: [run(method, rate, own["search"]) for rate in own["rates"]] for method in sources}
    train([one for runs in tried.values() for one in runs])
    rates = {method: min(runs, key=lambda one: one.order(target)).rate for method, runs in tried.items()}
    seeds = range(own["first"], own["first"] + own["seeds"])
    final = {method: [run(method, rates[method], seed) for seed in seeds] for method in sources}
    train([one for runs in final.values() for one in runs])
    kept = marks(own["steps"])
    losses = np.full((len(arms.METHODS), own["seeds"], len(kept)), np.nan, dtype=np.float16)
    for k, method in enumerate(arms.METHODS):
        if method not in sources:
            continue
        losses[k] = [one.curve(kept) for one in final[method]]
        found[method] |= {
            "rate": rates[method],
            "search": [one.summary(target) for one in tried[method]],
            "steps": [one.reached(target) for one in final[method]],
            "last loss": [one.summary(target)["loss"] for one in final[method]],
            "parameters": arms.described(sources[method]),
        }
    done = sum(len(one.losses) for runs in (*tried.values(), *final.values()) for one in runs)
    meta = {"arms": found, "target loss": target, "margin": RULE.margin, "torch": str(torch.__version__)}
    meta |= {"R": arms.second_moment(own["cell"], task, own["N"]), "network steps": done}
    meta |= {"seconds of plans": planned, "seconds": time.process_time() - start}
    return meta, {"losses": losses, "steps": kept.astype(np.int32)}
