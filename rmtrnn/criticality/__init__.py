"""Critical points: closed forms and a search."""

from rmtrnn.criticality.point import Critical, critical
from rmtrnn.criticality.root_search import NoCriticalPointError

__all__ = ["Critical", "NoCriticalPointError", "critical"]
