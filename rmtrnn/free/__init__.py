"""Free probability: spectral laws that multiply and add (theory.md section 3)."""

from rmtrnn.free.constructors import (
    Discrete,
    Empirical,
    FussCatalan,
    MarchenkoPastur,
    Pushforward,
    Uniform,
)
from rmtrnn.free.positive_law import PositiveLaw
from rmtrnn.free.subordination import RealLaw, Semicircle

__all__ = [
    "Discrete",
    "Empirical",
    "FussCatalan",
    "MarchenkoPastur",
    "PositiveLaw",
    "Pushforward",
    "RealLaw",
    "Semicircle",
    "Uniform",
]
