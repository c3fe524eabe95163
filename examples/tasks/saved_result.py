"""Save a result; another process reads it."""

import subprocess
import sys

import rmtrnn as rt

rt.spectrum(rt.Ensemble("minimal", sigma_w=2.0, sigma_v=1.0, R=0.5), T=2).save("law.npz")
reader = "import rmtrnn as rt; law = rt.load('law.npz'); print(law.ensemble, law.icdf(0.5))"
subprocess.run([sys.executable, "-c", reader], check=True)
