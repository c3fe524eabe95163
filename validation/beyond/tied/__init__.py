"""Networks with tied weights: `python -m validation.beyond.tied.random_ensembles FOLDER`."""
