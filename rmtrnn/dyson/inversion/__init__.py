"""From points of Im Psi to a law; knows no chain."""
