"""The law with kept weights, theory.md (15), on all pairs of steps."""
