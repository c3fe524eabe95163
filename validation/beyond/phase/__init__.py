"""Phase diagrams of vanilla, minimalRNN, GRU and LSTM, every boundary checked by finite networks."""

from __future__ import annotations

from validation import core
from validation.beyond.phase import cases, findings

STUDY = core.Study.of(
    cases,
    findings,
    name="phase",
    summary="order and chaos, time scales and isometry over two parameters; networks on both sides of χ = 1",
    cost={"quick": "about a minute of one core", "standard": "about 10 minutes of one core"},
)
