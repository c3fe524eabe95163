"""Random matrices and the singular values of their long products."""

from rmtrnn.sampling.products.log_product import LogProduct
from rmtrnn.sampling.random_matrices import random_matrix

__all__ = ["LogProduct", "random_matrix"]
