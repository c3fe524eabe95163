"""The matrix Dyson equation: from sites to laws, theory.md (12)-(15)."""
