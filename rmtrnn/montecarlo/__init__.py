"""Random matrices and the singular values of their long products."""

from rmtrnn.montecarlo.logproduct import LogProduct
from rmtrnn.montecarlo.matrices import random_matrix

__all__ = ["LogProduct", "random_matrix"]
