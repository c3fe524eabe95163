"""Tied weights: self-energies smooth in time, bordered recursive Green function: theory.md (15), (20)."""
