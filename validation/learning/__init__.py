"""Does dynamical isometry speed up learning? Accuracy against training step, digits read pixel by pixel.

Vanilla and minimalRNN × orthogonal and Gaussian weights × critical and off-critical, digits as sequences of
T = 196 steps (4 pixels each) and, at full size, T = 784 (1 pixel each); several seeds, bands over them.
"""

from __future__ import annotations

from validation import study
from validation.learning import curves, results

STUDY = study.Study(
    name="learning",
    summary="digits pixel by pixel: accuracy against training step, critical or not, orthogonal or Gaussian",
    cost={
        "quick": "16 minutes of part of a busy core, not timed alone; 5,000 digits, T = 196, 128 steps",
        "full": "not run; days on 2 cores, a GPU is used where there is one",
    },
    cases=curves.list_cases,
    compute=curves.compute,
    report=results.report,
    claims=results.claims,
    requires=("torch",),
)
