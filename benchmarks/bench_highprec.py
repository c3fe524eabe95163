"""Time of a high-precision and of a certified density, beside `mpmath.quad`.

``python benchmarks/bench_highprec.py``: tanh, σ_w = 1.05, σ_b = 0.05, T = 16; CPU seconds of one thread. The
first point of an ensemble also pays for q* and the quadrature nodes, which later points share; the imports
and the activation's derivatives are paid by a point of another ensemble before. `mpmath.quad` is timed on
single evaluations of m(w) on the real line, each for at most 20 CPU seconds; a solve needs four or five.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from mpmath import mp

import rmtrnn as rt
from rmtrnn.highprec.quadrature import GaussianTransform

LIMIT = 20.0
GOALS = {"high precision": 0.2, "certified": 0.5}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and the result of one call; None as result if it needs more than LIMIT."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    start = time.process_time()
    try:
        value = call()
    except TimeoutError:
        value = None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, old)
    return time.process_time() - start, value


def main() -> None:
    """Print the table."""
    ens = rt.Ensemble("vanilla", sigma_w=1.05, sigma_b=0.05)
    points = ["0.97", "0.6", "0.2", "0.02", "5"]
    for name, dps, call in (
        ("high precision", 50, rt.highprec.density),
        ("certified", 30, rt.highprec.certified_density),
    ):
        call(ens.replace(sigma_w=1.2), 16, "0.5", dps)
        first, _ = timed(lambda call=call, dps=dps: call(ens, 16, "0.5", dps))
        later = [timed(lambda lam=lam, call=call, dps=dps: call(ens, 16, lam, dps))[0] for lam in points]
        print(
            f"{name:15s} {dps} digits: first {first:.3f} s, then {sum(later) / len(later):.3f} s a point "
            f"(goal {GOALS[name]} s)"
        )
    q = rt.highprec.fixed_point(ens, 50)
    with mp.workdps(50):
        for w in (mp.mpc("0.9", "0.4"), mp.mpc("0.5", "0.001")):

            def integrand(z: Any, w: Any = w) -> Any:
                X = mp.sech(mp.sqrt(q) * z) ** 4
                return X / (w - X) * mp.npdf(z)

            seconds, value = timed(lambda f=integrand: mp.quad(f, [-mp.inf, mp.inf]))
            table = GaussianTransform(rt.Activation("tanh"), q, 0, 50)
            nodes, right = timed(lambda w=w, table=table: table.transform(w).m)
            ours, _ = timed(lambda w=w, table=table: table.transform(w).m)
            quad = f"more than {LIMIT:.0f} s, stopped"
            if value is not None:
                quad = f"{seconds:.3f} s with error {mp.nstr(abs(value - right), 2)}"
            here = f"here {nodes:.3f} s with nodes, then {ours:.4f} s"
            print(f"m(w), w = {mp.nstr(w, 4)}: mpmath.quad {quad}; {here}")


if __name__ == "__main__":
    main()
