"""From points of Im Ψ to a law; knows no chain."""
