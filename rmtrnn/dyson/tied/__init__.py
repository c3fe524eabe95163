"""Tied weights: matrices over time, solved by Anderson acceleration: theory.md (15), (20)-(21)."""
