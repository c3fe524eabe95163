"""Initialise a PyTorch LSTM. Needs "rmtrnn[torch]"."""

import torch

import rmtrnn as rt
import rmtrnn.torch

module = torch.nn.LSTM(input_size=32, hidden_size=128)
ens = rt.Ensemble("lstm", sigma_w=1.0, sigma_v=0.5, mu_b={"f": 3.0}, weights="orthogonal")
rt.torch.initialize_(module, ens, rng=0)
print(module.weight_hh_l0.std())
