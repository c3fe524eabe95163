"""Does dynamical isometry speed up learning? Accuracy against training step, digits read pixel by pixel.

Vanilla and minimalRNN × orthogonal and Gaussian weights × critical, ordered and chaotic; digits as sequences
of T = 196 steps (4 pixels each) and T = 784 (1 pixel each); several seeds, bands over them.
"""

from __future__ import annotations

from validation import core
from validation.paper.learning import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="learning",
    summary="digits pixel by pixel: accuracy against training step, critical or not, orthogonal or Gaussian",
    cost={
        "quick": "about a minute of one core; 5,000 digits",
        "standard": "about half an hour of one core; all of MNIST",
        "full": "not run; days on 2 cores, a GPU is used where there is one",
    },
    requires=("torch",),
)
