"""Free probability: spectral laws that multiply and add (theory.md section 3)."""

from rmtrnn.free.constructors import Discrete, FussCatalan, MarchenkoPastur, Pushforward
from rmtrnn.free.positive_law import PositiveLaw
from rmtrnn.free.subordination import RealLaw, Semicircle

__all__ = [
    "Discrete",
    "FussCatalan",
    "MarchenkoPastur",
    "PositiveLaw",
    "Pushforward",
    "RealLaw",
    "Semicircle",
]
