"""Singular values of long products of matrices, to high relative accuracy: graded U D T products."""

from rmtrnn.sampling.products.log_product import LogProduct

__all__ = ["LogProduct"]
