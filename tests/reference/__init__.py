"""References that share no formula with the package: one copy of each, for all tests."""
