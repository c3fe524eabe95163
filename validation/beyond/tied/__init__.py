"""Networks with tied weights: ``python -m validation.beyond.tied.networks FOLDER``, ``.random_ensembles``."""
