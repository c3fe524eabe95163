"""Trainability against the time scale: how long a digit can be remembered, and what the theory says of it.

A digit enters at the first step, noise N(0, σ_x²) at every later one, and the class is read from the state
after T steps. Networks are trained on a grid of (hyperparameter, T), up to the first T that none learns; the
number of training steps is drawn with multiples of the time scale ξ over it, and the slope of the log of the
longest T that can be learned against log ξ is compared with 1.
"""

from __future__ import annotations

from validation import core
from validation.paper.trainability import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="trainability",
    summary="digit recalled after T steps of noise: the longest T learned, against the time scale",
    cost={
        "quick": "under a minute of one core; 5,000 digits",
        "standard": "some three hours of one core, case by case; all of MNIST",
        "full": "not run; on 2 cores a day or more, a GPU is used where there is one",
    },
    requires=("torch",),
    long=True,
)
