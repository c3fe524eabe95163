"""A LaTeX table: how the singular values spread with T. Needs "rmtrnn[tables]" and jinja2."""

import pandas

import rmtrnn as rt

ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05, weights="orthogonal")
rows = pandas.concat([rt.isometry(ens, T).to_pandas() for T in (1, 10, 100)])
columns = ["T", "m_1.value", "quantiles.0.05.value", "quantiles.0.5.value", "quantiles.0.95.value"]
print(rows[columns].to_latex(index=False, float_format="%.4g"))
