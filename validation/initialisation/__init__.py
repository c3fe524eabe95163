"""Does a plan of `rt.initialize` train faster? The adding problem, GRU and LSTM, five initialisations.

Fixed before the runs. Task: the sum of two marked numbers among T (Hochreiter and Schmidhuber 1997), inputs
standardised, squared error of a linear readout of h^T, trained by Adam with gradients clipped at norm 1.
Budget: the same number of steps and the same batches for all. The rate of each initialisation is the one of
the grid with the smallest loss at the end on a seed of its own. Rule: of two initialisations the better one
reaches the target, half of the variance of the answer, after fewer steps (median of the seeds); within 10 %
they are equal.

This is a small run. Issue 19 asks for more: copying, digits, T up to 400, N = 128, five seeds, vanilla and
minimalRNN.
"""

from __future__ import annotations

from validation import core
from validation.initialisation import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="initialisation",
    summary="training from five initialisations: the adding problem with GRU and LSTM",
    cost={"quick": "about 10 minutes of one core"},
    requires=("torch",),
)
