"""Does a gradient that neither grows nor vanishes on the data speed up learning? Digits, pixel by pixel.

Vanilla and minimalRNN × orthogonal and Gaussian weights × eight initialisations: the published point, σ_w
where the gradient measured on the data grows by 0, ±0.05, ±0.1 per step, `rmtrnn.critical` and
`rmtrnn.initialize`. Digits are sequences of T = 196 steps (4 pixels each) in reading order or permuted, and
of T = 784 (1 pixel); every network has a learning rate of its own; bands are over seeds.
"""

from __future__ import annotations

from validation import core
from validation.paper.learning_growth import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="learning_growth",
    summary="digits pixel by pixel: accuracy against training step, by the growth on the data",
    cost={
        "quick": "about two minutes of one core; 5,000 digits",
        "standard": "about twelve hours of one core, case by case; all of MNIST",
        "full": "not run; days on 2 cores, a GPU is used where there is one",
    },
    requires=("torch",),
    long=True,
)
