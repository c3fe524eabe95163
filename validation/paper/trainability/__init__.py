"""Trainability against the time scale: how long a digit can be remembered, and what the theory says of it.

A digit enters at the first step, noise N(0, σ_x²) at every later one, and the class is read from the state
after T steps. Networks are trained on a grid of (hyperparameter, T); the accuracy is drawn with multiples of
the time scale ξ over it, and log ξ is correlated with the log of the longest T that could be learned.
"""

from __future__ import annotations

from validation import core
from validation.paper.trainability import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="trainability",
    summary="digit recalled after T steps of noise: accuracy over (hyperparameter, T) against the time scale",
    cost={
        "quick": "under a minute of one core; 5,000 digits",
        "standard": "about 6 minutes of one core; all of MNIST",
        "full": "not run; on 2 cores a day or more, a GPU is used where there is one",
    },
    requires=("torch",),
)
