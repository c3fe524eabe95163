"""Time of a high-precision and of a certified density, beside `mpmath.quad`.

``python benchmarks/bench_highprec.py``: tanh, σ_w = 1.05, σ_b = 0.05, T = 16; CPU seconds of one thread. The
first point of an ensemble also pays for q* and the quadrature nodes, which later points share. `mpmath.quad`
is timed on one evaluation of m(w) on the real line, of which a solve needs about ten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mpmath import mp

import rmtrnn as rt
from rmtrnn.highprec.quadrature import GaussianTransform


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and the result of one call."""
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def main() -> None:
    """Print the table."""
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    points = ["0.97", "0.6", "0.2", "0.02", "5"]
    for name, dps, call in (
        ("high precision", 50, rt.highprec.density),
        ("certified", 30, rt.highprec.certified_density),
    ):
        first, _ = timed(lambda call=call, dps=dps: call(ens, 16, "0.5", dps))
        later = [timed(lambda lam=lam, call=call, dps=dps: call(ens, 16, lam, dps))[0] for lam in points]
        print(f"{name:15s} {dps} digits: first {first:.3f} s, then {sum(later) / len(later):.3f} s a point")
    q = rt.highprec.fixed_point(ens, 50)
    with mp.workdps(50):
        for w in (mp.mpc("0.9", "0.4"), mp.mpc("0.5", "0.001")):

            def integrand(z: Any, w: Any = w) -> Any:
                X = mp.sech(mp.sqrt(q) * z) ** 4
                return X / (w - X) * mp.npdf(z)

            seconds, value = timed(lambda f=integrand: mp.quad(f, [-mp.inf, mp.inf]))
            table = GaussianTransform(rt.Activation("tanh"), q, 0, 50)
            table.transform(w)
            ours, right = timed(lambda w=w, table=table: table.transform(w).m)
            print(
                f"m(w), w = {mp.nstr(w, 4)}: mpmath.quad {seconds:.3f} s with error "
                f"{mp.nstr(abs(value - right), 2)}, here {ours:.4f} s"
            )


if __name__ == "__main__":
    main()
