"""Does a plan of `rt.initialize` train faster? Four cells, eight tasks, five initialisations.

Cells: GRU, LSTM, minimalRNN, vanilla. Tasks (`tasks`): adding, copying at T = 100, 200, 400; digits by rows
(T = 28) and by blocks of four pixels (T = 196). Initialisations (`arms`): the framework's default, orthogonal
with a bias of 1, chrono, χ = 1, and the plan. The rule of the comparison stands in `cases.Rule`. All networks
of a pair are trained side by side (`steps`, `trainer`), each pair is a record of its own, and
``python -m validation initialisation --standard --finished`` reports what is there before the rest is run.
"""

from __future__ import annotations

from validation import core
from validation.initialisation import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="initialisation",
    summary="training from five initialisations: four cells on adding, copying and digits",
    cost={"quick": "some minutes of one core", "standard": "about three hours of one core; all of MNIST"},
    requires=("torch",),
    long=True,
)
