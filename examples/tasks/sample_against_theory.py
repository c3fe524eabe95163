"""Does theory match sampled networks? With a progress bar."""

import rmtrnn as rt

ens = rt.Ensemble("minimal", sigma_w=3.0, sigma_v=1.2, mu_b=2.0, R=0.46, weights="orthogonal")
spec = rt.spectrum(ens, T=4, progress=True)
mc = rt.sample(ens, T=4, N=128, trials=8, progress=True)
print(rt.compare(spec, mc))
