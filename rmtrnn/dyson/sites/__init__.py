"""The sites that carry the averages of the matrix Dyson equation."""
