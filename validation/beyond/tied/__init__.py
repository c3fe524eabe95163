"""Networks with tied weights: ``python -m validation.beyond.tied.networks`` or ``.random_ensembles FOLDER``."""
