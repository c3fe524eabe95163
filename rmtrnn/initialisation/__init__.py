"""Initialisation: how strongly a state feels its inputs, and the parameters that make it feel all of them."""
