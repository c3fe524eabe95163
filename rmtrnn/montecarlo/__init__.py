"""Random matrices and the singular values of their long products."""

from rmtrnn.montecarlo.matrices import random_matrix

__all__ = ["random_matrix"]
