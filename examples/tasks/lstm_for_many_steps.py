"""An LSTM that is to remember 200 steps: where does its gradient neither grow nor decay?"""

import rmtrnn as rt

point = rt.critical("lstm", T=200, weights="orthogonal", sigma_v=0.5, mu_b={"f": 3.0})
print(point.ensemble)
print(f"chi = {point.chi:.6f}, gradients forget over {point.timescale:.0f} steps")
